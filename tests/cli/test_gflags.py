"""Flags are read as gflags reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfs_core.cli.gflags import Kind, parse_flags
from sfs_core.errors import ConfigError

KNOWN: dict[str, Kind] = {"config": "text", "verbose": "bool", "notify": "bool", "size": "int"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config=a=b", "-size=0x10"], {"config": "a=b", "size": 16}),
        (["--config", "a", "-verbose"], {"config": "a", "verbose": True}),
        (["--noverbose", "--notify"], {"verbose": False, "notify": True}),
        (["--verbose=T", "--nonotify", "--verbose=no"], {"verbose": False, "notify": False}),
        (["--size=1", "--", "--size=2"], {"size": 1}),
        (["--config="], {"config": ""}),
        (["--colour=red", "--undefok=colour,sound", "--nosound"], {}),
        (["--help"], {"help": True}),
    ],
)
def test_flags(arguments: list[str], expected: dict[str, object]) -> None:
    assert parse_flags(arguments, KNOWN) == expected


def test_flag_files(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.write_text("-size=2\n--verbose")
    outer = tmp_path / "outer"
    outer.write_text(f"# a comment\n\n  --size=1\n--flagfile={inner}\n--config=a b\n")
    expected = {"size": 2, "verbose": True, "config": "a b"}
    assert parse_flags([f"--flagfile={outer}"], KNOWN) == expected
    assert parse_flags([f"--flagfile={outer}", "--size=3"], KNOWN) == {**expected, "size": 3}


def test_flags_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGS_size", "7")
    assert parse_flags(["--fromenv=size", "--tryfromenv=config"], KNOWN) == {"size": 7}
    with pytest.raises(ConfigError, match="FLAGS_config is not set"):
        parse_flags(["--fromenv=config"], KNOWN)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--confg=a"], "there is no flag --confg"),
        (["--noconfig"], "there is no flag --noconfig"),
        (["--size"], "needs a value"),
        (["--size=big"], "a whole number"),
        (["--verbose=perhaps"], "true or false"),
        (["config"], "only flags"),
        (["--flagfile=none"], "cannot be read"),
    ],
)
def test_mistakes(arguments: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse_flags(arguments, KNOWN)


def test_a_near_name_is_suggested_and_the_place_is_told(tmp_path: Path) -> None:
    file = tmp_path / "flags"
    file.write_text("\n--confg=a\n")
    with pytest.raises(ConfigError) as caught:
        parse_flags([f"--flagfile={file}"], KNOWN)
    assert (caught.value.where, caught.value.hint) == (f"{file}:2", "did you mean --config?")


def test_flag_files_that_name_each_other(tmp_path: Path) -> None:
    file = tmp_path / "flags"
    file.write_text(f"--flagfile={file}")
    with pytest.raises(ConfigError, match="without end"):
        parse_flags([f"--flagfile={file}"], KNOWN)
