from __future__ import annotations

import ast
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sfs_core import ConfigError, __version__, cli
from sfs_core.cli.tables import print_table

SFS = "import sys; from sfs_core.cli import main; sys.exit(main())"
PLUGIN = '''
from typing import Literal

from pydantic import Field, SecretStr

from sfs_core import FeatureSource, FeatureSourceSpec, Operator, OperatorSpec, PluginConfig, attr, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("quick", f"{__name__}:Quick", "features at once", egress="ids")]


@hookimpl
def sfs_operators():
    return [OperatorSpec("QUICK_OP", f"{__name__}:QuickOp", "a quick operator")]


class Node(PluginConfig):
    weight: float = 1.0
    """How much."""
    nodes: list["Node"] = []


class QuickConfig(PluginConfig):
    path: str
    """Where the
    file is."""
    retries: int = Field(default=3, ge=0)
    """How often."""
    mode: Literal["a", "b"] = "a"
    password: SecretStr | None = None
    columns: list[str] = []
    nodes: dict[str, Node] | None = None


class Quick(FeatureSource):
    Config = QuickConfig

    def fetch_rows(self, query): ...


class QuickOp(Operator, name="QUICK_OP", version="0.0.3", inputs=["left"], output="right", mergeable=True):
    """Does it quickly."""

    weights: list[float] = attr("Weight of each column.")
    title: str = attr("A title.", default="none")

    def input_schemas(self): ...
    def output_schema(self): ...
    def compute(self, context, *inputs): ...
'''


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    (tmp_path / "quick.py").write_text(PLUGIN)
    return tmp_path


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SFS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


# ---------------------------------------------------------------------------------------------------- list
def test_list_shows_active_disabled_and_broken_plugins(quick, capsys):
    (quick / "wrong.py").write_text("SFS_API = '>=9'")
    assert cli.main(["plugins", "list", "--plugin-dir", str(quick), "--deny", "sfs-*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["plugin", "version", "api", "status", "components", "ms"]
    (row,) = [line for line in lines if line.startswith("quick ")]
    assert f"quick ({quick / 'quick.py'})" in row
    assert "active" in row
    assert "quick, QUICK_OP" in row
    assert "wrong: it needs plugin API >=9; this sfs-core has 1.0" in lines
    assert len({line.index("active") for line in lines if " active " in line}) == 1, "columns are not aligned"


def test_list_as_json(quick, capsys):
    assert cli.main(["plugins", "list", "--json", "--plugin-dir", str(quick), "--allow", "quick"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["plugin_api"] == "1.0"
    (plugin,) = [each for each in document["plugins"] if each["status"] == "active"]
    assert (plugin["id"], plugin["distribution"], plugin["reason"]) == ("quick", str(quick / "quick.py"), "")
    assert plugin["components"] == [
        {"kind": "feature_source", "name": "quick", "summary": "features at once", "egress": "ids"},
        {"kind": "operator", "name": "QUICK_OP", "summary": "a quick operator"},
    ]


def test_tables_are_drawn_on_a_terminal_only(capsys):
    print_table(["a", "long"], [["[red]x", "1"]])
    assert capsys.readouterr().out == "a       long\n[red]x  1\n"
    leader, follower = pty.openpty()
    program = "from sfs_core.cli.tables import print_table; print_table(['a', 'long'], [['[red]x', '1']])"
    subprocess.run([sys.executable, "-c", program], stdout=follower, check=True)
    os.close(follower)
    drawn = os.read(leader, 4096).decode()
    os.close(leader)
    assert "─" in drawn
    assert "[red]x" in drawn


# ------------------------------------------------------------------------------------------------- explain
def test_explain_a_source(quick, capsys):
    assert cli.main(["plugins", "explain", "quick", "--kind", "feature-source", "--plugin-dir", str(quick)]) == 0
    text = capsys.readouterr().out
    assert "feature source quick: features at once" in text
    assert "sends query ids to the service that it asks" in text
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line and line[0] != " "}
    assert rows["path"] == "path string required Where the file is."
    assert rows["retries"] == "retries integer, >= 0 3 How often."
    assert rows["mode"] == 'mode a or b "a"'
    assert rows["password"] == "password secret or null null"
    assert rows["columns"] == "columns list of string []"
    assert rows["nodes.<name>.weight"] == "nodes.<name>.weight number 1.0 How much."
    assert "nodes.<name>.nodes[].weight" in rows
    assert text.endswith(
        "features:\n  source:\n    name: quick\n    path: <string>\n    # retries: 3\n"
        '    # mode: "a"\n    # password: null\n    # columns: []\n    # nodes: null\n\n'
    )


def test_explain_an_operator(quick, capsys):
    assert cli.main(["plugins", "explain", "QUICK_OP", "--plugin-dir", str(quick)]) == 0
    text = capsys.readouterr().out
    for line in ("version 0.0.3", "inputs: left", "output: right", "tags: mergeable", "Does it quickly."):
        assert line in text.splitlines()
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "weights double list required Weight of each column." in rows
    assert 'title string "none" A title.' in rows


def test_explain_a_plugin(quick, capsys):
    (quick / "wrong.py").write_text("raise ValueError('no')")
    assert cli.main(["plugins", "explain", "wrong", "--plugin-dir", str(quick)]) == 0
    assert "plugin wrong, broken: its import failed: ValueError: no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["quik"], "no component or plugin named 'quik' is installed", "did you mean 'quick'?"),
        (["quick_OP"], "no component or plugin named 'quick_OP'", "did you mean 'QUICK_OP'?"),
        (["zzzzzz"], "no component or plugin named 'zzzzzz' is installed", "sfs plugins list"),
        (["quik", "--kind", "feature-source"], "no feature source named 'quik'", "did you mean 'quick'?"),
        (["DOT_PRODUCT", "--deny", "sfs-op-linear"], "installed but disabled", "plugins.deny"),
    ],
)
def test_explain_says_why_there_is_nothing(quick, capsys, arguments, message, hint):
    assert cli.main(["plugins", "explain", *arguments, "--plugin-dir", str(quick)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert hint in error.partition("hint: ")[2]


# ---------------------------------------------------------------------------------------- the command itself
def test_help_imports_no_verb_and_nothing_heavy():
    program = (
        "import sys; from sfs_core.cli import main; main(['--help']);"
        "print('LOADED', sorted(m for m in sys.modules if m.startswith(('sfs_core.', 'numpy', 'pyarrow', 'pydantic'))))"
    )
    text = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = ast.literal_eval(text.rpartition("LOADED ")[2])
    cli = [name for name in loaded if name.startswith("sfs_core.cli")]
    assert cli == ["sfs_core.cli", "sfs_core.cli.messages"]
    light = ("sfs_core.cli", "sfs_core.errors", "sfs_core.host", "sfs_core.sdk")  # what finds plugins' verbs
    assert all(name.startswith(light) for name in loaded), loaded
    assert "check " in text
    assert "serve " in text


def test_listing_plugins_imports_neither_arrays_nor_pydantic():
    program = (
        "import sys; from sfs_core.cli import main; main(['plugins', 'list']);"
        "print('LOADED', {'numpy', 'pyarrow', 'pydantic', 'rich'} & set(sys.modules))"
    )
    text = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert text.rpartition("LOADED ")[2].strip() == "set()"


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"sfs, version {__version__}\n"


@pytest.mark.parametrize("arguments", [["no-such-verb"], ["--no-such-option"], ["plugins", "explain"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "Usage: sfs" in capsys.readouterr().err


@pytest.fixture
def verb(monkeypatch, tmp_path):
    """A verb `try` whose body is given."""

    def make(body: str) -> None:
        source = f"import click\n@click.command()\ndef command():\n    {body}\n"
        (tmp_path / "trial_verb.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(cli._VERBS, "try", cli._Verb("trial_verb", "Try."))

    yield make
    sys.modules.pop("trial_verb", None)


def test_a_bug_is_called_one_and_shows_no_data(verb, capsys, monkeypatch):
    verb("raise KeyError('customer 17')")
    assert cli.main(["try"]) == 70
    error = capsys.readouterr().err
    assert error.startswith("error: unexpected KeyError: this is a bug")
    assert "17" not in error
    monkeypatch.setenv("SFS_TRACEBACK", "1")
    assert cli.main(["try"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_all_problems_of_a_config_are_printed(verb, capsys, monkeypatch):
    monkeypatch.setattr(
        click, "problem", ConfigError("2 problems", problems=("a.yaml:1 x: y", "a.yaml:2 z"), hint="h"), False
    )
    verb("raise click.problem")
    assert cli.main(["try"]) == 1
    assert capsys.readouterr().err == "error: 2 problems\n  a.yaml:1 x: y\n  a.yaml:2 z\nhint: h\n"


def test_the_exit_code_of_a_verb_is_kept(verb):
    verb("click.get_current_context().exit(1)")
    assert cli.main(["try"]) == 1


def test_ctrl_c_exits_with_130():
    program = (
        "import time, types, sys, click; from sfs_core import cli; sys.modules['trial'] = m = types.ModuleType('t')\n"
    )
    program += "@click.command()\ndef command():\n    print('ready', flush=True); time.sleep(60)\n"
    program += "m.command = command; cli._VERBS['try'] = cli._Verb('trial', ''); sys.exit(cli.main(['try']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in error
