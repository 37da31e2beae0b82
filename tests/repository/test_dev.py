"""`./dev`: its verbs, and the checks that it makes itself."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def test_help_lists_the_verbs(root: Path) -> None:
    text = subprocess.run([sys.executable, root / "dev", "--help"], capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert listed == ["setup", "demo", "test", "lint", "bench", "docs", "proto"]


def test_an_unknown_verb_is_refused(root: Path) -> None:
    done = subprocess.run([sys.executable, root / "dev", "tset"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no verb 'tset'; it has: setup demo test" in done.stderr


def test_an_old_python_is_told_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (root / "dev").read_text()
    ast.parse(source, feature_version=(3, 6))  # or an old Python would show a syntax error instead
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer, and this is Python 3\.9"):
        exec(compile(source, "dev", "exec"), {"__name__": "dev"})


def test_an_environment_that_is_up_to_date_is_left_alone(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = []
    monkeypatch.setattr(dev, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(dev, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(dev, "environment_is_usable", lambda: True)
    monkeypatch.setattr(dev, "install_with_uv", lambda: not installed.append("uv"))
    dev.bring_environment_up_to_date()
    dev.bring_environment_up_to_date()
    assert installed == ["uv"]
    changed = tmp_path / "constraints.txt"
    changed.write_text("uv==1\n")
    monkeypatch.setattr(dev, "CONSTRAINTS", changed)
    dev.bring_environment_up_to_date()
    assert installed == ["uv", "uv"]


def test_without_uv_pip_installs(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def succeeds(*command: object, environment: dict[str, str] | None = None) -> bool:
        commands.append([str(word) for word in command])
        return command[-1] != "uv"

    monkeypatch.setattr(dev, "succeeds", succeeds)
    assert not dev.install_with_uv()
    assert dev.install_with_pip()
    assert all(command[1:4] == ["-m", "pip", "install"] for command in commands)
    assert sum(word == "--editable" for word in commands[-1]) == len(dev.PLUGINS) + 1


def test_installers_are_heard_only_where_they_fail(dev: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    told = "import os, sys; print('a list'); print('a warning', file=sys.stderr); sys.exit(int(os.environ['CODE']))"
    assert dev.succeeds(sys.executable, "-c", told, environment={"CODE": "0"})
    assert capfd.readouterr() == ("", "")
    assert not dev.succeeds(sys.executable, "-c", told, environment={"CODE": "1"})
    assert capfd.readouterr().err == "a list\na warning\n"


def test_pip_s_indexes_hold_for_uv(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "PYTHON", Path(sys.executable))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.invalid/a")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://mirror.invalid/b")
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    assert dev.index_settings_for_uv() == {
        "UV_DEFAULT_INDEX": "https://mirror.invalid/a",
        "UV_INDEX": "https://mirror.invalid/b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mirror.invalid/own")
    assert "UV_DEFAULT_INDEX" not in dev.index_settings_for_uv()


def test_generated_code_is_up_to_date(dev: ModuleType) -> None:
    assert dev.stale_messages() == ""


def test_stale_generated_code_is_found(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = tmp_path / "sfs_core" / "proto"
    proto.mkdir(parents=True)
    (proto / "one.proto").write_text('syntax = "proto3";\nmessage One { int32 a = 1; }\n')
    (proto / "gone_pb2.py").write_text("")
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "PROTO", proto)
    assert "gone_pb2.py, one_pb2.py, one_pb2.pyi differ" in dev.stale_messages()
    assert dev.proto([]) == 0
    assert dev.stale_messages() == ""


def test_broken_links_and_commands_are_found(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# A page's title\n\n[back](../README.md)\n")
    (tmp_path / "README.md").write_text(
        "\n".join(
            [
                "# Read me",
                "[good](docs/page.md#a-pages-title), [here](#read-me), [far](https://example.org/x), `[no](link)`",
                "[bad](docs/pag.md)",
                "[bad](docs/page.md#title)",
                "```sh",
                "./dev test -k 'a b'  # a comment",
                "./dev tset",
                "sfs plugins list --json | head",
                "sfs plugins lisst",
                "sfs plugins list \\",
                "  --jason",
                "curl -d '{",
                "  }'  # bob's",
                "./dev lent  # isn't there",
                "```",
                "```console",
                "$ ./dev demo",
                "./dev isn't a prompt",
                "$ ./dev dmeo",
                "```",
                "```yaml",
                "./dev nothing: [a](b)",
                "```",
            ]
        )
    )
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    broken = list(dev.broken_references())
    assert [line.split(": ")[0] for line in broken] == [f"README.md:{number}" for number in (3, 4, 7, 9, 11, 14, 19)]
    assert "docs/pag.md" in broken[0]
    assert "no such verb" in broken[2]
    assert "No such command 'lisst'" in broken[3]
    assert "No such option" in broken[4]
