"""`sfs config`, and how `sfs check` tells what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sfs_core.cli import main
from sfs_core.config.loader import load

from .conftest import NATIVE, REFERENCE, Write
from .generate_options import PAGE, generated
from .test_reference import FULL_NATIVE, FULL_REFERENCE

REPOSITORY = Path(__file__).parents[2]
README_CONFIG = re.search(r"```yaml\n(.+?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)[1]  # type: ignore[index]

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
NOTES = {"title", "description", "default", "format", "$defs", "$schema", "gt", "le", "writeOnly"}


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Whether a JSON schema accepts a value; knows just the keywords that ours uses, and fails on others."""
    members = value if isinstance(value, dict) else {}
    size = len(value) if isinstance(value, str | list | dict) else 0
    number = value if isinstance(value, int | float) else None
    checks = {
        "$ref": lambda its: accepts(root["$defs"][its.rpartition("/")[2]], value, root),
        "type": lambda its: isinstance(value, TYPES[its]) and isinstance(value, bool) == (its == "boolean"),
        "properties": lambda its: all(accepts(its[key], child, root) for key, child in members.items() if key in its),
        "required": lambda its: all(key in members for key in its),
        "additionalProperties": lambda its: all(
            its is True or (its is not False and accepts(its, child, root))
            for key, child in members.items()
            if key not in schema.get("properties", {})
        ),
        "items": lambda its: not isinstance(value, list) or all(accepts(its, child, root) for child in value),
        "oneOf": lambda its: sum(accepts(each, value, root) for each in its) == 1,
        "anyOf": lambda its: any(accepts(each, value, root) for each in its),
        "not": lambda its: not accepts(its, value, root),
        "const": lambda its: value == its,
        "enum": lambda its: value in its,
        "pattern": lambda its: not isinstance(value, str) or re.search(its, value) is not None,
        "minimum": lambda its: number is None or number >= its,
        "maximum": lambda its: number is None or number <= its,
        "exclusiveMinimum": lambda its: number is None or number > its,
        "exclusiveMaximum": lambda its: number is None or number < its,
        "minLength": lambda its: size >= its,
        "minItems": lambda its: size >= its,
        "minProperties": lambda its: size >= its,
    }
    return all(checks[keyword](its) for keyword, its in schema.items() if keyword not in NOTES)


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["config", "schema"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_schema_describes_every_option(schema: dict[str, Any]) -> None:
    def described(block: dict[str, Any], where: str) -> None:
        for name, its in block.get("properties", {}).items():
            referred = schema["$defs"].get(its.get("$ref", "").rpartition("/")[2], {})
            assert (referred | its).get("description"), f"{where}.{name}"

    described(schema, "config")
    for name, definition in schema["$defs"].items():
        for each in definition.get("oneOf", [definition]):
            described(each, name)
    sources = {each["properties"]["name"]["const"] for each in schema["$defs"]["SourceChoice"]["oneOf"]}
    assert {"csv", "mock", "streaming"} <= sources


SEVERAL = """\
party: a
listen: {communication: "${env:PORT}"}
parties: {a: {address: h:1}, b: h:2}
services:
  - {service: x, model: {source: {name: local, path: p}}}
  - {service: y, model: {source: {name: local, path: p}}, features: {source: {name: mock, type: random}}}
"""


@pytest.mark.parametrize("text", [README_CONFIG, NATIVE, FULL_NATIVE.replace("yes", "true"), SEVERAL])
def test_the_schema_accepts_what_is_right(text: str, schema: dict[str, Any]) -> None:
    assert accepts(schema, yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("party:", "prty:"),
        ("id_column", "id_colum"),
        ("name: csv", "name: cvs"),
        ("name: local", "name: csv"),
        ("9010", "70000"),
        ("9010", "true"),
        ("9010", "'9010'"),
        ("service: demo\n", ""),
        ("service: demo\n", "service: demo\nservices: []\n"),
        ("service: demo\n", "service: demo\nlink: {timeout: soon}\n"),
        (", path: alice.tar.gz", ""),
    ],
)
def test_the_schema_refuses_what_is_wrong(old: str, new: str, schema: dict[str, Any]) -> None:
    assert old in NATIVE
    assert not accepts(schema, yaml.safe_load(NATIVE.replace(old, new)), schema)


# ------------------------------------------------------------------------------------------------ show
@pytest.mark.parametrize("text", [NATIVE, REFERENCE, FULL_NATIVE, FULL_REFERENCE, README_CONFIG])
def test_what_is_shown_is_a_config_that_says_the_same(
    text: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(text)
    before = load(path)
    assert main(["config", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    after = load(write(shown))
    assert after.config.model_dump(exclude={"services"}) == before.config.model_dump(exclude={"services"})
    assert [service.feature_sources for service in after.services] == [
        service.feature_sources for service in before.services
    ]
    for default in ("handshake_attempts: ", "blocking_threads: ", "nulls: error"):
        assert default in shown


SECRETIVE = """
from pydantic import SecretStr, field_validator
from sfs_core import FeatureSource, FeatureSourceSpec, PluginConfig, hookimpl

SFS_API = ">=1,<2"

class SecretiveConfig(PluginConfig):
    password: SecretStr
    hosts: list[str]

    @field_validator("hosts", mode="before")
    @classmethod
    def split(cls, value):
        return value.split() if isinstance(value, str) else [each for each in value if each]

class Secretive(FeatureSource):
    Config = SecretiveConfig

    def fetch_rows(self, query):
        raise NotImplementedError

@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("secretive", __name__ + ":Secretive", "Keeps secrets.")]
"""


@pytest.mark.parametrize("hosts", ["'${env:SFS_TEST_SECRET}'", "['', '${env:SFS_TEST_SECRET}']"])
def test_secrets_are_not_shown(
    hosts: str, write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SFS_TEST_SECRET", "127.0.0.1:9120")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "secretive.py").write_text(SECRETIVE)
    source = f"{{name: secretive, password: 'hunter2${{env:HOME}}', hosts: {hosts}}}"
    text = NATIVE.replace("{name: csv, path: alice.csv, id_column: id}", source)
    path = write(text.replace("bob: 127.0.0.1:9120", "bob: '${env:SFS_TEST_SECRET}'"))
    assert main(["config", "show", str(path), "--plugin-dir", str(plugins)]) == 0
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    assert "9120" not in shown
    assert "bob: ${env:SFS_TEST_SECRET}" in shown


# ------------------------------------------------------------------------------------------------ check
LCAL = (
    "model.source.name: no model source named 'lcal' is installed (installed: http, local, s3)"
    " (hint: did you mean 'local'?)"
)


def test_check_tells_every_problem_of_every_config(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write(NATIVE.replace("9010", "abc").replace("local", "lcal"))
    (tmp_path / "empty.yaml").touch()
    assert main(["check", str(broken), str(tmp_path / "empty.yaml")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"error: {tmp_path / 'empty.yaml'}: it is empty"
    assert told[:-1] == [
        f"error: {broken}: 2 problems",
        f"  {broken}:3 listen.service: a whole number is expected",
        f"  {broken}:6 {LCAL}",
    ]


# ------------------------------------------------------------------------------------------------- docs
def test_the_page_about_configs_is_up_to_date() -> None:
    assert PAGE.read_text() == generated(), "run python tests/config/generate_options.py"


def test_the_page_s_config_is_right(
    schema: dict[str, Any], write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_SHA256", "ab" * 32)
    [text] = re.findall(r"```yaml\n(.+?)```", PAGE.read_text(), re.DOTALL)
    assert accepts(schema, yaml.safe_load(text), schema)
    assert load(write(text)).config.link.timeout == 0.5
    assert main(["config", "show", str(write(text))]) == 0
    assert "sha256: ${env:MODEL_SHA256}" in capsys.readouterr().out
