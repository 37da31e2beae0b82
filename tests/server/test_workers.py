"""A party with two workers: they die, are started again, get new models together, and are counted together."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from sfs_core.config.loader import load
from sfs_core.errors import SfsError
from sfs_core.observe.worker import own_file
from sfs_core.server.start import run_servers
from tests.server.reloading import COLUMNS, FIRST, IDS, PARTIES, SECOND, Callers, admin, reload, second_packages
from tests.support.clusters import ClusterFiles, exchange, linear_files
from tests.support.processes import Party, free_ports, wait_for

METRICS, HEALTH = free_ports(2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    files = linear_files(
        tmp_path_factory.mktemp("workers"),
        IDS,
        COLUMNS,
        link={"timeout": 5.0, "handshake_interval": 0.1},
        shutdown={"grace": 20.0},
    )
    second_packages(files)
    bob = files.configs["bob"]
    bob["workers"] = 2
    bob["listen"] |= {"metrics": METRICS, "health": HEALTH}
    bob["admin"]["state"] = "bob.state.json"
    bob["logging"] = {"file": str(files.folder / "logs" / "bob.log"), "format": "json"}
    return files


@pytest.fixture(scope="module")
def parties(files: ClusterFiles) -> Iterator[Mapping[str, Party]]:
    with files.running() as parties:
        yield parties


def pids(files: ClusterFiles) -> list[int]:
    """Process ids of bob's workers."""
    return [int(pid) for pid in re.findall(r"serves, process (\d+)", admin(files, "status", "bob").stdout)]


def metric(name: str, **labels: str) -> float:
    """The sum of bob's series with these labels."""
    families = text_string_to_metric_families(exchange(METRICS, "/metrics", method="GET").body.decode())
    samples = [sample for family in families for sample in family.samples if sample.name in (name, f"{name}_total")]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def kill(files: ClusterFiles, pid: int) -> None:
    """Kill a worker of bob's; both serve again at the end."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(now := pids(files)) == 2 and pid not in now, "it is started again", 120)


def asked_by_peers(files: ClusterFiles) -> int:
    """The worker of bob's that alice has her connection to."""
    port = f":{files.communication_port('bob'):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[1].endswith(port) and row[3] == "01"}
    for pid in pids(files):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]") in inodes:
                    return pid
    raise AssertionError("alice is connected to none of them")


def test_what_they_are_asked_is_counted_together(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    before = metric("prediction_request_count", code="1")
    for _ in range(30):  # each over a connection of its own: the workers share them
        assert tuple(parties["bob"].scores("linear", PARTIES, IDS)) == FIRST
    with grpc.insecure_channel(f"127.0.0.1:{parties['bob'].service_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert metric("prediction_request_count", code="1") == before + 30
    assert metric("sfs_workers") == 2
    assert metric("sfs_model_info", model="linear") == 1
    for number in (1, 2):
        log = own_file(files.folder / "logs" / "bob.log", number).read_text().splitlines()
        assert {json.loads(line)["worker"] for line in log} == {number}


def test_a_worker_that_is_killed_costs_calls_under_way_at_most(
    files: ClusterFiles, parties: Mapping[str, Party]
) -> None:
    counted = metric("execution_request_count")
    with Callers({"alice": parties["alice"]}) as callers:
        callers.wait_for(FIRST, "alice")
        kill(files, asked_by_peers(files))
        callers.wait_for(FIRST, "alice")
    wait_for(lambda: exchange(HEALTH, "/ready", method="GET").status == 200, "all are ready")
    answers = callers.answers["alice"]
    assert set(answers) <= {FIRST, ()}
    assert answers.count(()) <= 10  # the kernel goes on giving new connections to one that dies, for a moment
    assert set(callers.codes) <= {1, 4}
    assert metric("execution_request_count") >= counted
    assert metric("sfs_worker_restarts") == 1


def test_all_of_them_get_a_new_model_at_once(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    reload(files, "bob", "--version", "second")
    waiting = re.findall("waiting: (.*)", admin(files, "status", "bob").stdout)
    kill(files, pids(files)[0])  # the next one has what waits, too
    assert re.findall("waiting: (.*)", admin(files, "status", "bob").stdout) == waiting
    with Callers(parties) as callers:
        callers.wait_for(FIRST, *PARTIES)
        reload(files, "alice", "--version", "second")
        callers.wait_for(SECOND, *PARTIES)
        assert not admin(files, "rollback", "bob", "linear").returncode
        callers.wait_for(FIRST, "bob")
        assert not admin(files, "rollback", "bob", "linear").returncode
        callers.wait_for(SECOND, *PARTIES)
    for answers in callers.answers.values():
        assert set(answers) <= {FIRST, SECOND}
    victim = pids(files)[0]
    os.kill(victim, signal.SIGKILL)  # what is changed while it is started again counts for it, too
    wait_for(lambda: victim not in pids(files), "the supervisor knows")
    assert not admin(files, "rollback", "bob", "linear").returncode
    wait_for(lambda: len(pids(files)) == 2, "both serve again", 120)
    assert {tuple(parties["bob"].scores("linear", PARTIES, IDS)) for _ in range(20)} == {FIRST}
    wait_for(lambda: not admin(files, "rollback", "bob", "linear").returncode, "all have found what all have", 120)
    refused = admin(files, "reload", "bob", "linear", "--path", "nowhere.tar.gz", "--version", "third")
    assert refused.returncode == 1
    assert "waiting" not in admin(files, "status", "bob").stdout


def test_log_levels_are_changed_in_all_of_them(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    assert admin(files, "log-level", "bob", "predict", "error").stdout == "all: info\npredict: error\n"
    for _ in range(10):
        parties["bob"].predict("linear", {"alice": ["nobody"], "bob": ["nobody"]})
    assert admin(files, "log-level", "bob", "predict", "default").stdout == "all: info\n"
    logs = [own_file(files.folder / "logs" / "bob.log", number).read_text() for number in (1, 2)]
    assert not any('"sfs.predict"' in log for log in logs)
    parties["bob"].predict("linear", {"alice": ["nobody"], "bob": ["nobody"]})
    logs = [own_file(files.folder / "logs" / "bob.log", number).read_text() for number in (1, 2)]
    assert sum('"sfs.predict"' in log for log in logs) == 1


def test_workers_do_not_outlive_their_supervisor(files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    left = pids(files)
    assert len(left) == 2
    parties["bob"].kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "they are gone", 120)


def test_a_server_whose_workers_cannot_load_gives_up(files: ClusterFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.configs["carol"] = files.configs["bob"] | {
        "listen": {"service": 0, "communication": 0},
        "admin": None,
        "logging": {},
        "services": [{"service": "linear", "model": {"source": {"name": "local", "path": "nowhere.tar.gz"}}}],
    }
    path = files.write("carol")
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "sfs_core.cli", "serve", str(path)])
    with pytest.raises(SfsError, match=r"nowhere\.tar\.gz"):
        run_servers([load(path)], lambda _: None)
