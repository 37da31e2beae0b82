"""New versions of a model, loaded by one party after the other while callers ask: no gap, and no mixed score."""

from __future__ import annotations

import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.support.clusters import ClusterFiles, linear_files, registry
from tests.support.processes import SFS, Party, wait_for

PARTIES = ("alice", "bob")
IDS = ["a", "b"]
COLUMNS = {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [10.0, 20.0]}}
FIRST = (11.5, 22.5)
SECOND = (33.5, 66.5)
"""Scores of the second export, whose weights are 3."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    files = linear_files(
        tmp_path_factory.mktemp("reload"), IDS, COLUMNS, link={"timeout": 2.0, "handshake_interval": 0.1}
    )
    weights = {party: dict.fromkeys(columns, 3.0) for party, columns in COLUMNS.items()}
    graphs = split_linear(registry().operator, weights, label_holder="alice", intercept=0.5)
    for party in PARTIES:
        files.configs[party]["admin"] = {"socket": str(files.folder / "private" / f"{party}.sock")}
        write_package(files.folder / f"{party}-second.tar.gz", "linear", "made for a test", graphs[party])
    return files


@pytest.fixture(scope="module")
def parties(files: ClusterFiles) -> Iterator[Mapping[str, Party]]:
    with files.running() as parties:
        yield parties


class Callers:
    """One caller of each party that asks without a pause, until the end of the block; each score is kept."""

    def __init__(self, parties: Mapping[str, Party]) -> None:
        self._stop = threading.Event()
        self.answers: dict[str, list[tuple[float, ...]]] = {name: [] for name in parties}
        self._threads = [threading.Thread(target=self._ask, args=each) for each in parties.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self, name: str, party: Party) -> None:
        while not self._stop.is_set():
            answer = party.predict("linear", dict.fromkeys(PARTIES, IDS))
            self.answers[name].append(tuple(row["scores"][0]["value"] for row in answer.get("results", ())))

    def wait_for(self, scores: tuple[float, ...], *names: str) -> None:
        """Until callers of these parties get these scores, a few times."""
        for name in names:
            answers = self.answers[name]
            begin = len(answers)
            wait_for(lambda a=answers, b=begin: a[b:].count(scores) > 5, f"{name} answers {scores}")  # type: ignore[misc]

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def admin(files: ClusterFiles, do: str, party: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `sfs admin`."""
    command = [SFS, "admin", do, str(files.paths[party]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def reload(files: ClusterFiles, party: str, *arguments: str) -> None:
    """Load the second export's package at a party."""
    done = admin(files, "reload", party, "linear", "--path", str(files.folder / f"{party}-second.tar.gz"), *arguments)
    assert not done.returncode, done.stderr


def test_parties_that_reload_one_after_the_other_never_mix_versions(
    files: ClusterFiles, parties: Mapping[str, Party]
) -> None:
    with Callers(parties) as callers:
        callers.wait_for(FIRST, *PARTIES)
        reload(files, "alice", "--version", "second")
        callers.wait_for(FIRST, *PARTIES)
        assert "waiting: " in admin(files, "status", "alice").stdout
        reload(files, "bob", "--version", "second")
        callers.wait_for(SECOND, *PARTIES)
        assert not admin(files, "rollback", "alice", "linear").returncode
        callers.wait_for(FIRST, "alice")
        callers.wait_for(SECOND, "bob")
        assert not admin(files, "rollback", "bob", "linear").returncode
        callers.wait_for(FIRST, *PARTIES)
    for answers in callers.answers.values():
        assert set(answers) == {FIRST, SECOND}


def test_a_version_that_waits_is_dropped_on_command(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    reload(files, "alice", "--version", "third")
    refused = admin(files, "reload", "alice", "linear", "--version", "fourth")
    assert refused.returncode == 1
    assert "waits for the other parties" in refused.stderr
    assert not admin(files, "unload", "alice", "linear").returncode
    assert "waiting: " not in admin(files, "status", "alice").stdout
    assert tuple(parties["alice"].scores("linear", PARTIES, IDS)) == FIRST


def test_what_peers_could_not_tell_apart_is_refused(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    package = files.folder / "alice-second.tar.gz"
    refused = admin(files, "reload", "alice", "linear", "--path", str(package))
    assert refused.returncode == 1
    assert "name it with --version" in refused.stderr
    assert admin(files, "reload", "alice", "nothing").returncode == 1
    assert admin(files, "reload", "alice", "linear", "--path", str(files.folder / "none"), "--version", "x").returncode
    assert tuple(parties["alice"].scores("linear", PARTIES, IDS)) == FIRST


def test_the_socket_is_for_its_user_alone(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    assert parties["alice"].is_ready()
    socket = Path(files.configs["alice"]["admin"]["socket"])
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
