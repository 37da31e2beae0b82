"""A party that is asked to end says so first, and loses no request."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sfs_core.proto.apis_pb2 import PredictRequest, PredictResponse
from tests.support.clusters import linear_files
from tests.support.processes import wait_for

PARTIES = ("alice", "bob")
IDS = ["a", "b"]
COLUMNS = {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [10.0, 20.0]}}
BODY = json.dumps(
    {"service_spec": {"id": "linear"}, "fs_params": {party: {"query_datas": IDS} for party in PARTIES}}
).encode()


class Caller(threading.Thread):
    """Asks over connections that it keeps as long as the server lets it, until it cannot connect anew."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self.answers: list[tuple[int, bool]] = []
        """Per answer its HTTP status, and whether the server closes the connection."""
        self.lost = self.refused = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while True:
            try:
                connection.connect()
            except OSError:
                return
            closed = False
            while not closed:
                try:
                    connection.request("POST", "/PredictionService/Predict", BODY, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    body = response.read()
                except (OSError, http.client.HTTPException):
                    self.lost += 1
                    break
                closed = response.will_close
                if response.status == 503:
                    self.refused += 1
                else:
                    self.answers.append((json.loads(body)["status"]["code"], closed))
            connection.close()


class GrpcCaller(threading.Thread):
    """Asks over one gRPC connection, until that cannot be had any more."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._target = f"127.0.0.1:{port}"
        self.codes: list[int] = []
        self.health: list[int] = []
        self.ended_with: grpc.StatusCode | None = None

    def run(self) -> None:
        request = PredictRequest()
        request.service_spec.id = "linear"
        for party in PARTIES:
            request.fs_params[party].query_datas.extend(IDS)
        with grpc.insecure_channel(self._target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            predict = channel.unary_unary(
                "/secretflow.serving.apis.PredictionService/Predict",
                PredictRequest.SerializeToString,
                PredictResponse.FromString,
            )
            health = health_pb2_grpc.HealthStub(channel)
            try:
                while True:
                    self.health.append(health.Check(health_pb2.HealthCheckRequest(), timeout=20).status)
                    self.codes.append(predict(request, timeout=20).status.code)
            except grpc.RpcError as error:
                self.ended_with = error.code()


def test_a_party_that_ends_tells_load_balancers_and_answers_meanwhile(tmp_path: Path) -> None:
    files = linear_files(tmp_path, IDS, COLUMNS, shutdown={"notice": 1.0})
    with files.running() as parties:
        alice = parties["alice"]
        callers = [Caller(alice.service_port) for _ in range(3)]
        over_grpc = GrpcCaller(alice.service_port)
        for thread in (*callers, over_grpc):
            thread.start()
        wait_for(lambda: all(len(caller.answers) > 20 for caller in callers), "answers", 120)
        wait_for(lambda: len(over_grpc.codes) > 5, "answers over gRPC", 120)
        assert not any(closed for caller in callers for _, closed in caller.answers[:20])
        alice.process.send_signal(signal.SIGTERM)

        def stopping() -> bool:
            status, body = alice.request("GET", "/ready")
            return status == 503 and json.loads(body)["stopping"]

        wait_for(stopping, "alice says that it stops")
        told = len(callers[0].answers)
        wait_for(lambda: len(callers[0].answers) > told + 20, "it answers meanwhile")
        assert alice.process.wait(timeout=60) == 0
        over_grpc.join(timeout=60)
        assert set(over_grpc.codes) == {1}
        assert over_grpc.health[0] == health_pb2.HealthCheckResponse.SERVING
        assert over_grpc.health[-1] == health_pb2.HealthCheckResponse.NOT_SERVING
        assert over_grpc.ended_with is grpc.StatusCode.UNAVAILABLE
        for caller in callers:
            caller.join(timeout=60)
            assert {code for code, _ in caller.answers} == {1}
            assert all(closed for _, closed in caller.answers[-3:])
            assert caller.lost + caller.refused <= 1  # connected in the moment in which the port was closed
