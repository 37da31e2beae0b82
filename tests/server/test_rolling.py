"""Two replicas of each party under load: all are restarted, then given a new model, one after the other.

Callers do as load balancers do: they ask `/ready` and go where it says yes. The servers share this process, so that
starting them takes no time; `test_replicas.py` has processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import http.client
import json
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from sfs_core.config.loader import load
from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from sfs_core.server.admin import AdminCommand, AdminReply
from sfs_core.server.app import Server
from tests.support.clusters import ClusterFiles, exchange, linear_files, registry
from tests.support.processes import free_ports

PARTIES = ("alice", "bob")
IDS = ["a", "b"]
COLUMNS = {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [10.0, 20.0]}}
FIRST = (11.5, 22.5)
SECOND = (33.5, 66.5)
"""Scores of the second export, whose weights are 3."""
BODY = json.dumps(
    {"service_spec": {"id": "linear"}, "fs_params": {party: {"query_datas": IDS} for party in PARTIES}}
).encode()


class Callers:
    """Two callers of one party, who go to whichever replica is ready, until the end of the block.

    Args:
        replicas: service ports.

    Attributes:
        answers: how often each answer came: scores, or what went wrong.
    """

    def __init__(self, replicas: Sequence[int]) -> None:
        self.answers: Counter[object] = Counter()
        self._replicas = replicas
        self._ready = replicas
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=target) for target in (self._probe, self._ask, self._ask)]

    async def __aenter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _probe(self) -> None:
        while not self._stop.wait(0.1):
            self._ready = [each for each in self._replicas if _says_ready(each)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            for port in self._ready:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                with contextlib.suppress(ConnectionRefusedError):  # nothing was asked: the next one is
                    connection.connect()
                    self._ask_over(connection, port)
                connection.close()

    def _ask_over(self, connection: http.client.HTTPConnection, port: int) -> None:
        """Until the server or the prober says that this replica is to be left."""
        closed = False
        while not closed and port in self._ready and not self._stop.is_set():
            try:
                connection.request("POST", "/PredictionService/Predict", BODY, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.answers[repr(error)] += 1
                return
            closed = response.will_close
            scores = tuple(row["scores"][0]["value"] for row in answer.get("results", ()))
            self.answers[scores or str(answer["status"])] += 1

    async def wait_for_any(self, count: int = 20) -> None:
        """Until so many answers more have come."""
        wanted = self.answers.total() + count
        async with asyncio.timeout(60):
            while self.answers.total() < wanted:  # noqa: ASYNC110  threads count
                await asyncio.sleep(0.01)

    async def wait_for(self, answer: tuple[float, ...], count: int = 20) -> None:
        """Until that is answered so many times more."""
        wanted = self.answers[answer] + count
        async with asyncio.timeout(60):
            while self.answers[answer] < wanted:  # noqa: ASYNC110  threads count
                await asyncio.sleep(0.01)


def _says_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return exchange(port, "/ready", method="GET").status == 200
    return False


def replicated_files(folder: Path) -> ClusterFiles:
    """Configs of alice, alice2, bob and bob2, and packages of both exports."""
    files = linear_files(
        folder, IDS, COLUMNS, link={"timeout": 20.0, "handshake_interval": 0.1}, shutdown={"notice": 0.5}
    )
    weights = {party: dict.fromkeys(columns, 3.0) for party, columns in COLUMNS.items()}
    graphs = split_linear(registry().operator, weights, label_holder="alice", intercept=0.5)
    ports = iter(free_ports(4))
    for party in PARTIES:
        write_package(folder / f"{party}-second.tar.gz", "linear", "made for a test", graphs[party])
        second = files.configs[f"{party}2"] = copy.deepcopy(files.configs[party])
        second["listen"] = {"service": next(ports), "communication": next(ports)}
    addresses = {
        party: [f"127.0.0.1:{files.communication_port(name)}" for name in (party, f"{party}2")] for party in PARTIES
    }
    for name, config in files.configs.items():
        config["parties"] = addresses
        config["admin"] = {"socket": str(folder / f"{name}.sock")}
        files.write(name)
    return files


async def reload(files: ClusterFiles, name: str) -> None:
    """What `sfs admin reload` does."""
    package = files.folder / f"{name.rstrip('2')}-second.tar.gz"
    reader, writer = await asyncio.open_unix_connection(files.configs[name]["admin"]["socket"])
    writer.write(msgspec.json.encode(AdminCommand("reload", "linear", str(package), version="second")) + b"\n")
    reply = msgspec.json.decode(await reader.readline(), type=AdminReply)
    writer.close()
    assert not reply.error


def test_no_request_fails_while_all_replicas_are_restarted_and_reloaded(tmp_path: Path) -> None:
    files = replicated_files(tmp_path)
    replicas = {party: [files.service_port(name) for name in (party, f"{party}2")] for party in PARTIES}
    servers: dict[str, Server] = {}

    async def start(name: str) -> None:
        servers[name] = Server(load(files.paths[name]))
        await servers[name].start()

    async def roll() -> None:
        try:
            await asyncio.gather(*map(start, files.configs))
            await roll_all()
        finally:
            await asyncio.gather(*(server.stop(grace=0) for server in servers.values()))

    async def roll_all() -> None:
        async with Callers(replicas["alice"]) as at_alice, Callers(replicas["bob"]) as at_bob:
            for name in files.configs:
                await at_alice.wait_for(FIRST)
                await at_bob.wait_for(FIRST)
                await servers[name].stop()
                await start(name)
            for name in ("alice", "alice2", "bob", "bob2"):  # as soon as one of bob's has it, it may be used
                await at_alice.wait_for_any()
                await reload(files, name)
            await at_alice.wait_for(SECOND)
            await at_bob.wait_for(SECOND)
        for callers in (at_alice, at_bob):
            assert callers.answers.keys() == {FIRST, SECOND}

    asyncio.run(roll())
