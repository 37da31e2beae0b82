"""Options of operators: any plugin's, set by operator or by plugin, and told of wherever options are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sfs_core.cli import main
from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.loader import load
from sfs_core.errors import ConfigError, ErrorCode, GraphError
from sfs_core.host.registry import Registry
from sfs_core.model.builder import GraphBuilder
from sfs_core.model.graph import Dispatch
from sfs_core.model.validation import check_graph

from .conftest import NATIVE, Write

PLUGIN = """
import pyarrow as pa
from pydantic import Field, SecretStr
from sfs_core import Batch, Operator, OperatorSpec, PluginConfig, Schema, hookimpl

SFS_API = ">=1,<2"

class Shared(PluginConfig):
    depth: int = Field(default=3, ge=1)
    '''How deep.'''
    passwords: tuple[SecretStr, ...] = ()
    '''Secrets.'''

class Other(PluginConfig):
    width: int
    '''How wide.'''

class Acme(Operator, name="{one}", version="1", inputs=["x"], output="y", returnable=True, mergeable=True):
    '''Does nothing.'''
    Config = Shared

    def input_schemas(self):
        return [Schema([])] * max(1, len(self.node.parents))

    output_schema = lambda self: Schema([])
    compute = lambda self, context, *inputs: inputs[0]

class Second(Acme, name="{two}", version="1", inputs=["x"], output="y", returnable=True, mergeable=True):
    '''Does nothing.'''
    Config = {second}

class Plain(Acme, name="{two}_PLAIN", version="1", inputs=["x"], output="y"):
    '''Has no options.'''
    Config = PluginConfig

@hookimpl
def sfs_operators():
    return [OperatorSpec(cls.definition.name, __name__ + ":" + cls.__name__, "test") for cls in (Acme, Second, Plain)]
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Two plugins: the operators of `acme` share their options, those of `mixed` do not."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name, second in (("acme", "Shared"), ("mixed", "Other")):
        values = {"{one}": f"{name.upper()}_ONE", "{two}": f"{name.upper()}_TWO", "{second}": second}
        text = PLUGIN
        for old, new in values.items():
            text = text.replace(old, new)
        (folder / f"{name}.py").write_text(text)
    return folder


Load = Callable[[str], LoadedConfig]


@pytest.fixture
def loaded(write: Write, plugins: Path) -> Load:
    """Loads a config with some options of operators, in its last line."""
    return lambda operators: load(write(f"{NATIVE}operators: {operators}\n"), plugin_directories=[plugins])


def problem(load_: Load, operators: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_(operators)
    (told,) = caught.value.problems
    path, _, text = told.partition("party.yaml:")
    assert path
    assert text.startswith("9 operators")
    return text


def test_a_plugin_s_id_stands_for_all_of_its_operators(loaded: Load) -> None:
    options = loaded("{acme: {depth: 5}}").operator_options
    assert set(options) == {"ACME_ONE", "ACME_TWO", "ACME_TWO_PLAIN"}
    assert options["ACME_ONE"].depth == options["ACME_TWO"].depth == 5
    one = loaded("{ACME_ONE: {depth: '7'}, MIXED_TWO: {width: 2}}").operator_options
    assert {name: dict(each) for name, each in one.items()} == {
        "ACME_ONE": {"depth": 7, "passwords": ()},
        "MIXED_TWO": {"width": 2},
    }
    assert loaded("{}").operator_options == {}


@pytest.mark.parametrize(
    ("operators", "told"),
    [
        ("{acme: {dept: 5}}", "acme.dept: there is no such option (hint: did you mean 'depth'?)"),
        ("{ACME_ONE: {depth: 0}}", "ACME_ONE.depth: a value greater than or equal to 1"),
        ("{MIXED_TWO: {}}", "MIXED_TWO.width: is missing"),
        ("{ACME_TWO_PLAIN: {x: 1}}", "ACME_TWO_PLAIN.x: there is no such option (hint: known: none)"),
        ("{acme: 5}", "acme: "),
        ("[acme]", ": "),
        ("{acm: {}}", "acm: no operator or plugin named 'acm' is installed (hint: did you mean 'acme'?)"),
        (
            "{ACME_ON: {}}",
            "ACME_ON: no operator or plugin named 'ACME_ON' is installed (hint: did you mean 'ACME_ONE'?)",
        ),
        ("{sfs-feature-csv: {}}", "sfs-feature-csv: plugin 'sfs-feature-csv' has no operators"),
        ("{acme: {}, ACME_TWO: {}}", "ACME_TWO: ACME_TWO has options under 'acme' already"),
        (
            "{mixed: {depth: 5}}",
            "mixed: its operators have different options (hint: give them by operator: MIXED_ONE, MIXED_TWO)",
        ),
    ],
)
def test_each_mistake_with_its_line(operators: str, told: str, loaded: Load) -> None:
    found = problem(loaded, operators)
    assert found.removeprefix("9 operators").lstrip(".").startswith(told), found


def test_what_is_not_installed_is_told(write: Write) -> None:
    path = write(f"{NATIVE}plugins: {{deny: [sfs-op-*]}}\noperators: {{sfs-op-tree: {{}}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "installed but disabled" in caught.value.problems[0]
    with pytest.raises(ConfigError) as caught:
        load(write(f"{NATIVE}operators: {{XYZZY: {{}}}}\n"))
    assert "no operator or plugin named 'XYZZY' is installed" in caught.value.problems[0]


def test_secrets_are_shown_nowhere(
    write: Write, plugins: Path, loaded: Load, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFS_TEST_SECRET", "swordfish")
    operators = "{acme: {passwords: [hunter2, '${env:SFS_TEST_SECRET}']}}"
    config = loaded(operators)
    assert [key.get_secret_value() for key in config.operator_options["ACME_ONE"].passwords] == ["hunter2", "swordfish"]
    path = write(f"{NATIVE}operators: {operators}\n")
    assert main(["config", "show", str(path), "--plugin-dir", str(plugins)]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["operators"]["acme"] == {"depth": 3, "passwords": ["**********"] * 2}
    wrong = problem(loaded, "{acme: {passwords: [hunter2, {swordfish: hunter2}]}}")
    for text in (shown, repr(config), repr(config.config), str(config), wrong):
        assert "hunter2" not in text
        assert "swordfish" not in text.replace("passwords[1].swordfish", "")


def test_options_are_explained(plugins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("acme", "ACME_TWO"):
        assert main(["plugins", "explain", name, "--plugin-dir", str(plugins)]) == 0
        told = capsys.readouterr().out
        assert "How deep." in told
        assert f"operators:\n  {name}:\n    # depth: 3" in told
    assert main(["plugins", "explain", "mixed", "--plugin-dir", str(plugins)]) == 0
    assert "operators:" not in capsys.readouterr().out
    assert main(["config", "schema", "--plugin-dir", str(plugins)]) == 0
    section = json.loads(capsys.readouterr().out)["properties"]["operators"]
    assert section["properties"]["acme"]["properties"]["depth"]["default"] == 3
    assert section["properties"]["MIXED_TWO"]["required"] == ["width"]
    assert "mixed" not in section["properties"]
    assert section["additionalProperties"] is False


def test_operators_get_their_options(loaded: Load, plugins: Path) -> None:
    config = loaded("{ACME_ONE: {depth: 9}}")
    find = config.registry.operator
    graph = GraphBuilder(find).add_node("a", "ACME_ONE").begin_execution(Dispatch.ANYONE)
    graph = graph.add_node("b", "ACME_TWO", parents=["a"]).build()
    operators = check_graph(graph, find, config.operator_options).operators
    assert (operators["a"].config.depth, operators["b"].config.depth) == (9, 3)


def test_options_without_a_default_are_asked_for(loaded: Load, plugins: Path) -> None:
    find = Registry.discover(plugin_directories=[plugins]).operator
    graph = GraphBuilder(find).add_node("a", "MIXED_TWO").begin_execution(Dispatch.ANYONE)
    with pytest.raises(GraphError, match="options are missing in the config: width") as caught:
        graph.add_node("b", "MIXED_ONE", parents=["a"]).build()
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert caught.value.node == "a"
    assert caught.value.hint == "give them as `operators: {MIXED_TWO: {…}}`"
