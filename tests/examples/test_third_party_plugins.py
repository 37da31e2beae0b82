"""Plugins of third parties serve in real processes: one installed with pip, one that is a single file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from tests.support.clusters import ClusterFiles, linear_files
from tests.support.processes import running

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins" / "acme-feature-source"
IDS = ["a", "b", "c"]
COLUMNS = {"alice": {"age": [1.0, 2.0, 3.0]}, "bob": {"debts": [0.25, 0.5, 0.75]}}
SCORES = [1.75, 3.0, 4.25]


@pytest.fixture
def files(tmp_path: Path) -> ClusterFiles:
    return linear_files(tmp_path, IDS, COLUMNS)


def select(files: ClusterFiles, party: str, **source: object) -> None:
    files.configs[party]["services"][0]["features"]["source"] = source


def assert_serves(files: ClusterFiles, *arguments: str) -> None:
    with running(files.start(*arguments)) as parties:
        for party in parties.values():
            assert party.scores("linear", ("alice", "bob"), IDS) == SCORES
            refused = party.predict("linear", {"alice": ["nobody"], "bob": ["a"]})
            assert refused["status"]["code"] == (3 if party is parties["alice"] else 4)
            assert "nobody" not in refused["status"]["msg"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the example plugin is installed into, as anybody's package is."""
    pytest.importorskip("hatchling", reason="building without a network needs hatchling in this environment")
    folder = tmp_path_factory.mktemp("acme")
    copy = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    command = [*pip, "--target", str(folder / "site"), str(copy)]
    result = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / "site"


def test_an_installed_plugin_is_picked_in_a_config_and_serves(
    files: ClusterFiles, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = dict(
        re.findall(r"^```(yaml|json)\n(.*?)^```", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    )
    source, row = yaml.safe_load(shown["yaml"])["features"]["source"], json.loads(shown["json"])
    rows = [row | {"id": i, "age": age} for i, age in zip(IDS, COLUMNS["alice"]["age"], strict=True)]
    (tmp_path / source["path"]).write_text("\n".join(map(json.dumps, rows)) + "\n")
    select(files, "alice", **source)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
    assert_serves(files)


ONE_FILE = '''
"""Features that this very file holds."""

from sfs_core import Batch, FeatureError, FeatureQuery, FeatureResult, FeatureSource, FeatureSourceSpec
from sfs_core import PluginConfig, hookimpl

SFS_API = ">=1,<2"
AGES = {"a": 1.0, "b": 2.0, "c": 3.0}


class Options(PluginConfig):
    plus: float = 0.0


class Ages(FeatureSource):
    Config = Options
    config: Options
    blocking = True

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        if missing := sum(row not in AGES for row in query.ids):
            raise FeatureError(f"{missing} ids are unknown")
        return FeatureResult(Batch.from_rows(self.schema, [(AGES[row] + self.config.plus,) for row in query.ids]))


@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("ages", f"{__name__}:Ages", "ages in a file")]
'''


def test_a_plugin_of_one_file_serves(files: ClusterFiles, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ages.py").write_text(dedent(ONE_FILE))
    select(files, "alice", name="ages")
    assert_serves(files, "--plugin-dir", str(tmp_path / "plugins"))


def test_a_plugin_s_options_count(files: ClusterFiles, tmp_path: Path) -> None:
    """Named in the config, and with an option that shifts every score."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ages.py").write_text(dedent(ONE_FILE))
    files.configs["alice"]["plugins"] = {"directories": ["plugins"]}
    select(files, "alice", name="ages", plus=10)
    with files.running() as parties:
        assert parties["bob"].scores("linear", ("alice", "bob"), IDS) == [score + 10 for score in SCORES]
