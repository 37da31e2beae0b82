"""Arrow streams, features as messages, Execute records, and the two JSON dialects of Predict."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import Batch, ErrorCode, FeatureError, RequestError, Schema, SfsError
from sfs_core.codec import prediction
from sfs_core.codec.arrow_ipc import decode_batch, encode_batch
from sfs_core.codec.dialect import BodyError, from_json, to_json
from sfs_core.codec.execution import (
    ExecuteCall,
    ExecuteReply,
    call_from_message,
    call_to_message,
    reply_from_message,
    reply_to_message,
)
from sfs_core.codec.features import Feature, FeatureField, FeatureValue, batch_of_features
from sfs_core.proto import apis_pb2, serving_pb2, tools_pb2

SCORE = Schema([("score", pa.float64())])


def _stream(*batches: object, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCORE.arrow, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


# ------------------------------------------------------------------------- Arrow
@given(st.lists(st.floats(), max_size=50))
def test_a_batch_survives_the_wire(values: list[float]) -> None:
    batch = Batch.from_rows(SCORE, [(v,) for v in values])
    again = decode_batch(encode_batch(batch))
    assert again.schema is SCORE
    assert np.array_equal(again.float64(0), values, equal_nan=True)
    assert encode_batch(again) == encode_batch(batch)


def test_streams_that_are_refused() -> None:
    one = pa.record_batch([pa.array(np.zeros(5000))], schema=SCORE.arrow)
    cases = {
        b"": ErrorCode.UNEXPECTED_ERROR,
        b"\xff\xff\xff\xff\0\0\0\0": ErrorCode.UNEXPECTED_ERROR,
        _stream(): ErrorCode.LOGIC_ERROR,
        _stream(one, one): ErrorCode.LOGIC_ERROR,
        _stream(one, compression="zstd"): ErrorCode.UNEXPECTED_ERROR,
        _stream(one)[:-100]: ErrorCode.UNEXPECTED_ERROR,
    }
    for data, code in cases.items():
        with pytest.raises(SfsError) as caught:
            decode_batch(data)
        assert caught.value.code == code


def test_offsets_out_of_bounds_are_refused() -> None:
    text = Schema([("t", pa.binary())])
    data = bytearray(encode_batch(Batch.from_rows(text, [(b"abc",), (b"def",)])))
    at = data.index(np.array([0, 3, 6], np.int32).tobytes())
    data[at : at + 12] = np.array([0, 3, 1 << 30], np.int32).tobytes()
    with pytest.raises(SfsError, match="no valid Arrow IPC stream"):
        decode_batch(bytes(data))


def test_dictionaries_are_refused() -> None:
    column = pa.array(["a", "b", "a"]).dictionary_encode()
    batch = pa.record_batch([column], names=["d"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(SfsError, match="dictionary"):
        decode_batch(sink.getvalue().to_pybytes())


def test_rows_without_data_behind_them_are_bounded() -> None:
    empty = pa.RecordBatch.from_struct_array(pa.array([{}] * 3, pa.struct([])))
    assert decode_batch(encode_batch(Batch.from_arrow(empty))).num_rows == 3
    nulls = pa.record_batch([pa.nulls(20_000_000)], names=["n"])
    with pytest.raises(SfsError, match="20000000 rows"):
        decode_batch(encode_batch(Batch.from_arrow(nulls)))


# ---------------------------------------------------------------------- features
def _feature(name: str, type_: str | int, **lists: list[object]) -> Feature:
    return Feature(FeatureField(name, type_), FeatureValue(**lists))


def test_features_become_columns_of_the_wanted_types() -> None:
    schema = Schema([("a", pa.int8()), ("b", pa.uint32()), ("c", pa.float32()), ("d", pa.binary()), ("e", pa.bool_())])
    features = [
        _feature("e", "FIELD_BOOL", bs=[True, False]),
        _feature("a", 2, i32s=[-128, 127]),
        _feature("surplus", "FIELD_DOUBLE", ds=[0.5, 1.5]),
        _feature("b", "FIELD_INT64", i64s=[0, 2**32 - 1]),
        _feature("c", "FIELD_FLOAT", fs=[0.5, math.inf]),
        _feature("d", "FIELD_STRING", ss=["x", "yz"]),
        _feature("a", 2, i32s=[0, 0]),
    ]
    batch = batch_of_features(features, schema)
    assert batch.to_arrow().to_pylist() == [
        {"a": -128, "b": 0, "c": 0.5, "d": b"x", "e": True},
        {"a": 127, "b": 2**32 - 1, "c": math.inf, "d": b"yz", "e": False},
    ]


@pytest.mark.parametrize(
    ("feature", "code", "text"),
    [
        (_feature("other", "FIELD_INT32", i32s=[1]), 2, "'a' is missing"),
        (_feature("a", "FIELD_INT64", i64s=[1]), 3, "FIELD_INT32 is needed"),
        (_feature("a", "FIELD_BOOL", bs=[True]), 2, "FIELD_INT32 is needed"),
        (_feature("a", 0), 2, "unknown field type"),
        (_feature("a", "FIELD_NONSENSE"), 2, "unknown field type"),
        (_feature("a", "FIELD_INT32", i32s=[1, 300]), 7, "row 1: the value is out of range"),
        (_feature("a", "FIELD_INT32", i32s=[1, 2, 3]), 7, "3 values, 2 rows"),
    ],
)
def test_features_that_do_not_fit(feature: Feature, code: int, text: str) -> None:
    with pytest.raises(FeatureError, match=text) as caught:
        batch_of_features([feature], Schema([("a", pa.int8())]), 2)
    assert caught.value.code == code
    assert "300" not in str(caught.value)


# ----------------------------------------------------------------------- Execute
def test_an_execute_call_survives_the_wire() -> None:
    first = ExecuteCall("svc", "alice", headers={"x": "1"}, ids=["u7", "u7"], context="2024")
    assert call_from_message(call_to_message(first)) == first
    tables = [Batch.from_rows(SCORE, [(0.5,)]), Batch.from_rows(SCORE, [(1.5,)])]
    later = call_from_message(call_to_message(ExecuteCall("svc", "alice", 1, inputs={"dot": tables})))
    assert later.execution == 1
    assert [list(t.rows()) for t in later.inputs["dot"]] == [[(0.5,)], [(1.5,)]]


def test_entries_of_parties_among_each_other_go_no_further_than_the_call() -> None:
    message = call_to_message(ExecuteCall("svc", "alice", 0, {"x": "1"}, ids=["a"]))
    entries = {"sfs-per-row": "1", "sfs-model": "m", "SFS-Unscored-Rows": "0", "sfs-missing-rows": "1"}
    message.header.data.update(entries)
    call = call_from_message(message)
    assert (call.headers, call.per_row, call.model) == ({"x": "1"}, True, "m")


def test_the_entry_call_is_what_the_reference_sends(cases: object) -> None:
    # Recorded: requester alice, three rows; the message as the reference's client wrote it.
    recorded = bytes.fromhex("0a001205616c6963651a050a037376632a10080212" + "0c0a01330a01330a0133120130")
    call = ExecuteCall("svc", "alice", ids=["3", "3", "3"], context="0")
    assert call_to_message(call).SerializeToString(deterministic=True) == recorded


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"feature_source": {"type": "FS_SERVICE"}}', 3),
        ('{"feature_source": {"type": "FS_PREDEFINED"}}', 3),
        ('{"feature_source": {"type": "FS_NONE"}}', 7),
        ("{}", 7),
        ('{"feature_source": {"type": 2, "fs_param": {"query_datas": ["1"]}}, "task": {"nodes": [{"name": "a"}]}}', 7),
        ('{"feature_source": {"type": 2, "fs_param": {"query_datas": ["1"]}}, "task": {"execution_id": 1}}', 7),
        ('{"task": {"nodes": [{"name": "a", "ios": [{"datas": [""]}]}]}}', 7),
        ('{"task": {"execution_id": 1, "nodes": [{"name": "a"}]}}', 7),
        ('{"task": {"execution_id": 1, "nodes": [{"name": "a", "ios": [{}]}]}}', 7),
        ('{"task": {"execution_id": 1, "nodes": [{"name": "a", "ios": [{"datas": ["AAAA"]}]}]}}', 2),
    ],
)
def test_contradictory_execute_calls_are_refused(text: str, code: int) -> None:
    message = apis_pb2.ExecuteRequest()
    from_json(text.encode(), message)
    with pytest.raises(SfsError) as caught:
        call_from_message(message)
    assert caught.value.code == code


def test_a_reply_with_two_tables_of_one_node_is_refused() -> None:
    message = reply_to_message("svc", ExecuteReply({"dot": Batch.from_rows(SCORE, [(1.0,)])}, {"k": "v"}))
    reply = reply_from_message(message, 0)
    assert list(reply.outputs["dot"].rows()) == [(1.0,)]
    assert reply.headers == {"k": "v"}
    message.result.nodes[0].ios[0].datas.append(message.result.nodes[0].ios[0].datas[0])
    with pytest.raises(RequestError, match="2 tables"):
        reply_from_message(message, 0)


# ------------------------------------------------------------------ JSON dialect
REQUEST = {
    "header": {"data": {"x-tenant": "t1"}},
    "service_spec": {"id": "svc"},
    "fs_params": {"left": {"query_datas": ["u7", "u9"], "query_context": "2024"}},
    "predefined_features": [{"field": {"name": "x", "type": "FIELD_DOUBLE"}, "value": {"ds": [1.5, 2.5]}}],
}


def test_both_spellings_and_protobuf_give_the_same_request() -> None:
    exact = prediction.decode_json(json.dumps(REQUEST).encode())
    message = apis_pb2.PredictRequest()
    json_format.ParseDict(REQUEST, message)
    camel = json_format.MessageToJson(message)
    assert "serviceSpec" in camel
    for other in (prediction.decode_json(camel.encode()), prediction.decode_message(message)):
        assert (other.service, other.headers) == ("svc", {"x-tenant": "t1"})
        assert other.fs_params == exact.fs_params
        assert other.predefined_features[0].value == exact.predefined_features[0].value


def test_unknown_keys_and_nulls_are_ignored() -> None:
    body = b'{"service_spec": {"id": "svc", "x": 1}, "fs_params": null, "extra": [{"a": {}}]}'
    assert prediction.decode_json(body).service == "svc"
    assert prediction.decode_json(b"").service == ""


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b'{"service_spec": {"id": 5}}', RequestError, "field 'service_spec.id': a string is expected, not a number"),
        (b'{"service_spec": []}', BodyError, "field 'service_spec': an object is expected, not a list"),
        (b'{"fs_params": {"left": {"query_datas": [7]}}}', BodyError, "fs_params.left.query_datas\\[0\\]"),
        (b'{"fs_params": {"left": {"query_datas": "7"}}}', BodyError, "a list is expected, not a string"),
        (b'{"service_spec": ', BodyError, "not JSON"),
        (b"[]", BodyError, "the body: an object is expected"),
        (b"\xff\xfe", BodyError, "not JSON"),
        (b"[" * 2_000_000, BodyError, "not JSON"),
        (b'{"header": {"data": {"a": 1}}}', RequestError, "header.data.a"),
    ],
)
def test_wrong_bodies_name_the_field(body: bytes, kind: type[SfsError], text: str) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        prediction.decode_json(body)
    assert type(caught.value) is kind


@pytest.mark.parametrize("text", ["5", "5.0", "5e0", "-0.0", "9007199254740992.0", "-9007199254740992.0"])
def test_integers_may_have_a_fraction_of_zero(text: str) -> None:
    kind = {"name": "a", "type": "FIELD_INT64"}
    body = json.dumps({"predefined_features": [{"field": kind, "value": {"i64s": [0.5]}}]}).replace("0.5", text)
    assert prediction.decode_json(body.encode()).predefined_features[0].value.i64s == [int(float(text))]


@pytest.mark.parametrize("text", ["5.5", "9007199254740994.0", "1e300", "NaN", "true"])
def test_numbers_that_are_no_integers_or_may_be_several(text: str) -> None:
    kind = {"name": "a", "type": "FIELD_INT64"}
    body = json.dumps({"predefined_features": [{"field": kind, "value": {"i64s": [0.5]}}]}).replace("0.5", text)
    with pytest.raises(BodyError, match=r"i64s\[0\]': an integer from"):
        prediction.decode_json(body.encode())


def test_answers_are_printed_as_the_reference_prints_them() -> None:
    scores = Batch.from_rows(Schema([("pred_y", pa.float64())]), [(560.9414369851589,), (0.0,)])
    assert prediction.encode_json(prediction.PredictReply("glm", scores)) == (
        b'{"header":{"data":{}},"status":{"code":1,"msg":""},"service_spec":{"id":"glm"},"results":'
        b'[{"scores":[{"name":"pred_y","value":560.9414369851589}]},{"scores":[{"name":"pred_y","value":0.0}]}]}'
    )
    failed = prediction.PredictReply('no"pe', code=ErrorCode.LOGIC_ERROR, message="[0] it's broken")
    assert json.loads(prediction.encode_json(failed)) == {
        "header": {"data": {}},
        "status": {"code": 7, "msg": "[0] it's broken"},
        "service_spec": {"id": 'no"pe'},
    }


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=10), st.booleans(), st.booleans())
def test_printed_scores_are_json_and_exact(rows: list[tuple[float, float]], two: bool, headed: bool) -> None:
    names = ["a", "b"] if two else ["a"]
    scores = Batch.from_rows(Schema((n, pa.float64()) for n in names), [row[: len(names)] for row in rows])
    reply = prediction.PredictReply("svc", scores, headers={"k": "v"} if headed else {})
    message = apis_pb2.PredictResponse()
    json_format.Parse(prediction.encode_json(reply), message)
    assert message.header.data == reply.headers
    found = [[score.value for score in result.scores] for result in message.results]
    assert np.array_equal(found, [row[: len(names)] for row in rows], equal_nan=True)
    assert json_format.MessageToDict(prediction.encode_message(reply)) == json_format.MessageToDict(message)


def test_messages_are_printed_in_the_reference_s_dialect() -> None:
    answer = apis_pb2.GetModelInfoResponse(model_info=serving_pb2.ModelInfo(name="m"))
    answer.model_info.graph_view.execution_list.add(nodes=["a"]).config.dispatch_type = serving_pb2.DP_ALL
    assert json.loads(to_json(answer))["model_info"] == {
        "name": "m",
        "desc": "",
        "graph_view": {
            "version": "",
            "execution_list": [
                {"nodes": ["a"], "config": {"dispatch_type": "DP_ALL", "session_run": False, "specific_flag": False}}
            ],
            "he_info": {"pk_buf": "", "encode_scale": 0},
            "party_num": 0,
        },
    }
    push = tools_pb2.ControlResponse(status=apis_pb2.Status(code=1), init_msg=tools_pb2.InitMsg(row_num=3))
    assert to_json(push, defaults=False) == b'{"status":{"code":1},"init_msg":{"row_num":3}}'


def test_any_execute_request_survives_the_dialect() -> None:
    message = call_to_message(
        ExecuteCall("svc", "bob", 2, {"h": "1"}, inputs={"n": [Batch.from_rows(SCORE, [(1.0,)])]})
    )
    again = apis_pb2.ExecuteRequest()
    from_json(to_json(message, defaults=False), again)
    assert again == message
