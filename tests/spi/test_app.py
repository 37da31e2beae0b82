"""A feature service made of one function, asked over ASGI."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core.spi import FetchContext, SpiApp, SpiCode, SpiError, spi_app
from sfs_core.spi.messages import PATHS

TABLE = {"u1": {"age": 31, "rate": 0.5}, "u2": {"age": 54, "rate": 1.25}}
FIELDS = [{"name": "age", "type": "FIELD_INT32"}, {"name": "rate", "type": "FIELD_DOUBLE"}]


def ask(ids: list[str], fields: Any = FIELDS, **more: Any) -> bytes:
    return json.dumps({"feature_fields": fields, "param": {"query_datas": ids}, **more}).encode()


def call(
    app: SpiApp, body: bytes = b"", path: str = PATHS[0], method: str = "POST", headers: Any = (), root: str = ""
) -> tuple[int, Any]:
    """HTTP status and decoded body of one request, which arrives in two pieces."""
    pieces = iter([{"body": body[:5], "more_body": True}, {"body": body[5:]}])
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", **next(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": root + path, "root_path": root, "method": method, "headers": list(headers)}
    asyncio.run(app(scope, receive, send))
    start, end = sent
    assert dict(start["headers"])[b"content-length"] == str(len(end["body"])).encode()
    return start["status"], json.loads(end["body"])


def by_row(ids: Any, fields: Any, context: FetchContext) -> Any:
    return [TABLE.get(id_) for id_ in ids]


async def by_column(ids: Any, fields: Any, context: FetchContext) -> Any:
    return {field.name: np.array([TABLE[id_][field.name] for id_ in ids]) for field in fields}


@pytest.mark.parametrize("fetch", [by_row, by_column])
@pytest.mark.parametrize("path", PATHS)
def test_answers_in_the_order_of_the_ids(fetch: Any, path: str) -> None:
    status, answer = call(spi_app(fetch), ask(["u2", "u1", "u2"]), path)
    assert status == 200
    assert answer == {
        "header": {"data": {}},
        "status": {"code": 0, "msg": ""},
        "features": [
            {"field": FIELDS[0], "value": {"i32s": [54, 31, 54]}},
            {"field": FIELDS[1], "value": {"ds": [1.25, 0.5, 1.25]}},
        ],
    }


def test_what_a_fetch_is_told() -> None:
    def fetch(ids: Any, fields: Any, context: FetchContext) -> Any:
        assert (ids, [(field.name, field.type) for field in fields]) == (["é"], [("age", "FIELD_FLOAT")])
        assert (context.service, context.party, context.query_context) == ("svc", "alice", "2024")
        assert context.headers == {"x-tenant": "t1"}
        context.answer_headers["x-src"] = "here"
        return [{"age": 1}]

    camel_case = {
        "header": {"data": {"x-tenant": "t1"}},
        "modelServiceId": "svc",
        "partyId": "alice",
        "featureFields": [{"name": "age", "type": 4}],
        "param": {"queryDatas": ["é"], "queryContext": "2024"},
        "later": [],
    }
    _, answer = call(spi_app(fetch), json.dumps(camel_case).encode(), root="/mounted")
    assert answer["header"] == {"data": {"x-src": "here"}}
    assert answer["features"] == [{"field": {"name": "age", "type": "FIELD_FLOAT"}, "value": {"fs": [1.0]}}]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "an object is expected"),
        (b'{"param": {"query_datas": "u1"}}', 400, "a list is expected"),
        (b"", 200, "param.query_datas is empty"),
        (ask([]), 200, "param.query_datas is empty"),
        (ask(["u1"], []), 200, "feature_fields is empty"),
        (ask(["u1"], [{"name": "age"}]), 200, "feature_fields[0]"),
        (ask(["u1"], [{"type": 1}]), 200, "feature_fields[0]"),
        (ask(["u1"], [{"name": "age", "type": "FIELD_WORD"}]), 200, "one of"),
        (ask(["u1", "u1", "u1", "u1"]), 200, "3 are the most"),
        (ask(["u1"], model_service_id=5), 200, "a string is expected"),
        (ask(["u1"], [{"name": "size", "type": 2}]), 200, "there is no feature 'size'"),
    ],
)
def test_requests_that_are_wrong(body: bytes, status: int, text: str) -> None:
    found, answer = call(spi_app(by_row, max_rows=3), body)
    assert (found, answer["status"]["code"]) == (status, SpiCode.INVALID_ARGUMENT)
    assert text in answer["status"]["msg"]
    assert "features" not in answer


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([{"age": 1}], "1 rows for 2 ids"),
        ([{"age": 1}, {"age": None}], "feature 'age', row 1"),
        ([{"age": 1}, {}], "feature 'age', row 1"),
        ([{"age": 1}, {"age": 2.0}], "feature 'age', row 1"),
        ([{"age": True}, {"age": 1}], "feature 'age', row 0"),
        ([{"age": 1}, {"age": 1 << 31}], "feature 'age', row 1"),
        ([{"age": "s3cret"}, {"age": 1}], "feature 'age', row 0"),
        ({"age": [1]}, "1 values for 2 ids"),
        ("s3cret", "neither rows nor columns"),
        (None, "neither rows nor columns"),
        (5, "neither rows nor columns"),
        ([5, 6], "the fetch failed (TypeError)"),
    ],
)
def test_fetches_that_return_something_else(result: Any, text: str) -> None:
    _, answer = call(spi_app(lambda *_: result), ask(["u1", "u2"], FIELDS[:1]))
    assert answer["status"]["code"] == SpiCode.INTERNAL_ERROR
    assert text in answer["status"]["msg"]
    assert "s3cret" not in str(answer)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (SpiError(SpiCode.DEADLINE_EXCEEDED, "the shop is closed"), 4, "the shop is closed"),
        (TimeoutError("s3cret"), 4, "took too long"),
        (KeyError("s3cret"), 13, "the fetch failed (KeyError)"),
    ],
)
def test_fetches_that_fail(error: Exception, code: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    def fetch(*_: object) -> Any:
        raise error

    status, answer = call(spi_app(fetch), ask(["u1"]))
    assert (status, answer["status"]["code"]) == (200, code)
    assert text in answer["status"]["msg"]
    assert "s3cret" not in str(answer) + caplog.text


def test_ids_that_are_not_known_are_counted_and_not_told() -> None:
    _, answer = call(spi_app(by_row), ask(["u1", "s3cret", "nobody"]))
    assert answer == {"status": {"code": 5, "msg": "2 of 3 ids are not known"}}


def by_column_with_marks(ids: Any, fields: Any, context: FetchContext) -> Any:
    context.missing.extend(id_ not in TABLE for id_ in ids)
    return {field.name: [TABLE[id_][field.name] for id_ in ids if id_ in TABLE] for field in fields}


PER_ROW = {"data": {"sfs-per-row": "1"}}


@pytest.mark.parametrize("fetch", [by_row, by_column_with_marks])
def test_which_ids_are_not_known_is_told_to_those_who_can_do_with_the_others(fetch: Any) -> None:
    ids = ["nobody", "u2", "s3cret", "u1"]
    assert call(spi_app(fetch), ask(ids))[1] == {"status": {"code": 5, "msg": "2 of 4 ids are not known"}}
    _, answer = call(spi_app(fetch), ask(ids, header=PER_ROW))
    assert answer["status"]["code"] == 0
    assert answer["header"] == {"data": {"sfs-missing-rows": "1010"}}
    assert [feature["value"] for feature in answer["features"]] == [{"i32s": [54, 31]}, {"ds": [1.25, 0.5]}]
    _, nothing = call(spi_app(fetch), ask(["nobody"], header=PER_ROW))
    assert nothing["header"] == {"data": {"sfs-missing-rows": "1"}}
    assert [feature["value"] for feature in nothing["features"]] == [{"i32s": []}, {"ds": []}]
    _, whole = call(spi_app(fetch), ask(["u1"], header=PER_ROW))
    assert whole["header"] == {"data": {}}


def test_marks_of_missing_ids_are_one_per_id() -> None:
    def fetch(ids: Any, fields: Any, context: FetchContext) -> Any:
        context.missing.append(True)
        return {"age": [], "rate": []}

    _, answer = call(spi_app(fetch), ask(["u1", "u2"], header=PER_ROW))
    assert answer == {"status": {"code": 13, "msg": "the fetch marked 1 ids of 2 as missing"}}


def test_tokens() -> None:
    app = spi_app(by_row, token="t0ken")
    for headers in ([], [(b"authorization", b"Bearer t0ke")], [(b"authorization", b"Bearer t0ken")] * 2):
        assert call(app, ask(["u1"]), headers=headers)[1]["status"]["code"] == SpiCode.UNAUTHENTICATED
    for name in (b"authorization", b"Authorization"):
        assert call(app, ask(["u1"]), headers=[(name, b"Bearer t0ken")])[1]["status"]["code"] == 0


def test_other_paths_methods_and_sizes() -> None:
    app = spi_app(by_row, max_body_bytes=1000)
    assert call(app, ask(["u1"]), "/other")[0] == 404
    assert call(app, method="GET")[0] == 405
    assert call(app, path="/openapi.json")[0] == 405
    assert call(app, path="/health", method="GET") == (200, {})
    assert call(app, ask(["u" * 1000]))[0] == 413


def test_servers_may_start_and_stop_it() -> None:
    events, sent = iter(["lifespan.startup", "lifespan.shutdown"]), []

    async def receive() -> Any:
        return {"type": next(events)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(spi_app(by_row)({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_openapi_document_speaks_of_the_messages_as_they_are() -> None:
    from sfs_core.proto import serving_pb2, spis_pb2

    document = call(spi_app(by_row), path="/openapi.json", method="GET")[1]
    assert list(document["paths"]) == [PATHS[0]]
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    for name, schema in schemas.items():
        module: Any = spis_pb2 if hasattr(spis_pb2, name) else serving_pb2
        assert set(schema["properties"]) == {field.name for field in getattr(module, name).DESCRIPTOR.fields}
        for reference in json.dumps(schema).split("#/components/schemas/")[1:]:
            assert reference.split('"')[0] in schemas
    assert schemas["FeatureField"]["properties"]["type"]["oneOf"][0]["enum"] == serving_pb2.FieldType.keys()[1:]
    assert set(schemas["Status"]["properties"]["code"]["enum"]) == set(spis_pb2.ErrorCode.values())


VALUES = {
    "FIELD_BOOL": st.booleans(),
    "FIELD_INT32": st.integers(-(1 << 31), (1 << 31) - 1),
    "FIELD_INT64": st.integers(-(1 << 63), (1 << 63) - 1),
    "FIELD_FLOAT": st.floats(width=32),
    "FIELD_DOUBLE": st.floats(),
    "FIELD_STRING": st.text(st.characters(exclude_categories=())),
}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_values_arrive_as_they_were(data: st.DataObject, type_: str) -> None:
    from sfs_core.spi import FeatureField
    from sfs_core.spi.exchange import read_answer
    from sfs_core.spi.messages import FetchRequest, answer_of

    try:
        column = data.draw(st.lists(VALUES[type_], min_size=1))
        request = FetchRequest(["u"] * len(column), [FeatureField("x", type_)], FetchContext())
        answer = read_answer(answer_of(request, {"x": column}))
    except SpiError:  # half of a surrogate pair is no text that JSON can carry
        assert type_ == "FIELD_STRING"
        assert any(0xD800 <= ord(c) < 0xE000 for text in column for c in text)
        return
    assert answer.types == {"x": type_}
    assert len(answer.columns["x"]) == len(column)
    for found, given_ in zip(answer.columns["x"], column, strict=True):
        assert found == given_ or (math.isnan(found) and math.isnan(given_))
