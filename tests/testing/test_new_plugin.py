"""`sfs plugins new`: what it writes is installable, clean, and keeps its contract."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from sfs_core.cli import new_plugin

from .test_saboteurs import run_pytest

ROOT = Path(__file__).parents[2]
NEW = {"feature-source": "ledger", "model-source": "vault_2", "operator": "TIMES_FACTOR", "authenticator": "word"}


def new(folder: Path, *arguments: str):
    return CliRunner().invoke(new_plugin.command, ["--in", str(folder), *arguments])


def install(package: Path, site: Path) -> None:
    """What an editable install leaves: the metadata, and a path to the sources (here: links)."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    (package_name,) = project["entry-points"]["sfs_core.plugins"].values()
    (site / package_name).symlink_to(package / package_name)
    metadata = site / f"{package_name}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [f"{key} = {value}" for key, value in project["entry-points"]["sfs_core.plugins"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[sfs_core.plugins]", *points]) + "\n")


def test_new_plugins_keep_their_contracts(tmp_path: Path) -> None:
    for kind, name in NEW.items():
        assert new(tmp_path / "made", kind, name).exit_code == 0
    made = sorted((tmp_path / "made").iterdir())
    assert [path.name for path in made] == [
        "sfs-auth-word",
        "sfs-feature-ledger",
        "sfs-model-vault-2",
        "sfs-op-times-factor",
    ]
    for package in made:
        install(package, tmp_path)
    done = run_pytest(tmp_path, "-W", "error", "--sfs-report", "made")
    assert done.returncode == 0, done.stdout
    for title in ("feature source", "model source", "operator", "authenticator"):
        assert f"contract of {title}s" in done.stdout
    elsewhere = "lint.isort.known-first-party = []"  # where authors work, sfs_core is a library among others
    ours = ["--config", str(ROOT / "pyproject.toml"), "--config", elsewhere]
    for check in (["check"], ["check", *ours], ["format", "--check"]):
        assert run(tmp_path, "ruff", *check, "made") == ""
    ledger = tmp_path / "made" / "sfs-feature-ledger"
    assert run(ledger, "mypy", "--strict", "sfs_feature_ledger") == ""


def run(folder: Path, *command: str) -> str:
    """What a tool complains about, with the settings that new plugins have."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    return done.stdout if done.returncode else ""


@pytest.mark.parametrize("name", ["", "1x", "a-b", "a__b", "../x", "x\ny", "é"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    done = new(tmp_path, "operator", name)
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sfs-op-x").mkdir()
    done = new(tmp_path, "operator", "x")
    assert done.exit_code == 1
    assert "is there already" in done.output
    assert list((tmp_path / "sfs-op-x").iterdir()) == []


@pytest.mark.parametrize(("kind", "name"), [("feature-source", "csv"), ("operator", "MERGE_Y"), ("operator", "linear")])
def test_names_of_first_party_plugins_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    done = new(tmp_path, kind, name)
    assert done.exit_code == 2
    assert "is a plugin of SFS; take another name" in done.output
    assert list(tmp_path.iterdir()) == []
