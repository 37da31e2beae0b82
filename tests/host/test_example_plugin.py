"""The example of a third party's plugin: built and installed with pip, seen by `sfs`, its own tests pass."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="building without a network needs hatchling in this environment")

SOURCE = Path(__file__).parents[2] / "examples" / "plugins" / "acme-feature-source"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the plugin is installed into."""
    folder = tmp_path_factory.mktemp("acme")
    copy = shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    command = [*pip, "--target", str(folder / "site"), str(copy)]
    result = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "site"


def sfs(site: Path, *arguments: str) -> str:
    program = "import sys; from sfs_core.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_sfs_sees_it_as_any_other_plugin(installed):
    plugins = {plugin["id"]: plugin for plugin in json.loads(sfs(installed, "plugins", "list", "--json"))["plugins"]}
    milliseconds = plugins["acme-feature-source"].pop("milliseconds")
    assert milliseconds < 1000
    assert plugins["acme-feature-source"] == {
        "id": "acme-feature-source",
        "distribution": "acme-feature-source",
        "version": "0.1.0",
        "api": ">=1,<2",
        "status": "active",
        "reason": "",
        "components": [
            {
                "kind": "feature_source",
                "name": "jsonl",
                "summary": "rows of a file of JSON lines",
                "egress": "none",
            }
        ],
    }


def test_sfs_explains_its_options(installed):
    text = sfs(installed, "plugins", "explain", "jsonl")
    assert "from acme-feature-source 0.1.0" in text
    assert "    path: <string>\n" in text
    assert "The field that holds a row's id; a text." in text


def test_its_own_tests_pass_on_what_was_installed(installed):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(SOURCE / "tests")]
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, env=environment, cwd=installed.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
