"""What is asked, byte by byte, and how answers are read."""

from __future__ import annotations

import gzip
import json
import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sfs_feature_http.messages import AnswerReader

from sfs_core import Batch, ErrorCode, FeatureQuery, FeatureResult, Schema, SfsError

from .conftest import http

PERSON = Schema([("age", pa.int32()), ("rate", pa.float64())])
GOOD = {
    "header": {"data": {"x-src": "left-fs"}},
    "status": {"code": 0, "msg": "ok"},
    "features": [
        {"field": {"name": "age", "type": 2}, "value": {"i32s": [31, 54]}},
        {"field": {"name": "rate", "type": "FIELD_DOUBLE"}, "value": {"ds": [0.5, 1.25]}},
    ],
}
ROWS = [(31, 0.5), (54, 1.25)]
TWO = FeatureQuery(["u7", "u9"])


def answer(*features, **more):
    return {"status": {"code": 0}, "features": list(features)} | more


def feature(name, type_, values):
    return {"field": {"name": name, "type": type_}, "value": values}


def read(body, schema=PERSON, num_rows=2, warn=pytest.fail) -> FeatureResult:
    ids = [f"u{i}" for i in range(num_rows)]
    return AnswerReader(schema, warn).read(body if isinstance(body, bytes) else json.dumps(body).encode(), ids)


# ------------------------------------------------------------------------------------------------ the request
async def test_the_request_and_the_answer(make, service):
    service.answers = [http(GOOD)]
    headers = {"x-tenant": "t1", "X-B3-Sampled": "1", "X-B3-TraceId": "0af7", "X-B3-SpanId": "b7ad"}
    result = await make(PERSON, service).fetch(FeatureQuery(["u7", "u9"], "2024", headers))
    assert result.batch.rows() == ROWS
    assert result.headers == {"x-src": "left-fs"}
    (asked,) = service.asked
    assert asked.line == "POST /features HTTP/1.1"
    assert asked.body == (
        b'{"header":{"data":{"X-B3-TraceId":"0af7","X-B3-SpanId":"b7ad","X-B3-Sampled":"1","x-tenant":"t1"}},'
        b'"model_service_id":"svc-demo","party_id":"left",'
        b'"feature_fields":[{"name":"age","type":"FIELD_INT32"},{"name":"rate","type":"FIELD_DOUBLE"}],'
        b'"param":{"query_datas":["u7","u9"],"query_context":"2024"}}'
    )
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["host"] == f"127.0.0.1:{service.port}"
    trace = {name: value for name, value in asked.headers.items() if name.startswith("x-")}
    assert trace == {"x-b3-traceid": "0af7", "x-b3-spanid": "b7ad", "x-b3-sampled": "1"}


async def test_defaults_are_omitted_and_headers_listed(make, service):
    service.answers = [http(GOOD)]
    query = FeatureQuery(["u7", "u9"], "", {"x-tenant": "t1", "secret": "s", "X-B3-TraceId": "0af7"})
    await make(PERSON, service, headers=[]).fetch(query)
    await make(PERSON, service, headers=["x-tenant"]).fetch(query)
    await make(PERSON, service).fetch(TWO)
    none, listed, empty = (asked.json for asked in service.asked)
    assert empty["header"] == {"data": {}}
    assert none["param"] == {"query_datas": ["u7", "u9"]}
    assert none["header"] == {"data": {"X-B3-TraceId": "0af7"}}
    assert listed["header"] == {"data": {"X-B3-TraceId": "0af7", "x-tenant": "t1"}}


async def test_every_type_that_can_be_asked_for(make, service):
    types = {
        "FIELD_BOOL": [pa.bool_()],
        "FIELD_INT32": [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32()],
        "FIELD_INT64": [pa.uint32(), pa.int64(), pa.uint64()],
        "FIELD_FLOAT": [pa.float32()],
        "FIELD_DOUBLE": [pa.float64()],
        "FIELD_STRING": [pa.utf8(), pa.binary()],
    }
    lists = dict(zip(types, ["bs", "i32s", "i64s", "fs", "ds", "ss"], strict=True))
    named = [(f"f{i}", each, name) for name, arrow in types.items() for i, each in enumerate(arrow)]
    schema = Schema((name + field, type_) for name, type_, field in named)

    def echo(asked):
        fields = asked.json["feature_fields"]
        values = {"FIELD_BOOL": True, "FIELD_STRING": "1"}
        return http(answer(*({"field": f, "value": {lists[f["type"]]: [values.get(f["type"], 1)]}} for f in fields)))

    service.answers = [echo]
    batch = (await make(schema, service).fetch(FeatureQuery(["a"]))).batch
    assert [field["type"] for field in service.asked[0].json["feature_fields"]] == [field for _, _, field in named]
    expected = {"FIELD_BOOL": True, "FIELD_STRING": "1"}
    wanted = [b"1" if type_ == pa.binary() else expected.get(field, 1) for _, type_, field in named]
    assert [batch.arrow(i).to_pylist() for i in range(len(schema))] == [[value] for value in wanted]
    with pytest.raises(SfsError, match="'x'") as caught:
        make(Schema([("x", pa.float16())]), service)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


async def test_nothing_is_smuggled_through_ids_context_and_headers(make, service):
    service.answers = [http(GOOD)]
    evil = 'u7"},"x":"\r\nX-Evil: 1\r\n\r\nGET /admin HTTP/1.1\r\n\0'
    headers = {"X-B3-TraceId": evil, "X-B3-SpanId": "ok", evil: evil, "Authorization": "Bearer caller's"}
    result = await make(PERSON, service).fetch(FeatureQuery([evil, "u9"], evil, headers))
    assert result.batch.rows() == ROWS
    (asked,) = service.asked
    assert asked.json["param"] == {"query_datas": [evil, "u9"], "query_context": evil}
    assert asked.json["header"]["data"] == headers
    sent = {"host", "content-type", "user-agent", "x-b3-spanid", "accept", "accept-encoding", "content-length"}
    assert asked.headers.keys() == sent


async def test_what_is_no_text_is_refused(make, service):
    with pytest.raises(SfsError, match="no Unicode text") as caught:
        await make(PERSON, service).fetch(FeatureQuery(["\ud800"]))
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert service.asked == []


async def test_no_rows_and_no_features_ask_nothing(make, service):
    assert (await make(PERSON, service).fetch(FeatureQuery([]))).batch.num_rows == 0
    assert (await make(Schema(), service).fetch(TWO)).batch.num_rows == 2
    assert service.asked == []


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({"token": "s3cret"}, "authorization", "Bearer s3cret"),
        ({"user": "sfs", "password": "pä:ss"}, "authorization", "Basic c2ZzOnDDpDpzcw=="),
        ({"http_headers": {"X-Api-Key": "s3cret"}}, "x-api-key", "s3cret"),
    ],
)
async def test_credentials(make, service, options, header, value):
    service.answers = [http(GOOD)]
    source = make(PERSON, service, **options)
    await source.fetch(TWO)
    assert service.asked[0].headers[header] == value
    assert "s3cret" not in repr(source.config)


async def test_compressed_answers_and_cookies(make, service):
    raw = gzip.compress(json.dumps(GOOD).encode())
    service.answers = [http(raw, headers="Content-Encoding: gzip\r\nSet-Cookie: session=1\r\n")]
    source = make(PERSON, service)
    for _ in range(2):
        assert (await source.fetch(TWO)).batch.rows() == ROWS
    assert [asked.connection for asked in service.asked] == [1, 1]
    assert not any("cookie" in asked.headers for asked in service.asked)


# ------------------------------------------------------------------------------------------------- the answer
def test_the_dialects_of_answers():
    """Texts for numbers, null for absent, names for numbers; status, header and surplus features are optional."""
    assert read({"features": GOOD["features"]}).batch.rows() == ROWS
    age = feature("age", "FIELD_INT32", {"i32s": ["31", 54.0], "i64s": None, "ds": []})
    rate = feature("rate", 5, {"ds": ["0.5", 1.25]})
    surplus = feature("height", 4, {"fs": [1.0]})
    for nulls in ({"header": None, "status": None}, {"header": {"data": None}, "status": {"code": None}}):
        result = read({"features": [surplus, rate, age]} | nulls)
        assert (result.batch.rows(), result.headers) == (ROWS, {})
    wide = Schema([("n", pa.int64())])
    for value in (2**53 + 1, str(2**53 + 1)):
        assert read(answer(feature("n", 3, {"i64s": [value]})), wide, 1).batch.rows() == [(2**53 + 1,)]
    signs = Schema([("x", pa.float64())])
    body = answer(feature("x", 5, {"ds": ["Infinity", "-Infinity"]}))
    assert read(body, signs).batch.rows() == [(float("inf"),), (float("-inf"),)]


async def test_unknown_keys_are_warned_of_once(make, service, caplog):
    more = GOOD | {"took_ms": 3, "features": [each | {"null_s": []} for each in GOOD["features"]]}
    service.answers = [http(GOOD), http(more), http(more), http(GOOD)]
    source = make(PERSON, service)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert (await source.fetch(TWO)).batch.rows() == ROWS
    assert len(caplog.records) == 1
    assert "took_ms" not in caplog.text


def test_a_float32_never_becomes_infinite():
    schema = Schema([("x", pa.float32())])
    assert read(answer(feature("x", 4, {"fs": ["-Infinity", 1.5]})), schema).batch.rows() == [(-float("inf"),), (1.5,)]
    with pytest.raises(SfsError, match="'x', row 1: the value is out of range for float") as caught:
        read(answer(feature("x", 4, {"fs": ["Infinity", 1e39]})), schema)
    assert caught.value.code == ErrorCode.LOGIC_ERROR


@pytest.mark.parametrize(
    ("status", "code"),
    [(3, 101), (4, 102), (5, 103), (13, 104), (16, 100), (1, 2), (-7, 2), ("5", 103)],
)
def test_statuses(status, code):
    with pytest.raises(SfsError) as caught:
        read(GOOD | {"status": {"code": status, "msg": "id u7 s3cret"}})
    assert caught.value.code == code
    assert "u7" not in str(caught.value) + caught.value.detail


@pytest.mark.parametrize(
    ("marks", "missing", "rows"),
    [("010", [False, True, False], ROWS), ("000", [False] * 3, [*ROWS, (7, 7.0)]), ("111", [True] * 3, [])],
)
def test_rows_that_a_service_says_are_missing(marks, missing, rows):
    ages, rates = zip(*rows, strict=True) if rows else ((), ())
    body = answer(feature("age", 2, {"i32s": ages}), feature("rate", 5, {"ds": rates}))
    result = read(body | {"header": {"data": {"sfs-missing-rows": marks}}}, num_rows=3)
    assert (result.missing, result.batch.rows(), result.headers) == (missing, rows, {})


@pytest.mark.parametrize("marks", ["01", "0110", "0x0", "010 ", "\u0660\u0661\u0660"])
def test_marks_of_missing_rows_that_cannot_be(marks):
    with pytest.raises(SfsError, match="0 or 1 for each id") as caught:
        read(GOOD | {"header": {"data": {"sfs-missing-rows": marks}}}, num_rows=3)
    assert caught.value.code == ErrorCode.LOGIC_ERROR


WIDE = Schema([("n", pa.int64()), ("x", pa.float64()), ("y", pa.float64())])


def narrow(ints, floats=(0.1, -2.5)):
    return answer(
        feature("n", 2, {"i32s": ints}),
        feature("x", "FIELD_FLOAT", {"fs": list(floats)}),
        feature("y", 2, {"i32s": ints}),
    )


def test_numbers_are_widened_where_that_is_asked_for():
    with pytest.raises(SfsError, match="'n' is FIELD_INT32, FIELD_INT64 is needed"):
        read(narrow([1, 2]), WIDE)
    reader = AnswerReader(WIDE, pytest.fail, widen=True)

    def wide(body):
        return reader.read(json.dumps(body).encode(), TWO.ids).batch

    rows = wide(narrow([2**31 - 1, -(2**31)], (0.1, "NaN"))).rows()
    assert repr(rows) == repr([(2**31 - 1, float(np.float32(0.1)), 2.0**31 - 1), (-(2**31), float("nan"), -(2.0**31))])
    for body in (narrow([1, 2**31]), narrow([1, 2], (0.5, 1e39))):
        with pytest.raises(SfsError, match="row 1: the value is out of range"):
            wide(body)
    long = answer(feature("n", 3, {"i64s": [1, 2]}), feature("x", 3, {"i64s": [1, 2]}), feature("y", 5, {"ds": [1, 2]}))
    with pytest.raises(SfsError, match="'x' is FIELD_INT64, FIELD_DOUBLE is needed"):  # a double does not hold all
        wide(long)


AGE, RATE = GOOD["features"]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (answer(), 10, "no features"),
        ({"status": {}}, 10, "no features"),
        (answer(AGE), 2, "'rate' is missing"),
        (answer(AGE, feature("rate", 5, {"ds": [0.5]})), 7, "'rate' has 1 values, 2 rows"),
        (answer(AGE, feature("rate", 5, {"ds": [0.5, 1.0, 2.0]})), 7, "'rate' has 3 values, 2 rows"),
        (answer(AGE, feature("rate", 5, {"fs": [0.5, 1.0]})), 7, "'rate' has 0 values, 2 rows"),
        (answer(AGE, feature("rate", 5, None)), 7, "'rate' has 0 values, 2 rows"),
        (answer(AGE, feature("rate", 4, {"fs": [0.5, 1.0]})), 3, "'rate' is FIELD_FLOAT, FIELD_DOUBLE is needed"),
        (answer(RATE, feature("age", 3, {"i64s": [1, 2]})), 3, "'age' is FIELD_INT64, FIELD_INT32 is needed"),
        (answer(RATE, feature("age", 77, {"i32s": [1, 2]})), 2, "'age' has an unknown field type"),
        (answer(RATE, feature("age", None, {"i32s": [1, 2]})), 2, "'age' has an unknown field type"),
        (answer(RATE, feature("age", 2, {"i32s": [1, 2**31]})), 7, "'age', row 1: the value is out of range"),
        (answer(AGE, feature("rate", 5, {"ds": [0.5, "s3cret"]})), 9, r"read at \$\.features\[1\]\.value\.ds\[1\]"),
        (answer(AGE, feature("rate", 5, {"ds": [0.5, None]})), 9, r"\.ds\[1\]"),
        (answer(AGE, feature("rate", 5, {"ds": {"s3cret": 1}})), 9, r"\.ds"),
        (GOOD | {"header": {"data": {"s3cret": ["s3cret"]}}}, 9, r"\$\.header\.data"),
        ([GOOD], 9, "cannot be read"),
        (b"", 9, "cannot be read"),
        (json.dumps(GOOD).encode()[:-9], 9, "cannot be read"),
        (b'{"features":[{"field":{"name":"s3cret\xff"}}]}', 9, "cannot be read"),
        (b'{"x":' + b"[" * 100_000, 9, "cannot be read"),
        (b"<html>s3cret</html>", 9, "cannot be read"),
    ],
)
def test_answers_that_cannot_be_used(body, code, text):
    with pytest.raises(SfsError, match=text) as caught:
        read(body)
    assert caught.value.code == code
    assert "s3cret" not in str(caught.value) + caught.value.detail


COLUMNS = [f"c{i}" for i in range(5)]
SCHEMA = Schema((name, pa.int64()) for name in COLUMNS)


@settings(max_examples=50, deadline=None)
@given(st.permutations([*COLUMNS, "extra"]), st.integers(1, 20), st.sampled_from([3, "FIELD_INT64"]))
def test_the_order_of_features_never_shifts_a_row(order, num_rows, type_):
    values = {name: [1000 * i + row for row in range(num_rows)] for i, name in enumerate([*COLUMNS, "extra"])}
    body = answer(*(feature(name, type_, {"i64s": values[name]}) for name in order))
    batch = read(body, SCHEMA, num_rows).batch
    assert batch.rows() == list(zip(*(values[name] for name in COLUMNS), strict=True))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_answers_are_refused_or_read_rightly(data):
    """Any cut or replaced byte gives an error of ours, or rows as many as wanted."""
    raw = bytearray(json.dumps(GOOD).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = bytes(raw[:at]) + data.draw(st.binary(max_size=2)) + bytes(raw[at + 1 :])
    try:
        result = read(damaged, warn=lambda _: None)
    except SfsError:
        return
    assert isinstance(result.batch, Batch)
    assert result.batch.num_rows == 2
