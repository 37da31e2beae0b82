"""Time limits of requests at every party, and callers that leave, over every protocol."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sfs_core.config.loader import load
from sfs_core.link.channel import PROTOCOLS
from sfs_core.link.framing import request_frame
from sfs_core.proto import apis_pb2
from sfs_core.server.app import Server
from tests.server.test_hostile import read_status
from tests.support.clusters import Answer, exchange, linear_files
from tests.support.in_process import RunningServers
from tests.support.processes import wait_for

COLUMNS = {"alice": {"a": [1.0, 2.0]}, "bob": {"b": [10.0, 20.0]}}
PREDICT = "/PredictionService/Predict"
EXECUTE = ("secretflow.serving.apis.ExecutionService", "Execute")
over_every_link = pytest.mark.parametrize("cluster", PROTOCOLS, indirect=True)
OWN_LIMIT = 0.3
"""Seconds that bob gives callers who do not say how long they wait."""
RESET = b"\1\0\0\0\0\0\0\0"
"""Has a socket close abruptly."""
PLUGIN = '''
import asyncio
import time

import numpy as np
from sfs_core import Batch, FeatureError, FeatureResult, FeatureSource, FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


class Waiting(FeatureSource):
    """Gives 1 for every feature, after an hour where an id says so."""

    looks = []
    failing = False

    async def fetch_rows(self, query):
        look = {"ids": query.ids, "left": query.deadline - time.monotonic(), "end": ""}
        self.looks.append(look)
        try:
            await asyncio.sleep(3600 if query.ids[0].startswith("slow") else 0)
            while query.ids[0] == "fails":
                await asyncio.sleep(0.01)
                if self.failing:
                    raise FeatureError("asked to fail")
        except asyncio.CancelledError:
            look["end"] = "cancelled"
            raise
        look["end"] = "over"
        columns = [np.ones(len(query.ids)) for _ in self.schema.names]
        return FeatureResult(Batch.from_columns(self.schema, columns, len(query.ids)))


@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("waiting", f"{__name__}:Waiting", "a source that takes an hour")]
'''


class Cluster:
    """Two parties in a thread of this process."""

    def __init__(self, folder: Path, protocol: str) -> None:
        files = linear_files(folder, ["x", "y"], COLUMNS, link={"protocol": protocol, "timeout": 30.0})
        (folder / "plugins").mkdir()
        (folder / "plugins" / "waiting.py").write_text(PLUGIN)
        files.configs["bob"]["limits"] = {"timeout": OWN_LIMIT}
        self.servers = []
        self.sources: dict[str, Any] = {}
        self.files = files
        for party, config in files.configs.items():
            config["plugins"] = {"directories": ["plugins"]}
            config["services"][0]["features"] = {"source": {"name": "waiting"}}
            loaded = load(files.write(party))
            self.sources[party] = loaded.registry.feature_source("waiting")
            self.servers.append(Server(loaded))
        self.running = RunningServers(self.servers)

    def ask(self, ids: dict[str, str], timeout: str = "", party: str = "alice", path: str = PREDICT) -> Answer:
        headers = {"Content-Type": "application/json"} | ({"X-Request-Timeout": timeout} if timeout else {})
        return exchange(self.files.service_port(party), path, body(ids), headers=headers)

    def look(self, party: str, id_: str) -> dict[str, Any]:
        """What became of a look-up."""
        return wait_for(lambda: next(iter(self.looks(party, id_)), None), id_)

    def looks(self, party: str, id_: str) -> list[dict[str, Any]]:
        return [look for look in self.sources[party].looks if id_ in look["ids"]]

    def wait_cancelled(self, party: str, id_: str) -> None:
        wait_for(lambda: self.look(party, id_)["end"] == "cancelled", f"{id_} at {party} is given up")


def body(ids: dict[str, str]) -> bytes:
    params = {party: {"query_datas": [ids.get(party, "quick")]} for party in COLUMNS}
    return json.dumps({"service_spec": {"id": "linear"}, "fs_params": params}).encode()


def http_request(data: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (PREDICT.encode(), len(data), data)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("deadlines"), getattr(request, "param", "baidu_std"))
    try:
        assert cluster.ask({}).json()["results"][0]["scores"][0]["value"] == 2.5
        yield cluster
        assert cluster.ask({}, "30").code == 1
    finally:
        cluster.running.close()


@over_every_link
def test_a_peer_is_told_how_much_time_is_left(cluster: Cluster) -> None:
    answer = cluster.ask({"bob": "slow-1"}, "0.4")
    assert answer.code == 4
    assert "peer 'bob'" in answer.message
    look = cluster.look("bob", "slow-1")
    assert 0 < look["left"] <= 0.45
    cluster.wait_cancelled("bob", "slow-1")


def test_a_source_of_the_party_asked_is_not_waited_for_any_longer(cluster: Cluster) -> None:
    answer = cluster.ask({"alice": "slow-2"}, "0.2")
    assert answer.code == 102
    assert "the features were not there before the request's time limit passed" in answer.message
    assert 0 < cluster.look("alice", "slow-2")["left"] <= 0.25
    cluster.wait_cancelled("alice", "slow-2")


def test_who_says_nothing_has_the_time_of_the_config(cluster: Cluster) -> None:
    assert cluster.ask({"bob": "slow-3"}, party="bob").code == 102
    assert 0 < cluster.look("bob", "slow-3")["left"] <= OWN_LIMIT + 0.05


def test_nothing_is_begun_without_time(cluster: Cluster) -> None:
    answer = cluster.ask({"bob": "slow-4"}, "0")
    assert answer.code == 2
    assert "time limit passed before its turn came" in answer.message
    assert not cluster.looks("bob", "slow-4")


@pytest.mark.parametrize("value", ["soon", "-1", "1e3", "inf", "1s", "0x1"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(cluster: Cluster, value: str) -> None:
    answer = cluster.ask({}, value)
    assert answer.status == 400
    assert answer.body == b"X-Request-Timeout is no number of seconds"


def test_the_open_inference_protocol_has_limits_too(cluster: Cluster) -> None:
    inputs = [
        {"name": party, "shape": [1], "datatype": "BYTES", "data": ["slow-5" if party == "alice" else "quick"]}
        for party in COLUMNS
    ]
    headers = {"X-Request-Timeout": "0.1"}
    data = json.dumps({"inputs": inputs}).encode()
    answer = exchange(cluster.files.service_port("alice"), "/v2/models/linear/infer", data, headers=headers)
    assert (answer.status, answer.json()["code"]) == (500, 102)


def test_peers_that_call_have_limits_too(cluster: Cluster) -> None:
    call = apis_pb2.ExecuteRequest(requester_id="alice")
    call.service_spec.id = "linear"
    call.feature_source.type = apis_pb2.FS_SERVICE
    call.feature_source.fs_param.query_datas.append("slow-6")
    frame = request_frame(*EXECUTE, 1, 150, call.SerializeToString())
    with socket.create_connection(("127.0.0.1", cluster.files.communication_port("bob")), 60) as connection:
        connection.sendall(frame)
        assert read_status(connection)[0] == 102


@pytest.mark.parametrize("abruptly", [False, True], ids=["closes", "resets"])
def test_the_work_of_an_http_client_that_leaves_stops(cluster: Cluster, abruptly: bool) -> None:
    id_ = f"slow-leaves-{abruptly}"
    data = body({"alice": id_})
    with socket.create_connection(("127.0.0.1", cluster.files.service_port("alice")), 60) as connection:
        connection.sendall(http_request(data))
        assert cluster.look("alice", id_)["end"] == ""
        if abruptly:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    cluster.wait_cancelled("alice", id_)


def test_an_http_client_that_sends_nothing_more_gets_its_answer(cluster: Cluster) -> None:
    data = body({"alice": "slow-half"})
    head = b"POST %b HTTP/1.1\r\nX-Request-Timeout: 0.6\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(data))
    with socket.create_connection(("127.0.0.1", cluster.files.service_port("alice")), 60) as connection:
        connection.sendall(head + data)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    *probes, last = answer.split(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert probes
    assert last.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"code":102' in last


@over_every_link
def test_the_work_of_a_grpc_client_that_leaves_stops(cluster: Cluster) -> None:
    request = apis_pb2.PredictRequest()
    request.service_spec.id = "linear"
    for party in COLUMNS:
        request.fs_params[party].query_datas.append("slow-grpc")
    with grpc.insecure_channel(f"127.0.0.1:{cluster.files.service_port('alice')}") as channel:
        call = channel.unary_unary(f"/secretflow.serving.apis{PREDICT.replace('/', '.', 1)}").future(
            request.SerializeToString(), timeout=60
        )
        assert cluster.look("alice", "slow-grpc")["end"] == ""
        call.cancel()
    cluster.wait_cancelled("alice", "slow-grpc")


@over_every_link
def test_what_peers_do_for_a_caller_that_leaves_stops_and_nothing_else(cluster: Cluster) -> None:
    address = ("127.0.0.1", cluster.files.service_port("alice"))
    with socket.create_connection(address, 60) as stays:
        stays.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stays.sendall(http_request(body({"bob": "slow-stays"})))
        assert cluster.look("bob", "slow-stays")["end"] == ""
        with socket.create_connection(address, 60) as leaves:
            leaves.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            leaves.sendall(http_request(body({"bob": "slow-peer-of-left"})))
            assert cluster.look("bob", "slow-peer-of-left")["end"] == ""
        cluster.wait_cancelled("bob", "slow-peer-of-left")
        assert cluster.ask({}).code == 1  # another round over the same link
        assert cluster.look("bob", "slow-stays")["end"] == ""
    cluster.wait_cancelled("bob", "slow-stays")


@over_every_link
def test_what_peers_do_for_a_request_that_fails_stops(cluster: Cluster) -> None:
    with socket.create_connection(("127.0.0.1", cluster.files.service_port("alice")), 60) as connection:
        connection.sendall(http_request(body({"alice": "fails", "bob": "slow-in-vain"})))
        assert cluster.look("bob", "slow-in-vain")["end"] == ""
        cluster.sources["alice"].failing = True
        assert b"asked to fail" in connection.recv(1 << 16)
    cluster.wait_cancelled("bob", "slow-in-vain")


def test_the_work_for_a_peer_that_leaves_stops(cluster: Cluster) -> None:
    call = apis_pb2.ExecuteRequest(requester_id="alice")
    call.service_spec.id = "linear"
    call.feature_source.type = apis_pb2.FS_SERVICE
    call.feature_source.fs_param.query_datas.append("slow-peer")
    with socket.create_connection(("127.0.0.1", cluster.files.communication_port("bob")), 60) as connection:
        connection.sendall(request_frame(*EXECUTE, 1, 60_000, call.SerializeToString()))
        assert cluster.look("bob", "slow-peer")["end"] == ""
    cluster.wait_cancelled("bob", "slow-peer")
