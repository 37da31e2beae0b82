"""New versions and new services, loaded by one party after the other while callers ask: no gap, and no mixed score."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.server.reloading import COLUMNS, FIRST, IDS, PARTIES, SECOND, Callers, admin, reload, second_packages
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.processes import Party, free_ports, wait_for

KEYS = {"deployer": "the key of the deployer", "shop": "the key of the shop"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    files = linear_files(
        tmp_path_factory.mktemp("reload"), IDS, COLUMNS, link={"timeout": 2.0, "handshake_interval": 0.1}
    )
    second_packages(files)
    alice = files.configs["alice"]["admin"]
    alice["state"] = str(files.folder / "state" / "alice.json")
    keys = {name: {"sha256": [hashlib.sha256(key.encode()).hexdigest()]} for name, key in KEYS.items()}
    authenticators = [{"name": "api_key", "keys": keys}]
    alice["http"] = {"port": free_ports(1)[0], "authenticators": authenticators, "administrators": ["deployer"]}
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
    package.with_name("odd.csv").write_text("id\n")
    odd = {"source": {"name": "csv", "path": str(package.with_name("odd.csv"))}}
    told = over_http(files, "load", definition=definition(files, "alice", features=odd)).json()
    assert "the file has no column" in told["error"]
    assert "problems" not in told
    assert admin(files, "reload", "alice", "nothing").returncode == 1
    assert admin(files, "reload", "alice", "linear", "--path", str(files.folder / "none"), "--version", "x").returncode
    assert tuple(parties["alice"].scores("linear", PARTIES, IDS)) == FIRST


def test_the_socket_is_for_its_user_alone(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    assert parties["alice"].is_ready()
    socket = Path(files.configs["alice"]["admin"]["socket"])
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def over_http(files: ClusterFiles, verb: str, key: str | None = KEYS["deployer"], **command: Any) -> Answer:
    """Have alice do something over HTTP."""
    method = "GET" if verb == "status" else "POST"
    headers = {"X-API-Key": key} if key is not None else {}
    port = files.configs["alice"]["admin"]["http"]["port"]
    body = json.dumps(command).encode() if command else b""
    return exchange(port, f"/admin/v1/{verb}", body, method=method, headers=headers)


def definition(files: ClusterFiles, party: str, **more: Any) -> dict[str, Any]:
    """The second export as a service of its own; a file says where the features are."""
    place = files.folder / f"{party}.place"
    place.write_text(str(files.folder / f"{party}.csv"))
    return {
        "service": "further",
        "model": {"source": {"name": "local", "path": str(files.folder / f"{party}-second.tar.gz")}},
        "features": {"source": {"name": "csv", "path": f"${{file:{place}}}"}},
    } | more


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("another", 401), (KEYS["shop"], 403)])
def test_nobody_but_administrators_may_manage_over_http(
    files: ClusterFiles, parties: Mapping[str, Party], key: str | None, status: int
) -> None:
    assert over_http(files, "status", key).status == status
    assert over_http(files, "unload", key, service="linear").status == status
    assert over_http(files, "unload", key, no=1).status == status
    assert parties["alice"].predict("linear", dict.fromkeys(PARTIES, IDS))["status"]["code"] == 1


def test_what_is_wrong_with_a_command_is_told_over_http(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    assert parties["alice"].is_ready()
    status = over_http(files, "status").json()
    assert [each["service"] for each in status["services"]] == ["linear"]
    assert over_http(files, "unload", service="none").status == 404
    assert over_http(files, "unload", nothing="none").status == 400
    assert over_http(files, "log-level", room="link", level="loud").status == 400
    assert over_http(files, "log-level", room="lnik", level="debug").status == 404
    assert over_http(files, "explode").status == 404
    wrong = over_http(files, "load", definition=definition(files, "alice", model={"source": {"name": "lokal"}}))
    assert wrong.status == 400
    assert any("model.source" in problem for problem in wrong.json()["problems"])
    assert over_http(files, "log-level", room="link", level="debug").json()["levels"]["link"] == "debug"
    assert "link" not in over_http(files, "log-level", room="link", level="default").json()["levels"]


def test_a_service_is_loaded_while_the_server_runs_and_after_its_restart(
    files: ClusterFiles, parties: Mapping[str, Party]
) -> None:
    alice, bob = parties["alice"], parties["bob"]

    def code(party: Party) -> int:
        return int(party.predict("further", dict.fromkeys(PARTIES, IDS))["status"]["code"])

    assert over_http(files, "load", definition=definition(files, "alice")).json() == {"id": "further"}
    assert code(alice) != 1
    assert alice.is_ready()
    file = files.folder / "further.yaml"
    file.write_text(json.dumps(definition(files, "bob")))
    assert not admin(files, "load", "bob", file).returncode
    assert "already" in admin(files, "load", "bob", file).stderr
    wait_for(lambda: code(alice) == 1 and code(bob) == 1, "both serve it", 120)
    state = Path(files.configs["alice"]["admin"]["state"])
    assert "${file:" in state.read_text()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    alice.stop()
    alice.start()
    alice.wait_ready()
    for party in parties.values():
        assert tuple(party.scores("further", PARTIES, IDS)) == SECOND
        assert tuple(party.scores("linear", PARTIES, IDS)) == FIRST
    for scores in (SECOND, FIRST):  # what could be gone back to before still can
        wait_for(lambda: not admin(files, "rollback", "alice", "linear").returncode, "bob has it, too", 120)
        assert tuple(alice.scores("linear", PARTIES, IDS)) == scores
    for name in PARTIES:
        assert not admin(files, "unload", name, "further").returncode
    assert code(alice) == code(bob) != 1
    assert "further" not in state.read_text()


def test_a_service_of_the_config_is_unloaded_and_loaded_again(
    files: ClusterFiles, parties: Mapping[str, Party]
) -> None:
    alice = parties["alice"]
    assert not admin(files, "unload", "alice", "linear").returncode
    assert alice.request("GET", "/ready")[0] == 503
    assert alice.predict("linear", dict.fromkeys(PARTIES, IDS))["status"]["code"] != 1
    alice.stop()
    alice.start()
    wait_for(lambda: not admin(files, "status", "alice").returncode, "alice is there again", 120)
    assert admin(files, "status", "alice").stdout == ""
    assert admin(files, "load", "alice", "none").returncode == 1
    assert not admin(files, "load", "alice", "linear").returncode
    wait_for(alice.is_ready, "it is served again")
    assert tuple(alice.scores("linear", PARTIES, IDS)) == FIRST
