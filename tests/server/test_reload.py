"""New versions of a model, loaded by one party after the other while callers ask: no gap, and no mixed score."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.server.reloading import COLUMNS, FIRST, IDS, PARTIES, SECOND, Callers, admin, reload, second_packages
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.processes import Party


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    files = linear_files(
        tmp_path_factory.mktemp("reload"), IDS, COLUMNS, link={"timeout": 2.0, "handshake_interval": 0.1}
    )
    second_packages(files)
    return files


@pytest.fixture(scope="module")
def parties(files: ClusterFiles) -> Iterator[Mapping[str, Party]]:
    with files.running() as parties:
        yield parties


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
    assert not admin(files, "cancel", "alice", "linear").returncode
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
