"""What is in the repository, what is not, and what goes into the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    if not (root / ".git").exists():
        pytest.skip("not a clone")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [root / name for name in listing.split("\0") if name and (root / name).is_file()]


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Requirement]:
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_constraints_are_exact_and_without_addresses(pins: dict[str, Requirement]) -> None:
    for pin in pins.values():
        assert pin.url is None
        assert [specifier.operator for specifier in pin.specifier] == ["=="], str(pin)


def test_constraints_pin_what_every_project_asks_for(dev: ModuleType, pins: dict[str, Requirement]) -> None:
    for line in dev.all_requirements():
        wanted = Requirement(line)
        pin = next(iter(pins[canonicalize_name(wanted.name)].specifier))
        assert wanted.specifier.contains(pin.version), f"run ./dev constraints: {wanted}, but {pin.version} is pinned"


def test_constraints_pin_what_comes_along(dev: ModuleType, pins: dict[str, Requirement]) -> None:
    waiting, seen = [Requirement(line) for line in dev.all_requirements()], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in requirement.extras or {""}):
                waiting.append(needed)
    assert seen <= pins.keys(), "run ./dev constraints"


def test_no_tracked_file_names_a_machine_or_an_index(tracked: list[Path], root: Path) -> None:
    # Written in pieces, so that this file does not find itself.
    forbidden = re.compile(r"(?<![\w.~-])/(?:wor[k]|roo[t]|hom[e])/|/simpl[e]\b|pythonhoste[d]|file:/[/]/")
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in tracked
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert found == []


def test_no_lock_file_is_tracked(tracked: list[Path]) -> None:
    assert "uv.lock" not in {path.name for path in tracked}


def test_the_wheel_holds_the_demo_s_data_and_the_messages(root: Path, tmp_path: Path, project: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=root, capture_output=True, check=True)
    (wheel,) = tmp_path.glob(f"sfs_core-{project['project']['version']}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = {f"sfs_core/cli/demo_data/{name}" for name in ("alice.csv", "bob.csv", "models.json", "README.md")}
    assert data | {"sfs_core/py.typed", "sfs_core/proto/serving_pb2.py"} <= names
    assert all(name.startswith(("sfs_core/", "sfs_core-")) for name in names)
