"""`sfs explain`: compiled plans and what their steps cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sfs_core.model.split import Tree, split_trees
from tests.cli.sfs import sfs_here
from tests.support.clusters import ClusterFiles, cluster_files, linear_files, registry, write_csv

IDS = ["r0", "r1", "r2"]


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    columns = {"alice": {"age": [1.0, 2.0, 3.0]}, "bob": {"debts": [0.25] * 3}}
    files = linear_files(tmp_path_factory.mktemp("explain"), IDS, columns)
    for party in files.configs:
        files.write(party)
    return files


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    folder = tmp_path_factory.mktemp("trees")
    owner = {"age": "alice", "debts": "bob"}
    tree = Tree([1, -1, -1], [2, -1, -1], ["age", "", ""], [1.5, 0.0, 0.0], [0.0, -1.0, 1.0])
    other = Tree([1, -1, -1], [2, -1, -1], ["debts", "", ""], [0.1, 0.0, 0.0], [0.0, -1.0, 1.0])
    graphs = split_trees(registry().operator, [tree, other], owner, parties=("alice", "bob"), label_holder="alice")
    features = {
        "alice": write_csv(folder / "alice.csv", IDS, {"age": [1.0, 2.0, 3.0]}),
        "bob": write_csv(folder / "bob.csv", IDS, {"debts": [0.25] * 3}),
    }
    files = cluster_files(folder, {"trees": graphs}, features)
    for party in files.configs:
        files.write(party)
    return files


def test_plans_of_a_config(linear: ClusterFiles) -> None:
    result = sfs_here("explain", linear.paths["alice"])
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "alice:"
    assert "DOT_PRODUCT" in result.stdout
    assert "features" in result.stdout
    assert "µs" not in result.stdout


def test_what_steps_cost(linear: ClusterFiles) -> None:
    paths = linear.paths["alice"], linear.paths["bob"]
    result = sfs_here("explain", *paths, "--id", "r0", "--id", "r2", "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["request"]["requester"] == "alice"
    assert (told["request"]["rows"], told["request"]["rounds"]) == (2, 1)
    alice, bob = (told["parties"][party]["executions"] for party in ("alice", "bob"))
    assert bob[0]["request_bytes"] > 0
    assert bob[0]["reply_bytes"] > bob[0]["request_bytes"]
    assert "request_bytes" not in alice[0]
    assert [step["us"] > 0 for execution in alice for step in execution["steps"]] == [True, True]
    assert bob[0]["steps"][0]["us"] > 0
    assert bob[1]["steps"][0]["us"] is None  # runs at the party that is asked
    assert told["parties"]["bob"]["fetch_us"] > 0
    result = sfs_here("explain", *paths, "--id", "r0", "--requester", "bob")
    assert "asked at bob: 1 round(s)" in result.stdout or "asked at bob: 2 round(s)" in result.stdout
    assert "look-up of features" in result.stdout


def test_fusions_are_shown(trees: ClusterFiles) -> None:
    result = sfs_here("explain", trees.paths["alice"], trees.paths["bob"], "--id", "r1", "--json")
    assert result.returncode == 0, result.stderr
    executions = json.loads(result.stdout)["parties"]["alice"]["executions"]
    assert executions[0]["steps"][0]["operators"] == {"TREE_SELECT": 2}
    assert len(executions[0]["steps"][0]["nodes"]) == 2
    assert "TREE_SELECT x 2" in sfs_here("explain", trees.paths["bob"]).stdout


def test_a_package(linear: ClusterFiles) -> None:
    package = next(linear.folder.glob("alice-*.tar.gz"))
    result = sfs_here("explain", package)
    assert "MERGE_Y" in result.stdout
    assert sfs_here("explain", package, "--id", "r0").returncode == 2
    assert sfs_here("explain", package, linear.paths["alice"]).returncode == 2


def test_what_cannot_be_measured(linear: ClusterFiles, tmp_path: Path) -> None:
    alice, bob = linear.paths["alice"], linear.paths["bob"]
    for arguments, said in [
        ((alice, "--id", "r0"), "one config of each party: alice, bob"),
        ((alice, alice, "--id", "r0"), "one config of each party"),
        ((alice, bob, "--id", "r0", "--requester", "carol"), "no party 'carol'"),
        ((alice, bob, "--id", "nobody"), "have no row"),
    ]:
        result = sfs_here("explain", *arguments)
        assert result.returncode == 1
        assert said in result.stderr
    assert sfs_here("explain", alice, "--service", "other").returncode == 2
