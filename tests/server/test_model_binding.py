"""A request is answered by models of one export at all parties, whatever is loaded while it is under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.support.clusters import ClusterFiles, linear_files, registry
from tests.support.processes import Party, wait_for

PARTIES = ("alice", "bob")
IDS = ["a", "b", "c"]
COLUMNS = {"alice": {"x": [1.0, 2.0, 3.0]}, "bob": {"y": [10.0, 20.0, 30.0]}}
FIRST = [11.5, 22.5, 33.5]
"""Scores of the first export, whose weights are 1."""
BOB_TENFOLD = [101.5, 202.5, 303.5]


@pytest.fixture
def files(tmp_path: Path) -> ClusterFiles:
    return linear_files(tmp_path, IDS, COLUMNS, link={"timeout": 2.0, "handshake_interval": 0.2})


def other_package(files: ClusterFiles, party: str, weight: float, name: str = "linear", **graph: float) -> Path:
    """A package like the party's, with other weights."""
    weights = {each: dict.fromkeys(columns, weight) for each, columns in COLUMNS.items()}
    graphs = split_linear(registry().operator, weights, label_holder="alice", **{"intercept": 0.5} | graph)
    path = files.folder / f"{party}-{name}-{weight:g}.tar.gz"
    write_package(path, name, "made for a test", graphs[party])
    return path


def restart(files: ClusterFiles, party: Party, package: Path, version: str = "") -> None:
    """Have a party come back with another model."""
    name = party.config.stem
    files.configs[name]["services"][0]["model"] = {
        "source": {"name": "local", "path": str(package)},
        "version": version,
    }
    files.write(name)
    party.stop()
    party.start()


def test_a_peer_that_comes_back_with_another_package_is_agreed_with_anew(files: ClusterFiles) -> None:
    with files.running() as parties:
        assert parties["alice"].scores("linear", PARTIES, IDS) == FIRST
        restart(files, parties["bob"], other_package(files, "bob", 10.0))
        parties["bob"].wait_ready()
        assert parties["alice"].scores("linear", PARTIES, IDS) == BOB_TENFOLD
        assert "has another model now; agreeing anew" in parties["alice"].log.read_text()


def test_a_peer_that_comes_back_with_a_model_that_does_not_fit_is_not_scored_with(files: ClusterFiles) -> None:
    with files.running() as parties:
        assert parties["alice"].scores("linear", PARTIES, IDS) == FIRST
        first = Path(files.configs["bob"]["services"][0]["model"]["source"]["path"])
        restart(files, parties["bob"], other_package(files, "bob", 10.0, "renamed"))
        wait_for(lambda: "serve with its peers" in parties["bob"].log.read_text(), "bob sees alice's model")
        answer = parties["alice"].predict("linear", dict.fromkeys(PARTIES, IDS))
        assert answer["status"]["code"] != 1
        assert "results" not in answer or not answer["results"]
        parties["bob"].process.wait(timeout=60)
        restart(files, parties["bob"], first)
        wait_for(
            lambda: parties["alice"].predict("linear", dict.fromkeys(PARTIES, IDS))["status"]["code"] == 1,
            "alice serves again",
        )
        assert parties["alice"].scores("linear", PARTIES, IDS) == FIRST


def test_parties_that_name_different_versions_wait_for_each_other(files: ClusterFiles) -> None:
    for party, version in (("alice", "may"), ("bob", "june")):
        files.configs[party]["services"][0]["model"]["version"] = version
    parties = files.start()
    try:
        wait_for(lambda: "another version" in parties["alice"].log.read_text(), "alice tells what it waits for")
        package = Path(files.configs["bob"]["services"][0]["model"]["source"]["path"])
        restart(files, parties["bob"], package, "may")
        for party in parties.values():
            party.wait_ready()
        assert parties["alice"].scores("linear", PARTIES, IDS) == FIRST
    finally:
        for party in parties.values():
            party.stop()
