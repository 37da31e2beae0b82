"""The import contracts cover the workspace, and notice what they forbid."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def plugin_packages(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("plugins/*/*/sfs_*/__init__.py"))


@pytest.fixture
def bare_house(root: Path, project: dict[str, Any], tmp_path: Path) -> Path:
    """The real contracts over empty packages: every room of core, and every plugin."""
    contracts = project["tool"]["importlinter"]
    rooms = re.findall(r"\w+", " ".join(_contract(project, "layers")["layers"]))
    for package in [*contracts["root_packages"], *(f"sfs_core/{room}" for room in rooms)]:
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").touch()
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_name_every_plugin(project: dict[str, Any], plugin_packages: list[str]) -> None:
    assert sorted(project["tool"]["importlinter"]["root_packages"]) == sorted(["sfs_core", *plugin_packages])
    assert sorted(_contract(project, "plugins")["protected_modules"]) == plugin_packages


def test_clean_packages_pass(bare_house: Path) -> None:
    _plant(bare_house, "sfs_core/cli/x.py", "import sfs_core.server, sfs_core.testing")
    _plant(bare_house, "sfs_op_tree/x.py", "from sfs_core import Operator\nfrom sfs_core.testing import contract")
    assert _broken_contracts(bare_house) == []


@pytest.mark.parametrize(
    ("file", "planted", "broken"),
    [
        ("sfs_core/engine/x.py", "from sfs_core.link import channel", ["layers"]),
        ("sfs_core/codec/x.py", "def late():\n    import sfs_core.sdk", ["layers"]),
        ("sfs_core/attic.py", "", ["layers"]),
        ("sfs_core/host/x.py", "import sfs_op_tree", ["plugins"]),
        ("sfs_op_linear/x.py", "from sfs_op_tree import selection", ["plugins"]),
        ("sfs_op_linear/x.py", "from sfs_core.batch import Batch", ["public-names"]),
        ("sfs_feature_csv/x.py", "from sfs_core.testing.inner import helper", ["public-names"]),
        ("sfs_core/observe/x.py", "import redis.client", ["core-stays-light"]),
    ],
)
def test_a_planted_violation_is_found(
    bare_house: Path, project: dict[str, Any], file: str, planted: str, broken: list[str]
) -> None:
    _plant(bare_house, "sfs_core/testing/inner.py", "")
    _plant(bare_house, file, planted)
    assert _broken_contracts(bare_house) == [_contract(project, name)["name"] for name in broken]


def _contract(project: dict[str, Any], name: str) -> dict[str, Any]:
    contracts: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["id"] == name)


def _plant(house: Path, file: str, source: str) -> None:
    (house / file).write_text(source)


def _broken_contracts(house: Path) -> list[str]:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-logo",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
    broken = re.findall(r"^(.+) BROKEN\b", done.stdout, re.MULTILINE)
    assert (done.returncode != 0) == bool(broken), done.stdout + done.stderr
    return broken
