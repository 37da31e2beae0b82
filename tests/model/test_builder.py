"""Building graphs in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core.errors import ErrorCode, GraphError, PluginError
from sfs_core.model.builder import GraphBuilder
from sfs_core.model.graph import Dispatch, Execution, Graph, HeKeys, graph_from_message, graph_to_message
from sfs_core.model.validation import OperatorClass
from sfs_core.sdk.operator import AttributeValue, Float32, Int32, attr

from .conftest import Columns, Merge


class Typed(Columns, name="TYPED", version="1.2.3", inputs=["x"], output="y"):
    """Attributes of all kinds."""

    text: str = attr("", default="")
    flag: bool = attr("", default=False)
    raw: bytes = attr("", default=b"")
    number: float = attr("", default=0.0)
    short: Float32 = attr("", default=0.0)
    count: Int32 = attr("", default=0)
    wide: int = attr("", default=0)
    numbers: list[float] = attr("", default=[])
    counts: list[Int32] = attr("", default=[])
    texts: list[str] = attr("", default=[])


def build(operator_class: OperatorClass, **attributes: Any) -> Graph:
    return (
        GraphBuilder(operator_class)
        .add_node("a", Typed, **attributes)
        .begin_execution(Dispatch.SPECIFIED, specific=True)
        .add_node("z", "MERGE", parents=["a"])
        .build()
    )


def test_builds_checked_graphs(operator_class: OperatorClass) -> None:
    graph = build(operator_class)
    assert graph.version == "0.2.0"
    assert graph.party_num == 0
    assert [(n.name, n.op, n.op_version, n.parents) for n in graph.nodes.values()] == [
        ("a", "TYPED", "1.2.3", ()),
        ("z", "MERGE", "0.0.1", ("a",)),
    ]
    assert graph.executions == (
        Execution(0, ("a",), Dispatch.ALL),
        Execution(1, ("z",), Dispatch.SPECIFIED, specific=True),
    )


def test_keys_are_kept(operator_class: OperatorClass) -> None:
    keys = HeKeys(b"public", b"secret", 8)
    builder = GraphBuilder(operator_class).add_node("a", "LOCAL").begin_execution(Dispatch.SELF)
    assert builder.add_node("z", Merge, parents=["a"]).build(keys).he == keys


def test_rules_are_checked(operator_class: OperatorClass) -> None:
    with pytest.raises(GraphError, match="at least two executions"):
        GraphBuilder(operator_class).add_node("z", Merge).build()
    with pytest.raises(PluginError, match="no operator is called 'NONE'"):
        GraphBuilder(operator_class).add_node("a", "NONE")
    with pytest.raises(GraphError, match="node a: the graph has a node of this name already"):
        GraphBuilder(operator_class).add_node("a", "LOCAL").add_node("a", "LOCAL")


@pytest.mark.parametrize(
    ("name", "value", "case", "stored"),
    [
        ("text", "words", "s", "words"),
        ("flag", np.True_, "b", True),
        ("raw", b"x", "by", b"x"),
        ("number", 3, "d", 3.0),
        ("number", np.float32(0.5), "d", 0.5),
        ("number", float("inf"), "d", float("inf")),
        ("short", 0.1, "f", float(np.float32(0.1))),
        ("count", np.int64(-(2**31)), "i32", -(2**31)),
        ("wide", 2**63 - 1, "i64", 2**63 - 1),
        ("numbers", np.array([1.0, 2.0]), "ds", [1.0, 2.0]),
        ("numbers", (), "ds", []),
        ("counts", range(3), "i32s", [0, 1, 2]),
        ("texts", ["a"], "ss", ["a"]),
    ],
)
def test_values_are_taken_as_declared(
    operator_class: OperatorClass, name: str, value: Any, case: str, stored: Any
) -> None:
    found = build(operator_class, **{name: value}).nodes["a"].attributes
    assert found == {name: AttributeValue(case, stored)}
    assert type(found[name].value) is type(stored)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", b"x", "attribute 'text': a str is needed, not bytes"),
        ("flag", 1, "a bool is needed, not int"),
        ("raw", "x", "bytes is needed, not str"),
        ("number", "1", "a number is needed, not str"),
        ("number", True, "a number is needed, not bool"),
        ("short", 1e39, "too large for float32"),
        ("count", 2**31, "does not fit into 32 bits"),
        ("count", 1.0, "an int is needed, not float"),
        ("wide", -(2**63) - 1, "does not fit into 64 bits"),
        ("numbers", 1.0, "a list is needed, not float"),
        ("texts", "ab", "a list is needed, not str"),
        ("counts", [1, 2**40], "item 1: the number does not fit"),
        ("numbers", [None], "item 0: a number is needed, not NoneType"),
        ("numbers", np.ones((2, 2)), "item 0: a number is needed, not ndarray"),
        ("numbrs", [], "TYPED has no attribute 'numbrs'"),
    ],
)
def test_values_of_another_type_are_refused(operator_class: OperatorClass, name: str, value: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        build(operator_class, **{name: value})
    assert (caught.value.code, caught.value.node) == (ErrorCode.INVALID_ARGUMENT, "a")


def test_misspelt_attribute_gets_a_hint(operator_class: OperatorClass) -> None:
    with pytest.raises(GraphError) as caught:
        build(operator_class, numbrs=[])
    assert caught.value.hint == "did you mean 'numbers'?"


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(st.characters(codec="utf-8")),
            "flag": st.booleans(),
            "raw": st.binary(),
            "number": st.floats(allow_nan=False),
            "short": st.floats(allow_nan=False, width=32),
            "count": st.integers(-(2**31), 2**31 - 1),
            "wide": st.integers(-(2**63), 2**63 - 1),
            "numbers": st.lists(st.floats(allow_nan=False)),
            "counts": st.lists(st.integers(-(2**31), 2**31 - 1)),
        },
    )
)
def test_what_is_built_survives_the_wire(operator_class: OperatorClass, attributes: dict[str, Any]) -> None:
    graph = build(operator_class, **attributes)
    assert graph_from_message(graph_to_message(graph)) == graph
