"""Parties as processes over gRPC: callers at the service port and at a port of its own, peers over `h2:grpc`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sfs_core.proto import apis_pb2
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.in_process import serving_here
from tests.support.processes import free_ports

APIS = "/secretflow.serving.apis."
COLUMNS = {"alice": {"a": [1.0, 2.0]}, "bob": {"b": [10.0, 20.0]}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    files = linear_files(tmp_path_factory.mktemp("grpc"), ["x", "y"], COLUMNS, link={"protocol": "h2:grpc"})
    (files.configs["alice"]["listen"]["grpc"],) = free_ports(1)
    with serving_here(files):
        yield files


def predict(port: int, ids: list[str], service: str = "linear", **keywords) -> apis_pb2.PredictResponse:
    request = apis_pb2.PredictRequest()
    request.service_spec.id = service
    for party in COLUMNS:
        request.fs_params[party].query_datas.extend(ids)
    return ask(port, "PredictionService/Predict", request, apis_pb2.PredictResponse, **keywords)


def ask(port: int, method: str, request, response, **keywords):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(APIS + method, lambda m: m.SerializeToString(), response.FromString)
        return stub(request, timeout=10, **keywords)


def ports_for_callers(cluster: ClusterFiles) -> list[int]:
    return [cluster.service_port("alice"), cluster.configs["alice"]["listen"]["grpc"]]


def test_scores(cluster: ClusterFiles) -> None:
    for port in ports_for_callers(cluster):
        answer = predict(port, ["y", "x"])
        assert answer.status.code == 1
        assert [result.scores[0].value for result in answer.results] == [22.5, 11.5]
        assert answer.service_spec.id == "linear"


def test_verdicts_travel_in_the_answer(cluster: ClusterFiles) -> None:
    metadata = (("x-b3-traceid", "ab" * 16),)
    for ids, service, code in ((["x"], "nope", 7), ([], "linear", 3), (["unknown"], "linear", 3)):
        status = predict(cluster.service_port("alice"), ids, service, metadata=metadata).status
        assert (status.code, status.msg[:34]) == (code, f"[{'ab' * 16}]")


def test_each_port_serves_its_services(cluster: ClusterFiles) -> None:
    info = apis_pb2.GetModelInfoRequest()
    info.service_spec.id = "linear"
    for port in (*ports_for_callers(cluster), cluster.communication_port("bob")):
        answer = ask(port, "ModelService/GetModelInfo", info, apis_pb2.GetModelInfoResponse)
        assert answer.status.code == 1
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.SERVING
    execute = ("ExecutionService/Execute", apis_pb2.ExecuteRequest(), apis_pb2.ExecuteResponse)
    assert ask(cluster.communication_port("bob"), *execute).status.code == 3
    for port in ports_for_callers(cluster):
        with pytest.raises(grpc.RpcError) as refused:
            ask(port, *execute)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as refused:
        predict(cluster.communication_port("bob"), ["x"])
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_parties_may_speak_differently_and_come_back(tmp_path: Path) -> None:
    files = linear_files(tmp_path, ["x", "y"], COLUMNS)
    files.configs["alice"]["link"] = {"protocol": "h2:grpc"}
    files.configs["bob"]["link"] = {"protocol": "http"}
    with files.running() as parties:
        assert predict(files.service_port("alice"), ["x"]).results[0].scores[0].value == 11.5
        assert predict(files.service_port("bob"), ["x"]).results[0].scores[0].value == 11.5
        assert parties["bob"].stop() == 0
        down = predict(files.service_port("alice"), ["x"]).status
        assert down.code == 4
        assert "127.0.0.1" not in down.msg
        parties["bob"].start()
        parties["bob"].wait_ready()
        assert predict(files.service_port("alice"), ["x"]).results[0].scores[0].value == 11.5
        assert parties["alice"].stop() == 0
        assert "grpc" not in parties["alice"].log.read_text().lower()
