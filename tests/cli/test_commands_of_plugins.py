"""Verbs that plugins add to `sfs`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sfs_core.cli import _VERBS, main
from sfs_core.sdk.specs import CORE_COMMANDS, CommandSpec
from tests.host.conftest import Install, install, site  # noqa: F401 - fixtures

VERB = """
import click

from sfs_core import RequestError


@click.group("greet")
def command():
    "Greets."


@command.command()
@click.argument("name")
def hello(name):
    "Says hello."
    if name == "nobody":
        raise RequestError("there is nobody to greet", hint="name somebody")
    if name == "bug":
        raise KeyError("hunter2")
    print(f"hello, {name}")


nothing = 7
"""


def declare(*specs: str) -> str:
    return f"""
from sfs_core import CommandSpec

@hookimpl
def sfs_commands():
    return [{", ".join(specs)}]
"""


@pytest.fixture
def greeter(install: Install) -> Path:  # noqa: F811
    """An installed plugin with a verb that works and some that do not."""
    specs = [
        'CommandSpec("greet", "acme_greeter.verb:command", "Greet people.")',
        'CommandSpec("absent", "acme_greeter.verb:absent", "Is not there.")',
        'CommandSpec("nothing", "acme_greeter.verb:nothing", "Is no command.")',
        'CommandSpec("unimportable", "acme_greeter.no_module:command", "Cannot be imported.")',
    ]
    package = install("acme-greeter", declare(*specs))
    (package / "verb.py").write_text(VERB)
    return package


def test_a_verb_works_like_one_of_sfs_itself(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", "hello", "bob"]) == 0
    assert capsys.readouterr().out == "hello, bob\n"
    assert main(["greet", "hello", "--help"]) == 0
    assert "Usage: sfs greet hello [OPTIONS] NAME" in capsys.readouterr().out
    assert main(["greet", "hello"]) == 2
    assert main(["greet", "hello", "nobody"]) == 1
    told = capsys.readouterr().err
    assert "error: there is nobody to greet" in told
    assert "hint: name somebody" in told
    assert main(["greet", "hello", "bug"]) == 70
    assert "hunter2" not in capsys.readouterr().err


def test_help_shows_it_and_imports_none(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (greeter / "verb.py").write_text("raise SystemExit('imported')")
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Commands of plugins:" in shown
    assert "Greet people." in shown.partition("Commands of plugins:")[2]


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("absent", "acme_greeter.verb:absent does not exist"),
        ("nothing", "acme_greeter.verb:nothing is no click.Command"),
        ("unimportable", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_verbs_that_cannot_be_used(verb: str, told: str, greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 1
    assert told in capsys.readouterr().err


def test_two_plugins_with_one_verb(greeter: Path, install: Install, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    install("other-greeter", declare('CommandSpec("greet", "other_greeter:command", "Greet others.")'))
    assert main(["greet", "hello", "bob"]) == 1
    assert "command 'greet' is offered by acme-greeter 1.2 and other-greeter 1.2" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "Greet people." not in capsys.readouterr().out


def test_a_plugin_that_takes_a_verb_of_sfs_is_not_used(
    install: Install,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    specs = ['CommandSpec("greet", "thief:command", "Greet.")', 'CommandSpec("serve", "thief:command", "Serve.")']
    install("thief", declare(*specs))
    assert main(["serve", "--help"]) == 0
    assert "Serve until SIGINT or SIGTERM" in capsys.readouterr().out
    assert main(["greet"]) == 2
    told = capsys.readouterr().err
    assert "No such command 'greet'" in told
    assert "thief (sfs_commands failed: ValueError: CommandSpec: 'serve' is a command of SFS itself)" in told


def test_names_of_verbs() -> None:
    assert set(_VERBS) == CORE_COMMANDS
    CommandSpec("two-words2", "a:b", "")
    for name in ("", "Upper", "two words", "-x", "--help", "x-", "ä", *CORE_COMMANDS):
        with pytest.raises(ValueError, match="CommandSpec"):
            CommandSpec(name, "a:b", "")


def test_plugins_tell_of_their_verbs(greeter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "explain", "greet"]) == 0
    assert (
        "command greet: Greet people.\nfrom acme-greeter 1.2\n`sfs greet --help` says more" in capsys.readouterr().out
    )
    assert main(["plugins", "explain", "--kind", "command", "nothing"]) == 1
    assert "is no click.Command" in capsys.readouterr().err
    assert main(["plugins", "list", "--json"]) == 0
    plugins = {each["id"]: each for each in json.loads(capsys.readouterr().out)["plugins"]}
    components = plugins["acme-greeter"]["components"]
    assert {"kind": "command", "name": "greet", "summary": "Greet people."} in components
