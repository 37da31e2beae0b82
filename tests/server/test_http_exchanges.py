"""The HTTP interface, exchange by exchange, at a real party with a real peer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sfs_core.proto import apis_pb2, serving_pb2
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.processes import Party
from tests.support.relay import Relay

PREDICT = "/PredictionService/Predict"
MODEL_INFO = "/ModelService/GetModelInfo"
FULL = "/secretflow.serving.apis."
JSON = {"Content-Type": "application/json"}
PROTO = {"Content-Type": "application/proto"}
MAX_BODY = 12 << 20
MAX_ROWS = 20

IDS = [f"canary-id-{i}" for i in range(4)]
COLUMNS = {
    "alice": {"age": [271828.5, 2.0, 3.0, 4.0], "income": [141421.25, 20.0, 30.0, 40.0]},
    "bob": {"debts": [0.25, 0.5, 0.75, 173205.125], "visits": [1.0, 1.0, 2.0, 223606.75]},
}
CANARIES = ("canary", "271828", "141421", "173205", "223606", "618033")
"""Parts of ids and features that no error and no log may hold."""


def score(row: int) -> float:
    return sum(column[row] for columns in COLUMNS.values() for column in columns.values()) + 0.5


@dataclass
class Cluster:
    files: ClusterFiles
    parties: dict[str, Party]
    relays: dict[str, Relay]

    def ask(self, path: str, body: Any = b"", party: str = "alice", **more: Any) -> Answer:
        """An exchange with a service port; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return exchange(self.files.service_port(party), path, data, **({"headers": JSON} | more))

    def ask_peer_port(self, path: str, body: Any = b"", **more: Any) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return exchange(self.files.communication_port("alice"), path, data, **({"headers": JSON} | more))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two parties whose traffic, in readable JSON, passes through relays; their logs say all they can."""
    files = linear_files(
        tmp_path_factory.mktemp("http"),
        IDS,
        COLUMNS,
        link={"protocol": "http"},
        limits={"max_rows": MAX_ROWS, "max_body": MAX_BODY},
    )
    relays = {party: Relay(files.communication_port(party)) for party in COLUMNS}
    for party, other in (("alice", "bob"), ("bob", "alice")):
        files.configs[party]["parties"][other] = f"127.0.0.1:{relays[other].port}"
    with files.running("--log-level", "debug") as parties:
        yield Cluster(files, dict(parties), relays)
    for relay in relays.values():
        relay.close()
    for party in parties.values():
        assert_silent(party.log.read_text())


def assert_silent(text: str) -> None:
    for canary in CANARIES:
        assert canary not in text


def request(rows: list[int] | None = None, **more: Any) -> dict[str, Any]:
    ids = [IDS[row] for row in rows or [1, 2]]
    params = {party: {"query_datas": ids} for party in COLUMNS}
    return {"service_spec": {"id": "linear"}, "fs_params": params} | more


def expected(rows: list[int]) -> bytes:
    """A good answer, byte for byte as the reference prints it."""
    answer = {
        "header": {"data": {}},
        "status": {"code": 1, "msg": ""},
        "service_spec": {"id": "linear"},
        "results": [{"scores": [{"name": "score", "value": score(row)}]} for row in rows],
    }
    return json.dumps(answer, separators=(",", ":")).encode()


def assert_error(answer: Answer, code: int, *parts: str, service: str = "linear") -> None:
    assert answer.status == 200
    body = answer.json()
    assert list(body) == ["header", "status", "service_spec"]
    assert body["header"] == {"data": {}}
    assert body["service_spec"] == {"id": service}
    assert list(body["status"]) == ["code", "msg"]
    assert answer.code == code, answer.message
    assert re.match(r"\[[0-9a-f]{32}\] \S", answer.message)
    for part in parts:
        assert part in answer.message
    assert_silent(answer.message)


def assert_refused(answer: Answer, status: int, rpc_code: int, *parts: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-bd-error-code"] == str(rpc_code)
    for part in parts:
        assert part in answer.body.decode()
    assert_silent(answer.body.decode())


# ------------------------------------------------------------------ good requests
@pytest.mark.parametrize("path", [PREDICT, f"{FULL}PredictionService/Predict", f"{PREDICT}/more?x=1"])
@pytest.mark.parametrize("party", list(COLUMNS))
def test_scores_are_printed_as_the_reference_prints_them(cluster: Cluster, path: str, party: str) -> None:
    answer = cluster.ask(path, request([1, 2, 1]), party)
    assert (answer.status, answer.body) == (200, expected([1, 2, 1]))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "x-bd-error-code" not in answer.headers


@pytest.mark.parametrize(
    "more",
    [
        {"method": "GET"},
        {"headers": {}},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"Content-Type": "Application/JSON; charset=utf-8"}},
    ],
    ids=["GET", "no content type", "another content type", "content type with a parameter"],
)
def test_anything_is_read_as_posted_json(cluster: Cluster, more: dict[str, Any]) -> None:
    assert cluster.ask(PREDICT, request(), **more).body == expected([1, 2])


def test_camel_case_unknown_fields_and_parties_are_accepted(cluster: Cluster) -> None:
    params = {party: {"queryDatas": [IDS[1]], "queryContext": "x"} for party in ("alice", "bob", "zed")}
    body = {"serviceSpec": {"id": "linear", "more": 1}, "fsParams": params, "header": None, "unknown": [{"a": 1}]}
    assert cluster.ask(PREDICT, body).body == expected([1])


def test_maps_may_be_lists_of_entries_and_hold_nulls(cluster: Cluster) -> None:
    entries = [{"key": party, "value": {"query_datas": [IDS[1]]}} for party in ("alice", "bob")]
    body = request(fs_params=[*entries, {"key": "zed"}], header={"data": []})
    assert cluster.ask(PREDICT, body).body == expected([1])
    body = request(fs_params={"alice": {"query_datas": [IDS[1]]}, "bob": None})
    assert_error(cluster.ask(PREDICT, body), 3, "bob")


@pytest.mark.parametrize("kind", ["application/proto", "application/x-protobuf"])
def test_protobuf_bodies(cluster: Cluster, kind: str) -> None:
    message = apis_pb2.PredictRequest()
    message.service_spec.id = "linear"
    for party in COLUMNS:
        message.fs_params[party].query_datas.extend([IDS[1], IDS[3]])
    answer = cluster.ask(PREDICT, message.SerializeToString(), headers={"Content-Type": kind})
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    response = apis_pb2.PredictResponse.FromString(answer.body)
    assert response.status.code == 1
    assert response.status.msg == ""
    assert response.service_spec.id == "linear"
    assert [(s.name, s.value) for r in response.results for s in r.scores] == [("score", score(1)), ("score", score(3))]


def test_a_protobuf_request_gets_a_protobuf_error(cluster: Cluster) -> None:
    answer = cluster.ask(PREDICT, apis_pb2.PredictRequest().SerializeToString(), headers=PROTO)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/proto")
    response = apis_pb2.PredictResponse.FromString(answer.body)
    assert response.status.code == 7
    assert response.status.msg.startswith("[")


def test_header_entries_of_the_caller_come_to_the_peer(cluster: Cluster) -> None:
    before = len(cluster.relays["bob"].sent)
    answer = cluster.ask(PREDICT, request(header={"data": {"tenant": "blue"}}))
    assert answer.body == expected([1, 2])
    assert b'"tenant":"blue"' in cluster.relays["bob"].sent[before:]


# ----------------------------------------------------------------- refused requests
@pytest.mark.parametrize("body", [b"", b"{}", b" "], ids=["empty", "{}", "blank"])
def test_a_request_without_a_service(cluster: Cluster, body: bytes) -> None:
    assert_error(cluster.ask(PREDICT, body), 7, "names no service", service="")


def test_the_codes_of_an_unknown_service_are_the_reference_s(cluster: Cluster) -> None:
    assert_error(cluster.ask(PREDICT, request(service_spec={"id": "nope"})), 7, "service", service="nope")
    execute = {"requester_id": "bob", "service_spec": {"id": "nope"}}
    answer = cluster.ask_peer_port("/ExecutionService/Execute", execute)
    assert (answer.status, answer.code) == (200, 3)
    for ask in (cluster.ask, cluster.ask_peer_port):
        answer = ask(MODEL_INFO, {"service_spec": {"id": "nope"}})
        assert (answer.status, answer.code) == (200, 5)


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"alice": [IDS[1]]}, "bob"),
        ({"bob": [IDS[1]]}, "alice"),
        ({"alice": [IDS[1]], "bob": []}, "bob"),
        ({}, "alice, bob"),
        ({"alice": [IDS[1]], "bob": IDS[1:3]}, "alice 1, bob 2"),
        ({"alice": IDS[:1] * 21, "bob": IDS[:1] * 21}, "21 rows asked for, at most 20"),
    ],
    ids=["bob missing", "alice missing", "bob empty", "all missing", "unequal", "too many"],
)
def test_rows_that_do_not_fit(cluster: Cluster, params: dict[str, list[str]], part: str) -> None:
    fs_params = {party: {"query_datas": ids} for party, ids in params.items()}
    assert_error(cluster.ask(PREDICT, request(fs_params=fs_params)), 3, part)


def test_as_many_rows_as_are_allowed(cluster: Cluster) -> None:
    assert cluster.ask(PREDICT, request([1] * MAX_ROWS)).body == expected([1] * MAX_ROWS)


def test_an_unknown_id_is_code_3_here_and_4_at_the_peer(cluster: Cluster) -> None:
    for party, code in (("alice", 3), ("bob", 4)):
        body = request()
        body["fs_params"][party] = {"query_datas": [IDS[1], "canary-unknown"]}
        assert_error(cluster.ask(PREDICT, body), code, *(["bob"] if code == 4 else []))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"service_spec": {"id": 618033}}, "service_spec.id"),
        ({"header": {"data": {"tenant": 618033}}}, "header.data.tenant"),
        (
            {"fs_params": {"alice": {"query_datas": [IDS[1]], "query_context": True}}},
            "fs_params.alice.query_context",
        ),
        ({"predefined_features": [{"field": {"name": 618033}}]}, "predefined_features[0].field.name"),
    ],
)
def test_a_scalar_of_the_wrong_type_is_named(cluster: Cluster, body: dict[str, Any], field: str) -> None:
    answer = cluster.ask(PREDICT, request(**body))
    assert_error(answer, 3, field, service=answer.json()["service_spec"]["id"])


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"{", ["line 1"]),
        (b'{"service_spec": {"id": "canary"}', ["line 1"]),
        (b"\xff\xfe", []),
        (b"[]", ["object"]),
        (b'"canary"', ["object"]),
        (b'{"service_spec": "canary"}', ["service_spec", "object"]),
        (b'{"fs_params": ["canary"]}', ["fs_params[0]", "object"]),
        (b'{"fs_params": "canary"}', ["fs_params", "object"]),
        (b'{"fs_params": {"alice": {"query_datas": "canary"}}}', ["fs_params.alice.query_datas", "list"]),
        (b'{"fs_params": {"alice": {"query_datas": [618033]}}}', ["fs_params.alice.query_datas[0]", "string"]),
        (b'{"fs_params": {"canary is no party, but free text of 33 or more": 5}}', ["fs_params.<entry 0>"]),
        (b'{"predefined_features": {}}', ["predefined_features", "list"]),
        (b'{"predefined_features": [{"value": {"ds": ["canary"]}}]}', ["predefined_features[0].value.ds[0]"]),
        (b'{"predefined_features": [{"value": {"i32s": [2147483648]}}]}', ["predefined_features[0].value.i32s[0]"]),
    ],
)
def test_a_body_of_another_shape_is_a_bad_request(cluster: Cluster, body: bytes, parts: list[str]) -> None:
    assert_refused(cluster.ask(PREDICT, body), 400, 1003, *parts)


def test_ten_megabytes_of_nesting(cluster: Cluster) -> None:
    for body in (b"[" * (10 << 20), b'{"a":' * (2 << 20), b'{"header":' * (1 << 20)):
        assert_refused(cluster.ask(PREDICT, body), 400, 1003)
    assert cluster.ask(PREDICT, request()).body == expected([1, 2])


def test_a_body_over_the_limit(cluster: Cluster) -> None:
    assert_refused(cluster.ask(PREDICT, b" " * (MAX_BODY + 1)), 413, 1003, str(MAX_BODY))
    assert cluster.ask(PREDICT, request()).body == expected([1, 2])


def test_a_body_that_is_no_protobuf_message(cluster: Cluster) -> None:
    assert_refused(cluster.ask(PREDICT, b"\x0a\xff canary", headers=PROTO), 400, 1003)


@pytest.mark.parametrize(
    "path",
    ["/Nope/Nope", "/", "/PredictionService", "/PredictionService/Nope", "/ExecutionService/Execute"],
)
def test_nothing_else_is_offered_to_callers(cluster: Cluster, path: str) -> None:
    assert_refused(cluster.ask(path, request()), 404, 1002)


@pytest.mark.parametrize("path", [PREDICT, f"{FULL}PredictionService/Predict", "/InferenceControlService/Push"])
def test_nothing_else_is_offered_to_peers(cluster: Cluster, path: str) -> None:
    assert_refused(cluster.ask_peer_port(path, request()), 404, 1002)


# -------------------------------------------------------------- predefined features
def predefined(**values: tuple[str, str, list[Any]]) -> list[dict[str, Any]]:
    return [
        {"field": {"name": name, "type": kind}, "value": {items: list_}}
        for name, (kind, items, list_) in values.items()
    ]


def of_bob(rows: int) -> dict[str, Any]:
    return {"bob": {"query_datas": [IDS[1]] * rows}}


def test_predefined_features_stand_in_for_the_asked_party_s_own(cluster: Cluster) -> None:
    features = predefined(
        age=("FIELD_DOUBLE", "ds", [10, 20.5]),
        income=("FIELD_DOUBLE", "ds", [1.0, "Infinity"]),
        surplus=("FIELD_STRING", "ss", ["canary", "canary"]),
    )
    before = len(cluster.relays["bob"].sent)
    answer = cluster.ask(PREDICT, request(fs_params=of_bob(2), predefined_features=features)).json()
    assert [result["scores"][0]["value"] for result in answer["results"]] == [13.0, "Infinity"]
    # Those of the party win over its ids, and go to nobody else.
    answer = cluster.ask(PREDICT, request([3, 3], predefined_features=features)).json()
    assert answer["results"][0]["scores"][0]["value"] == 396811.875 + 11.5
    for secret in (b"canary-id-2", b"surplus", b"20.5", b"age"):
        assert secret not in cluster.relays["bob"].sent[before:]


def test_predefined_features_over_protobuf(cluster: Cluster) -> None:
    message = apis_pb2.PredictRequest()
    message.service_spec.id = "linear"
    message.fs_params["bob"].query_datas.append(IDS[1])
    for name in ("age", "income"):
        feature = message.predefined_features.add()
        feature.field.name, feature.field.type = name, serving_pb2.FIELD_DOUBLE
        feature.value.ds.append(1.5)
    answer = cluster.ask(PREDICT, message.SerializeToString(), headers=PROTO)
    assert apis_pb2.PredictResponse.FromString(answer.body).results[0].scores[0].value == 5.0


@pytest.mark.parametrize(
    ("features", "code", "part"),
    [
        ({"age": ("FIELD_DOUBLE", "ds", [618033.5])}, 2, "'income' is missing"),
        ({"zed": ("FIELD_DOUBLE", "ds", [618033.5])}, 2, "'age' is missing"),
        ({"age": ("FIELD_DOUBLE", "ds", [1.0, 618033.5]), "income": ("FIELD_DOUBLE", "ds", [1.0])}, 3, "rows"),
        ({"age": ("FIELD_STRING", "ss", ["canary"]), "income": ("FIELD_DOUBLE", "ds", [1.0])}, 3, "'age'"),
        ({"age": ("FIELD_INT64", "i64s", [618033]), "income": ("FIELD_DOUBLE", "ds", [1.0])}, 3, "'age'"),
        ({"age": ("FIELD_DOUBLE", "ss", ["canary"]), "income": ("FIELD_DOUBLE", "ds", [1.0])}, 3, "rows"),
        ({"age": ("UNKNOWN_FIELD_TYPE", "ds", [618033.5]), "income": ("FIELD_DOUBLE", "ds", [1.0])}, 2, "'age'"),
        ({"age": ("FIELD_CANARY", "ds", [618033.5]), "income": ("FIELD_DOUBLE", "ds", [1.0])}, 2, "'age'"),
        ({"age": ("FIELD_DOUBLE", "ds", []), "income": ("FIELD_DOUBLE", "ds", [])}, 3, "alice"),
        ({"age": ("FIELD_DOUBLE", "ds", [1, 2]), "income": ("FIELD_DOUBLE", "ds", [1, 2])}, 3, "alice 2, bob 1"),
    ],
    ids=[
        "one missing",
        "all missing",
        "unequal",
        "text",
        "integer",
        "wrong list",
        "no type",
        "unknown type",
        "empty",
        "not as bob",
    ],
)
def test_predefined_features_that_do_not_fit(
    cluster: Cluster, features: dict[str, tuple[str, str, list[Any]]], code: int, part: str
) -> None:
    for _ in range(3):  # the reference dies of some of these
        body = request(fs_params=of_bob(1), predefined_features=predefined(**features))
        assert_error(cluster.ask(PREDICT, body), code, part)


# ---------------------------------------------------------------------- request ids
TRACE = "463ac35c9f6413ad48485a3953bb6124"


@pytest.mark.parametrize(
    ("headers", "entries", "prefix"),
    [
        ({"X-B3-TraceId": TRACE}, {}, TRACE),
        ({"x-b3-traceid": TRACE.upper()}, {}, TRACE),
        ({}, {"X-B3-TraceId": TRACE}, TRACE),
        ({"X-B3-TraceId": "48485a3953bb6124"}, {"X-B3-TraceId": TRACE}, "0" * 16 + "48485a3953bb6124"),
    ],
    ids=["header", "in capitals", "in the body", "short, before that of the body"],
)
def test_an_error_carries_the_caller_s_trace_id(
    cluster: Cluster, headers: dict[str, str], entries: dict[str, str], prefix: str
) -> None:
    answer = cluster.ask(PREDICT, request(fs_params={}, header={"data": entries}), headers=JSON | headers)
    assert answer.message.startswith(f"[{prefix}] ")
    assert prefix in cluster.parties["alice"].log.read_text()


def test_an_error_has_a_trace_id_of_its_own_otherwise(cluster: Cluster) -> None:
    bad = JSON | {"X-B3-TraceId": "canary; no trace id"}
    found = [cluster.ask(PREDICT, b"{}", headers=h).message[1:33] for h in (JSON, JSON, bad)]
    assert len(set(found)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in found)


@pytest.mark.parametrize("headers", [{}, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}], ids=["new", "given"])
def test_all_parties_log_the_same_id(cluster: Cluster, headers: dict[str, str]) -> None:
    body = request(fs_params={"alice": {"query_datas": [IDS[1]]}, "bob": {"query_datas": ["no such row"]}})
    answer = cluster.ask(PREDICT, body, headers=JSON | headers)
    request_id = answer.message[1:33]
    assert not headers or request_id == TRACE
    for party in ("alice", "bob"):
        assert request_id in cluster.parties[party].log.read_text(), party


# ----------------------------------------------------------------------- other pages
def test_health_and_ready_on_both_ports(cluster: Cluster) -> None:
    for method in ("GET", "POST"):
        answer = cluster.ask("/health", method=method)
        assert (answer.status, answer.body) == (200, b"OK")
        answer = cluster.ask_peer_port("/health", method=method)
        assert (answer.status, answer.body) == (200, b"http status code = 200")
    for ask in (cluster.ask, cluster.ask_peer_port):
        answer = ask("/ready", method="GET")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == {
            "ready": True,
            "services": ["linear"],
            "waiting_for_peers": [],
            "failing_feature_sources": [],
            "starting": False,
            "stopping": False,
        }


@pytest.mark.parametrize("path", [MODEL_INFO, f"{FULL}ModelService/GetModelInfo"])
def test_model_info_on_both_ports(cluster: Cluster, path: str) -> None:
    for ask in (cluster.ask, cluster.ask_peer_port):
        body = ask(path, {"service_spec": {"id": "linear"}}).json()
        assert list(body) == ["header", "status", "service_spec", "model_info"]
        assert body["status"] == {"code": 1, "msg": ""}
        assert body["model_info"]["name"] == "linear"
        view = body["model_info"]["graph_view"]
        assert [(node["name"], node["op"]) for node in view["node_list"]] == [
            ("dot", "DOT_PRODUCT"),
            ("merge", "MERGE_Y"),
        ]
        assert [execution["config"]["dispatch_type"] for execution in view["execution_list"]] == ["DP_ALL", "DP_ANYONE"]
        assert "attr_values" not in json.dumps(body)


# --------------------------------------------------------------------------- privacy
def test_errors_carry_nobody_s_data(cluster: Cluster) -> None:
    """What a peer or caller is sent when something fails holds nothing but codes, names and counts."""
    answered = {party: len(relay.answered) for party, relay in cluster.relays.items()}
    sent = len(cluster.relays["bob"].sent)
    own = {"alice": {"query_datas": [IDS[0], "canary-nobody"]}, "bob": {"query_datas": ["bob-1", "bob-2"]}}
    features = predefined(age=("FIELD_STRING", "ss", ["canary", "canary"]), income=("FIELD_DOUBLE", "ds", [1, 618033]))
    failing = [
        request(fs_params=own),
        request(fs_params={"bob": own["bob"]}, predefined_features=features),
        request(fs_params={"alice": own["alice"], "bob": {"query_datas": [IDS[0], IDS[3]]}}),
        request(fs_params={"alice": {"query_datas": IDS[:2]}, "bob": {"query_datas": ["canary-1", "canary-2"]}}),
    ]
    for body in failing:
        answer = cluster.ask(PREDICT, body)
        assert answer.code in (3, 4)
        assert_silent(answer.body.decode())
    for party, relay in cluster.relays.items():
        assert_silent(relay.answered[answered[party] :].decode())
    to_bob = cluster.relays["bob"].sent[sent:].decode()
    assert "canary-nobody" not in to_bob
    assert "618033" not in to_bob
    for party in cluster.parties.values():
        assert_silent(party.log.read_text())
