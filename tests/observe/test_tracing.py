from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr

from sfs_core.config.telemetry import Tracing
from sfs_core.errors import ErrorCode
from sfs_core.observe.trace_context import TraceContext
from sfs_core.observe.tracing import Tracer

PARENT = TraceContext("463ac35c9f6413ad48485a3953bb6124", "0020000000000001", True)


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_file_is_as_the_reference_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "traces" / "trace.log"
    tracer = Tracer("alice", Tracing(file=file))
    span = tracer.start("PredictionService/Predict", "server", "svc", PARENT, {"server.port": 9010})
    assert (span.context.trace_id, span.context.sampled) == (PARENT.trace_id, True)
    assert span.context.span_id not in ("", PARENT.span_id)
    inner = tracer.start("ExecutionService/Execute: alice-bob", "client", "svc", span.context, {})
    inner.end(ErrorCode.NETWORK_ERROR, "peer 'bob' is away")
    span.end()
    tracer.close()
    (line,) = lines(file)
    resource = {each["key"]: each["value"]["stringValue"] for each in line["resource"]["attributes"]}  # type: ignore[index]
    assert resource["service.name"] == "Secretflow Serving"
    assert resource["rpc.system"] == "brpc"
    (scope,) = line["scopeSpans"]  # type: ignore[misc, str-unpack]
    assert scope["scope"]["name"] == "services"  # type: ignore[index]
    client, server = scope["spans"]  # type: ignore[index]
    assert base64.b64decode(server["traceId"]).hex() == PARENT.trace_id
    assert base64.b64decode(server["parentSpanId"]).hex() == PARENT.span_id
    assert client["parentSpanId"] == server["spanId"]
    assert (server["kind"], client["kind"]) == ("SPAN_KIND_SERVER", "SPAN_KIND_CLIENT")
    assert server["status"] == {"code": "STATUS_CODE_OK"}
    assert client["status"] == {"code": "STATUS_CODE_ERROR", "message": "code: 4, msg: peer 'bob' is away"}
    assert isinstance(server["startTimeUnixNano"], str)
    attributes = {each["key"]: each["value"] for each in server["attributes"]}
    assert json.loads(attributes["span_info"]["stringValue"]) == {"modelServiceId": "svc", "partyId": "alice"}


@pytest.mark.parametrize(
    ("parent", "sample", "recorded"),
    [
        (None, 1.0, True),
        (None, 0.0, False),
        (PARENT, 0.0, True),
        (TraceContext(PARENT.trace_id, PARENT.span_id, False), 1.0, False),
        (TraceContext(PARENT.trace_id), 0.0, True),
    ],
)
def test_sampling_follows_whom_the_request_came_from(
    tmp_path: Path, parent: TraceContext | None, sample: float, recorded: bool
) -> None:
    tracer = Tracer("alice", Tracing(file=tmp_path / "trace.log", sample=sample))
    span = tracer.start("PredictionService/Predict", "server", "svc", parent, {})
    span.end()
    tracer.close()
    assert bool(lines(tmp_path / "trace.log")) is recorded
    assert span.context.sampled is recorded


class _Collector(BaseHTTPRequestHandler):
    received: list[tuple[str | None, ExportTraceServiceRequest]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.headers["x-key"], ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    _Collector.received = []
    server = HTTPServer(("127.0.0.1", 0), _Collector)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_are_sent_to_a_collector(collector: HTTPServer) -> None:
    url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    tracer = Tracer("alice", Tracing(endpoint=url, headers={"x-key": SecretStr("k")}))
    tracer.start("PredictionService/Predict", "server", "svc", None, {}).end()
    tracer.close()
    ((key, request),) = _Collector.received
    assert key == "k"
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "PredictionService/Predict"
