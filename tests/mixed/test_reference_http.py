"""The HTTP interface of the reference's own server and ours, asked the same bytes: the answers are the same.

The bulk-scoring tool is a whole server, which answers Predict as long as it waits for the one whose rows it scores.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import gzip
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cases import load_case
from tests.support.processes import reference_configs, running, start_parties, wait_for
from tests.support.reference_engine import start_engine

pytestmark = [pytest.mark.mixed, pytest.mark.timeout(300)]

PREDICT = "/PredictionService/Predict"
JSON = ("Content-Type: application/json",)
FEATURES: list[str] = []
"""Names of alice's features."""
GOOD: dict[str, Any] = {
    "service_spec": {"id": "svc"},
    "fs_params": {"alice": {"query_datas": ["1"]}, "bob": {"query_datas": ["1"]}},
}
Ask = Callable[[bytes], tuple[Any, ...]]


@pytest.fixture(scope="module")
def servers(cases: Path, inferencer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, Ask]]:
    """How the reference and ours are asked; both serve one model over features that are all 1."""
    folder = tmp_path_factory.mktemp("http")
    case = load_case(cases, "packages/sgd_logistic")
    with case.features("alice").open(newline="") as file:
        FEATURES[:] = [name for name in next(csv.reader(file)) if name not in ("id", "y")]
    packages = {party: case.package(party) for party in case.parties}
    configs = {}
    for side in ("reference", "ours"):
        (folder / side).mkdir()
        sources: dict[str, dict[str, Any]] = {party: {"mockOpts": {}} for party in case.parties}
        configs[side] = reference_configs(
            folder / side, case.parties, packages, sources, "http", connectTimeoutMs=5000, handshakeRetryIntervalMs=200
        )
    with contextlib.ExitStack() as stack:
        for party, (path, _) in configs["reference"].items():
            process = start_engine(inferencer, path, party, "nobody", folder / "none.csv")
            stack.callback(process.wait)
            stack.callback(process.kill)
        stack.enter_context(running(start_parties(configs["ours"])))
        ports = {side: configs[side]["alice"][1] for side in configs}
        helpers = [json.loads(path.read_text())["serverConf"] for path, _ in configs["reference"].values()]
        waiting = [each["communicationPort"] for each in helpers]
        wait_for(lambda: _listens(ports["reference"]), "the reference's server")
        wait_for(lambda: all(_tell(port, "CM_INIT") for port in waiting), "the reference waits")

        def ask_reference(data: bytes) -> tuple[Any, ...]:
            for port in waiting:
                _tell(port, "CM_KEEPALIVE")
            return _about(*_ask(ports["reference"], data))

        yield ask_reference, lambda data: _ask(ports["ours"], data)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _tell(port: int, kind: str) -> bool:
    """Whether the engine took a message of the one that it waits for."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        body = json.dumps({"party_id": "nobody", "type": kind})
        connection.request("POST", "/InferenceControlService/Push", body, {"Content-Type": "application/json"})
        return bool(json.loads(connection.getresponse().read())["status"]["code"] == 1)


def _ask(port: int, data: bytes) -> tuple[Any, ...]:
    """What matters to callers of an answer: status, the RPC library's code, the body but for an error's words."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    if response.status != 200:
        return response.status, response.headers["x-bd-error-code"]
    answer = json.loads(body)
    if answer["status"]["code"] != 1:
        assert answer["status"].pop("msg")
    return response.status, answer


def _about(status: int, answer: Any) -> tuple[Any, ...]:
    """The same with scores that may differ by the order of addition."""
    for result in answer.get("results", []) if status == 200 else ():
        for score in result["scores"]:
            score["value"] = pytest.approx(score["value"], rel=1e-9)
    return status, answer


def post(body: Any, *headers: str, path: str = PREDICT, verb: str = "POST", version: str = "1.1") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{verb} {path} HTTP/{version}", "Host: x", *(headers or JSON)]
    if not any("chunked" in header for header in headers):
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode() + data


def changed(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(GOOD) | fields


def params(alice: Any, bob: Any = ("1",)) -> dict[str, Any]:
    return changed(fs_params={"alice": {"query_datas": alice}, "bob": {"query_datas": bob}})


def predefined(value: Any = 1.0, *, rows: int = 1, kind: Any = "FIELD_DOUBLE", case: str = "ds") -> dict[str, Any]:
    """Made when it is asked: the features' names stand in a case."""
    features = [{"field": {"name": name, "type": kind}, "value": {case: [value] * rows}} for name in FEATURES]
    return changed(predefined_features=features, fs_params={"bob": {"query_datas": ["1"] * rows}})


BODY = json.dumps(GOOD).encode()
CHUNKED = b"a;x=1\r\n%b\r\n%X\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (BODY[:10], len(BODY) - 10, BODY[10:])
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
REQUESTS: dict[str, Callable[[], bytes]] = {
    "one row": lambda: post(GOOD),
    "three rows": lambda: post(params(["1", "2", "3"], ["4", "5", "6"])),
    "repeated ids": lambda: post(params(["1", "1"], ["2", "2"])),
    "an empty id": lambda: post(params([""])),
    "no ids": lambda: post(params([])),
    "rows that differ": lambda: post(params(["1", "2"])),
    "ids that are numbers": lambda: post(params([1])),
    "a null among ids": lambda: post(params(["1", None])),
    "ids that are no list": lambda: post(params("1")),
    "no fs_params": lambda: post({"service_spec": {"id": "svc"}}),
    "fs_params null": lambda: post(changed(fs_params=None)),
    "fs_params a list": lambda: post(changed(fs_params=[{"key": k, "value": v} for k, v in GOOD["fs_params"].items()])),
    "fs_params a text": lambda: post(changed(fs_params="alice")),
    "a party is null": lambda: post(changed(fs_params=GOOD["fs_params"] | {"alice": None})),
    "a party is missing": lambda: post(changed(fs_params={"alice": {"query_datas": ["1"]}})),
    "an unknown party": lambda: post(changed(fs_params=GOOD["fs_params"] | {"zed": {"query_datas": []}})),
    "unknown fields": lambda: post(changed(more={"a": [1]}, header={"data": {"a": "b"}, "x": 1})),
    "header.data a list": lambda: post(changed(header={"data": []})),
    "header.data a text": lambda: post(changed(header={"data": "x"})),
    "another service": lambda: post(changed(service_spec={"id": "nope"})),
    "no service": lambda: post({}),
    "a service that is a text": lambda: post(changed(service_spec="svc")),
    "predefined features": lambda: post(predefined()),
    "rows of predefined features": lambda: post(predefined(0.5, rows=2)),
    "predefined features of another type": lambda: post(predefined(kind="FIELD_FLOAT", case="fs")),
    "predefined features of no known type": lambda: post(predefined(kind="FIELD_X")),
    "a type by number": lambda: post(predefined(kind=5)),
    "predefined values that are texts": lambda: post(predefined("1.5")),
    "predefined values that are too large": lambda: post(predefined(10**400)),
    "predefined features of other rows": lambda: post(predefined(rows=2) | {"fs_params": GOOD["fs_params"]}),
    "an empty body": lambda: post(b""),
    "no JSON": lambda: post(b"{"),
    "a trailing comma": lambda: post(BODY[:-1] + b",}"),
    "something after": lambda: post(BODY + b"x"),
    "a list": lambda: post([]),
    "GET": lambda: post(GOOD, verb="GET"),
    "the full path": lambda: post(GOOD, path="/secretflow.serving.apis.PredictionService/Predict"),
    "a longer path": lambda: post(GOOD, path="/PredictionService/Predict/more?x=1"),
    "doubled slashes": lambda: post(GOOD, path="//PredictionService//Predict"),
    "a proxy's path": lambda: post(GOOD, path="http://host/PredictionService/Predict"),
    "another path": lambda: post(GOOD, path="/PredictionService/Nope"),
    "the peers' path": lambda: post(GOOD, path="/ExecutionService/Execute"),
    "model info": lambda: post({"service_spec": {"id": "svc"}}, path="/ModelService/GetModelInfo"),
    "model info of another": lambda: post({"service_spec": {"id": "no"}}, path="/ModelService/GetModelInfo"),
    "another content type": lambda: post(GOOD, "Content-Type: text/plain"),
    "a content type with a parameter": lambda: post(GOOD, "Content-Type: application/json; charset=utf-8"),
    "no content type": lambda: post(GOOD, "X: y"),
    "gzip": lambda: post(gzip.compress(BODY), *JSON, "Content-Encoding: gzip"),
    "no gzip": lambda: post(BODY, *JSON, "Content-Encoding: gzip"),
    "chunks": lambda: post(CHUNKED, *JSON, "Transfer-Encoding: chunked"),
    "a client that waits": lambda: post(GOOD, *JSON, "Expect: 100-continue"),
    "HTTP/1.0": lambda: post(GOOD, version="1.0"),
    "an offer of HTTP/2": lambda: post(GOOD, *JSON, *UPGRADE),
    "empty lines first": lambda: b"\r\n\r\n" + post(GOOD),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_the_same(name: str, servers: tuple[Ask, Ask]) -> None:
    ask_reference, ask_ours = servers
    request = REQUESTS[name]()
    assert ask_ours(request) == ask_reference(request)
