"""The workspace's plugins are what a third party's are, and all lists of them agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from . import generate_known_plugins

REPOSITORY = Path(__file__).parents[2]
MANIFESTS = sorted(REPOSITORY.glob("plugins/*/*/pyproject.toml"))
EXAMPLES = sorted(REPOSITORY.glob("examples/plugins/*/pyproject.toml"))
PREFIXES = {
    "authenticators": "sfs-auth-",
    "feature_sources": "sfs-feature-",
    "model_sources": "sfs-model-",
    "ops": "sfs-op-",
}

TEMPLATE = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
description = "{description}"
readme = "README.md"
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = {dependencies}

[project.entry-points."sfs_core.plugins"]
{name} = "{package}"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""


def read(manifest: Path) -> dict[str, Any]:
    return tomllib.loads(manifest.read_text())


def label(manifest: Path) -> str:
    return str(manifest.parent.relative_to(REPOSITORY))


ROOT = read(REPOSITORY / "pyproject.toml")


@pytest.mark.parametrize("manifest", MANIFESTS + EXAMPLES, ids=label)
def test_every_manifest_equals_the_template(manifest):
    project = read(manifest)["project"]
    dependencies = re.search(r"^dependencies = (\[.*?\])$", manifest.read_text(), re.MULTILINE | re.DOTALL)
    assert dependencies
    assert manifest.read_text() == TEMPLATE.format(
        name=project["name"],
        version=ROOT["project"]["version"],
        description=project["description"],
        dependencies=dependencies[1],
        package=project["name"].replace("-", "_"),
    )


@pytest.mark.parametrize("manifest", MANIFESTS + EXAMPLES, ids=label)
def test_every_plugin_has_its_parts_and_a_fitting_range_of_core(manifest):
    folder = manifest.parent
    project = read(manifest)["project"]
    package = folder / project["name"].replace("-", "_")
    assert {"README.md", "tests", package.name} <= {path.name for path in folder.iterdir()}
    assert (package / "py.typed").is_file()
    assert list((folder / "tests").glob("test_*.py"))
    assert "sfs-core>=0.1,<0.2" in project["dependencies"]
    assert not [each for each in project["dependencies"] if "@" in each or "/" in each]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=label)
def test_a_plugin_is_named_after_its_folder(manifest):
    kind, name = manifest.parts[-3:-1]
    assert read(manifest)["project"]["name"] == PREFIXES[kind] + name.replace("_", "-")


@pytest.mark.parametrize("manifest", MANIFESTS + EXAMPLES, ids=label)
def test_a_declaration_module_is_light(manifest):
    package = read(manifest)["project"]["name"].replace("-", "_")
    program = (
        f"import sys; sys.path.insert(0, {str(manifest.parent)!r}); import {package};"
        f"print({package}.SFS_API, {{'numpy', 'pyarrow'}} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == ">=1,<2 set()"


def test_members_sources_group_and_folders_agree():
    uv = ROOT["tool"]["uv"]
    folders = [label(manifest) for manifest in MANIFESTS]
    names = sorted(read(manifest)["project"]["name"] for manifest in MANIFESTS)
    assert uv["workspace"]["members"] == folders
    assert sorted(ROOT["dependency-groups"]["plugins"]) == names
    assert uv["sources"] == {name: {"workspace": True} for name in ["sfs-core", *names]}


def test_the_table_of_known_plugins_is_up_to_date():
    written = generate_known_plugins.TABLE.read_text()
    assert written == generate_known_plugins.generated(), "run python tests/host/generate_known_plugins.py"
    assert set(generate_known_plugins.declared().values()) == {read(path)["project"]["name"] for path in MANIFESTS}
