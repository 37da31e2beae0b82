"""Operator definitions as messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format

from sfs_core.host.registry import Registry
from sfs_core.model.definitions import definition_message
from sfs_core.proto import op_pb2
from sfs_core.sdk.operator import Float32, Int32, Operator, attr

from .conftest import Local


def without_descriptions(message: op_pb2.OpDef) -> op_pb2.OpDef:
    for part in (message, message.output, *message.inputs, *message.attrs):
        part.desc = ""
    return message


def test_installed_operators_are_defined_as_in_the_reference(
    cases: Path, installed: Registry, is_installed: Callable[[str], bool]
) -> None:
    compared = []
    for definition in json.loads((cases / "opdefs.json").read_text())["ops"]:
        if not is_installed(definition["name"]):
            continue
        definition["attrs"].sort(key=lambda attribute: attribute["name"])
        if definition["name"] == "PHE_2P_MERGE_Y":  # the only one with two inputs, listed in no order there
            definition["inputs"].sort(key=lambda each: each["name"], reverse=True)
        expected = json_format.ParseDict(definition, op_pb2.OpDef())
        found = definition_message(installed.operator(definition["name"]))
        assert without_descriptions(found) == without_descriptions(expected)
        compared.append(definition["name"])
    if not compared:
        pytest.skip("no operator of the reference is installed")


def test_every_kind_of_attribute() -> None:
    class Everything(Local, name="EVERYTHING", version="1", inputs=["b", "a"], output="o", variable_inputs=True):
        """Words."""

        z_text: str = attr("A text.")
        a_flag: bool = attr("A flag.", default=True)
        raw: bytes = attr("Bytes.", default=b"x")
        number: float = attr("A number.", default=0.0)
        short: Float32 = attr("A float32.", default=0.5)
        count: Int32 = attr("A count.", default=-1)
        wide: int = attr("A wide count.", default=1 << 40)
        counts: list[Int32] = attr("Counts.", default=[])
        texts: list[str] = attr("Texts.", default=["a"])

    message = definition_message(Everything)
    assert (message.name, message.version, message.desc) == ("EVERYTHING", "1", "Words.")
    assert [io.name for io in message.inputs] == ["b", "a"]
    assert message.tag == op_pb2.OpTag(variable_inputs=True)
    names = [attribute.name for attribute in message.attrs]
    assert names == sorted(names)
    found = {attribute.name: attribute for attribute in message.attrs}
    assert not found["z_text"].is_optional
    assert not found["z_text"].HasField("default_value")
    assert found["z_text"].desc == "A text."
    types = {name: op_pb2.AttrType.Name(attribute.type) for name, attribute in found.items()}
    defaults = {name: attribute.default_value.WhichOneof("value") for name, attribute in found.items()}
    assert types | {"takes": "", "gives": "", "kind": ""} == {
        "z_text": "AT_STRING",
        "a_flag": "AT_BOOL",
        "raw": "AT_BYTES",
        "number": "AT_DOUBLE",
        "short": "AT_FLOAT",
        "count": "AT_INT32",
        "wide": "AT_INT64",
        "counts": "AT_INT32_LIST",
        "texts": "AT_STRING_LIST",
        "takes": "",
        "gives": "",
        "kind": "",
    }
    assert defaults["number"] == "d"  # set, though it equals the default of its own type
    assert defaults["counts"] == "i32s"
    assert list(found["texts"].default_value.ss.data) == ["a"]
    assert issubclass(Everything, Operator)
