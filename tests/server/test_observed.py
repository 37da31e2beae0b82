"""What parties tell about requests: metrics under the reference's names, spans of one tree, log lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sfs_core.observe.trace_file import RecordedSpan, read_spans, span_tree
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.processes import Party, free_ports, wait_for

TRACE = "463ac35c9f6413ad48485a3953bb6124"
PARTIES = ("alice", "bob", "carol")
IDS = ["canary-1", "canary-2", "canary-3"]


@dataclass
class Cluster:
    files: ClusterFiles
    parties: dict[str, Party]

    def ask(self, ids: dict[str, list[str]], service: str = "linear", **headers: str) -> Answer:
        body = {
            "service_spec": {"id": service},
            "fs_params": {party: {"query_datas": ids.get(party, IDS[:2])} for party in PARTIES},
        }
        port = self.files.service_port("alice")
        headers |= {"Content-Type": "application/json"}
        return exchange(port, "/PredictionService/Predict", json.dumps(body).encode(), headers=headers)

    def metrics(self, party: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Numbers by name and sorted labels, without those that say handler and party."""
        answer = exchange(self.files.configs[party]["listen"]["metrics"], "/metrics", method="GET")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        numbers = {}
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                labels = {name: value for name, value in sample.labels.items() if name not in ("handler", "party_id")}
                numbers[sample.name, tuple(sorted(labels.items()))] = sample.value
        return numbers

    def trace_file(self, party: str) -> Path:
        return self.files.folder / f"{party}.trace"

    def log_lines(self, party: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.files.folder / f"{party}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three parties that have answered two good requests and two bad ones."""
    folder = tmp_path_factory.mktemp("observed")
    files = linear_files(folder, IDS, {party: {f"x_{party}": [1.0, 2.0, 3.0]} for party in PARTIES})
    for party, port in zip(PARTIES, free_ports(3), strict=True):
        config = files.configs[party]
        config["listen"]["metrics"] = port
        config["tracing"] = {"file": str(folder / f"{party}.trace"), "interval": "10 ms"}
        config["logging"] = {"file": str(folder / f"{party}.jsonl"), "format": "json", "access": True}
    with files.running() as parties:
        cluster = Cluster(files, dict(parties))
        assert cluster.ask({}, **{"X-B3-TraceId": TRACE, "X-B3-SpanId": TRACE[16:]}).code == 1
        assert cluster.ask({}, traceparent=f"00-{'1' * 32}-{'2' * 16}-00").code == 1
        assert cluster.ask({"carol": ["canary-1", "canary-9"]}, **{"X-B3-TraceId": "9" * 32}).code == 4
        assert cluster.ask({}, service="canary service").code == 7
        yield cluster
        numbers = {party: cluster.metrics(party) for party in PARTIES}
        assert "canary" not in str(numbers)
    for party in PARTIES:
        assert "canary" not in (folder / f"{party}.trace").read_text() + (folder / f"{party}.jsonl").read_text()


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def test_metrics_of_the_party_that_was_asked(cluster: Cluster) -> None:
    numbers = cluster.metrics("alice")
    for service, code, count in (("linear", "1", 2), ("linear", "4", 1), ("unknown", "7", 1)):
        series = labels(action="Predict", service_id=service, code=code)
        assert numbers["prediction_request_count_total", series] == count
    assert numbers["prediction_sample_count_total", ()] == 4
    series = labels(action="Predict", service_id="linear")
    assert numbers["prediction_request_duration_milliseconds_count", series] == 3
    median = numbers["prediction_request_duration_milliseconds", labels(quantile="0.5", **dict(series))]
    assert 0 < median < numbers["prediction_request_duration_milliseconds_sum", series]
    assert numbers["prediction_duration_seconds_bucket", labels(le="+Inf", **dict(series))] == 3
    core = {"action": "Execute", "service_id": "linear", "requester_id": "alice", "code": "1"}
    assert numbers["execution_core_request_count_total", labels(feature_source_type="FS_SERVICE", **core)] == 3
    assert numbers["execution_core_request_count_total", labels(feature_source_type="FS_NONE", **core)] == 2
    assert numbers["fetch_feature_counter_total", labels(**core | {"action": "FetchFeature"})] == 3
    for peer, code, count in (("bob", "1", 3), ("carol", "1", 2), ("carol", "4", 1)):
        assert numbers["sfs_peer_calls_total", labels(peer=peer, action="Execute", code=code)] == count
    assert numbers["sfs_joined_requests_count", labels(service_id="linear")] == 3
    assert numbers["sfs_joined_requests_sum", labels(service_id="linear")] == 3
    digest = hashlib.sha256((cluster.files.folder / "alice-linear.tar.gz").read_bytes()).hexdigest()
    assert numbers["sfs_model_info", labels(service_id="linear", model="linear", sha256=digest)] == 1
    assert numbers["sfs_feature_source_calls_total", labels(service_id="linear", source="csv", code="1")] == 3
    assert numbers["sfs_feature_source_seconds_count", labels(service_id="linear", source="csv")] == 3
    assert numbers["sfs_feature_source_up", labels(service_id="linear")] == 1
    assert numbers["sfs_model_agreed", labels(service_id="linear")] == 1
    assert numbers["sfs_waiting_rows", labels(service_id="linear")] == 0
    assert {name: numbers["sfs_calls_under_way", labels(port=name)] for name in ("service", "communication")} == {
        "service": 0,
        "communication": 0,
    }
    assert numbers["process_open_fds", ()] > 3
    assert ("execution_request_count_total", labels(action="Execute", service_id="linear", code="1")) not in numbers


def test_metrics_of_a_party_that_helped(cluster: Cluster) -> None:
    numbers = cluster.metrics("carol")
    for code, count in (("1", 2), ("3", 1)):
        series = {"service_id": "linear", "code": code}
        assert numbers["execution_request_count_total", labels(action="Execute", **series)] == count
        assert (
            numbers["fetch_feature_counter_total", labels(action="FetchFeature", requester_id="alice", **series)]
            == count
        )
        if code == "1":
            assert numbers["model_service_request_count_total", labels(action="GetModelInfo", **series)] >= 2
    assert numbers["execution_request_duration_milliseconds_count", labels(action="Execute", service_id="linear")] == 3
    nodes = {dict(series)["node"] for name, series in numbers if name == "sfs_node_seconds_count"}
    assert len(nodes) == 1
    assert not any(name.startswith("prediction_request") for name, _ in numbers)


def test_metrics_say_how_often_they_were_read(cluster: Cluster) -> None:
    first, second = cluster.metrics("bob"), cluster.metrics("bob")
    assert second["exposer_scrapes_total", ()] == first.get(("exposer_scrapes_total", ()), 0) + 1
    assert second["exposer_transferred_bytes_total", ()] > 0


def spans(cluster: Cluster, trace_id: str) -> list[RecordedSpan]:
    return read_spans(map(cluster.trace_file, PARTIES), trace_id)


def test_spans_of_all_parties_make_one_tree(cluster: Cluster) -> None:
    wait_for(lambda: len(spans(cluster, TRACE)) == 5, "five spans")
    (predict,) = span_tree(spans(cluster, TRACE))
    assert (predict.party, predict.name, predict.parent_id) == ("alice", "PredictionService/Predict", TRACE[16:])
    assert sorted(child.name for child in predict.children) == [
        "ExecutionService/Execute: alice-bob",
        "ExecutionService/Execute: alice-carol",
    ]
    for child in predict.children:
        (answer,) = child.children
        assert (answer.name, answer.party) == ("ExecutionService/Execute", child.name.rpartition("-")[2])
        assert predict.start <= child.start <= answer.start <= answer.end


def test_spans_of_a_request_that_failed_say_why(cluster: Cluster) -> None:
    wait_for(lambda: len(spans(cluster, "9" * 32)) == 5, "five spans")
    errors = {span.name: span.error for span in spans(cluster, "9" * 32) if span.error}
    assert errors.keys() == {
        "PredictionService/Predict",
        "ExecutionService/Execute: alice-carol",
        "ExecutionService/Execute",
    }
    assert errors["ExecutionService/Execute"].startswith("code: 3, msg: ")


def test_a_trace_that_nobody_wants_recorded_is_not(cluster: Cluster) -> None:
    assert not spans(cluster, "1" * 32)


def test_access_lines(cluster: Cluster) -> None:
    answered = [line for line in cluster.log_lines("alice") if line["logger"] == "sfs.access"]
    assert [(line["request_id"], line["rows"], line["code"]) for line in answered[:3]] == [
        (TRACE, 2, 1),
        ("1" * 32, 2, 1),
        ("9" * 32, 0, 4),
    ]
    assert all(line["milliseconds"] > 0 for line in answered)
