"""Load-time checks, each with the reference's code."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sfs_core import Batch, ErrorCode, GraphError, Schema, compute_pb2

UNEXPECTED, INVALID, LOGIC = ErrorCode.UNEXPECTED_ERROR, ErrorCode.INVALID_ARGUMENT, ErrorCode.LOGIC_ERROR
UNREADABLE = ErrorCode.DESERIALIZE_FAILED
Scalar = compute_pb2.Scalar


def refused(operator_maker, *arguments, **keywords):
    with pytest.raises(GraphError) as caught:
        operator_maker(*arguments, **keywords)
    assert caught.value.node == "prep"
    return caught.value


# ---------------------------------------------------------------------- schemas
@pytest.mark.parametrize("type_", [pa.int8(), pa.uint64(), pa.float32(), pa.utf8(), pa.large_utf8(), pa.large_binary()])
def test_input_types_accepted(make, type_):
    fields = pa.schema([("x", type_)])
    assert make(fields, fields).input_schemas() == [Schema([("x", type_)])]


@pytest.mark.parametrize(
    "type_",
    [
        pa.bool_(),
        pa.float16(),
        pa.date32(),
        pa.timestamp("s"),
        pa.decimal128(10, 2),
        pa.list_(pa.int8()),
        pa.null(),
        pa.dictionary(pa.int8(), pa.utf8()),
        pa.string_view(),
    ],
)
def test_input_types_refused(make, type_):
    fields = pa.schema([("x", type_)])
    assert refused(make, fields, pa.schema([])).code == LOGIC
    make(pa.schema([]), fields)  # the output may be anything


@pytest.mark.parametrize(("data", "code"), [(b"", INVALID), (b"xxxxxxxx", UNEXPECTED), (b"\0" * 64, UNEXPECTED)])
def test_schemas_that_are_none(make, schema, data, code):
    error = refused(make, data, schema)
    assert error.code == code
    assert "input_schema_bytes" in error.message
    assert "output_schema_bytes" in refused(make, schema, data).message


# ------------------------------------------------------------------- the content
@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"1",
        b'"x"',
        b"null",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"bogus": 1}',
        b'{"func_traces": [{"bogus": 1}]}',
        b'{"func_traces": [5]}',
    ],
)
def test_content_that_is_no_json_trace(make, schema, text):
    assert refused(make, schema, schema, text, as_json=True).code == UNREADABLE


@pytest.mark.parametrize("as_json", [False, None])
def test_content_that_is_no_protobuf_trace(make, schema, as_json):
    assert refused(make, schema, schema, b'{"name": "t", "func_traces": []}', as_json=as_json).code == UNREADABLE


@pytest.mark.parametrize("text", [b"", b'{"name": "t"}', b' {"funcTraces": []}'])
def test_no_functions_give_back_the_input(make, schema, replay, text):
    table = Batch.from_rows(Schema.from_arrow(schema), [(1.0, 2)])
    operator = make(schema, schema, text, as_json=True)
    assert operator.compute(None, table) is table


def test_names_and_numbers_of_json_in_every_spelling(make, schema, replay):
    table = Batch.from_rows(Schema.from_arrow(schema), [(1.5, 2)])
    snake = {"inputs": [{"data_id": 0}, {"custom_scalar": {"i64": 1}}], "output": {"data_id": 1}}
    camel = {"inputs": [{"dataId": "0"}, {"customScalar": {"i64": "1"}}], "output": {"dataId": 1}}
    for key, function in (("func_traces", snake), ("funcTraces", camel)):
        text = json.dumps({key: [{"name": "EFN_TB_REMOVE_COLUMN"} | function]})
        operator = make(schema, pa.schema([schema.field(0)]), text.encode(), as_json=True)
        assert replay(operator, table).to_pydict() == {"x": [1.5]}


def test_mutated_content_is_refused_or_loads(record, make, schema, dice):
    recorder = record(schema)
    recorder.set(0, "x", recorder.call("round", recorder.column(0), options=pc.RoundOptions(2)))
    content = recorder.trace.SerializeToString()
    loaded = 0
    for _ in range(2_000):
        mutated = bytearray(content)
        for _ in range(dice.choice([1, 2, 8])):
            mutated[dice.randrange(len(mutated))] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
        try:
            make(schema, schema, bytes(mutated[: dice.choice([None, None, dice.randrange(len(mutated))])]))
            loaded += 1
        except GraphError:
            pass
    assert 0 < loaded < 2_000


# -------------------------------------------------------------------- the functions
def test_last_function_must_give_a_table(record, schema):
    recorder = record(schema)
    recorder.column(0)
    assert refused(recorder.operator, schema).code == LOGIC
    recorder.call("negate", recorder.table)
    assert "the last function is 'negate'" in refused(recorder.operator, schema).message


BROKEN = {
    "no inputs": (lambda r: r.call("add"), LOGIC, "no inputs"),
    "unknown data id": (lambda r: r.call("negate", type(r.table)(9)), LOGIC, "data id 9 is not known"),
    "own output as input": (lambda r: r.call("negate", type(r.table)(1)), LOGIC, "data id 1 is not known"),
    "input unset": (lambda r: r.call("negate", None), INVALID, "neither"),
    "scalar unset": (lambda r: r.call("negate", Scalar()), UNEXPECTED, "no value"),
    "unknown function": (lambda r: r.call("foo_bar", 1), UNEXPECTED, "no function"),
    "the enum's zero": (lambda r: r.call("UNKOWN_EX_FUNCTION_NAME", r.table, 1), UNEXPECTED, "no function"),
    "aggregate": (lambda r: r.call("sum", r.column(0)), LOGIC, "aggregate functions"),
    "vector": (lambda r: r.call("unique", r.column(0)), LOGIC, "vector functions"),
    "meta": (lambda r: r.call("filter", r.column(0), r.column(1)), LOGIC, "meta functions"),
    "random": (lambda r: r.call("random", r.column(0)), LOGIC, "not 0"),
    "too few inputs": (lambda r: r.call("add", r.column(0)), LOGIC, "1 inputs, not 2"),
    "too many inputs": (lambda r: r.call("add", r.column(0), 1, 1), LOGIC, "3 inputs, not 2"),
    "too few of many": (lambda r: r.call("case_when", r.column(0)), LOGIC, "at least 2"),
    "options needed": (lambda r: r.call("utf8_trim", "a"), LOGIC, "without options"),
    "table to compute": (lambda r: r.call("negate", r.table), LOGIC, "is a table"),
    "array for table": (lambda r: r.call("EFN_TB_COLUMN", r.column(0), 0), LOGIC, "not a table"),
    "scalar for table": (lambda r: r.call("EFN_TB_COLUMN", 0, 0), LOGIC, "not a table"),
    "column: count": (lambda r: r.call("EFN_TB_COLUMN", r.table), INVALID, "1 inputs, not 2"),
    "column: index": (lambda r: r.column(2), LOGIC, "index 2 is not from 0 to 1"),
    "column: negative": (lambda r: r.column(-1), LOGIC, "index -1"),
    "column: i32": (lambda r: r.call("EFN_TB_COLUMN", r.table, Scalar(i32=0)), LOGIC, "not an i64"),
    "column: array index": (lambda r: r.call("EFN_TB_COLUMN", r.table, r.column(0)), LOGIC, "not an i64"),
    "remove: index": (lambda r: r.remove(2), LOGIC, "index 2"),
    "remove: count": (lambda r: r.call("EFN_TB_REMOVE_COLUMN", r.table, 0, 0), INVALID, "3 inputs, not 2"),
    "set: index": (lambda r: r.set(2, "y", r.column(0)), LOGIC, "index 2"),
    "set: name": (lambda r: r.set(0, 5, r.column(0)), INVALID, "not a string"),
    "set: scalar": (lambda r: r.set(0, "y", 1.0), LOGIC, "not an array"),
    "set: table": (lambda r: r.set(0, "y", r.table), LOGIC, "not an array"),
    "add: index": (lambda r: r.add(3, "y", r.column(0)), LOGIC, "index 3"),
    "add: count": (lambda r: r.call("EFN_TB_ADD_COLUMN", r.table, 0, "y"), INVALID, "3 inputs, not 4"),
    "i8 out of range": (lambda r: r.call("add", r.column(0), Scalar(i8=128)), INVALID, "does not fit into int8"),
    "ui8 negative": (lambda r: r.call("add", r.column(0), Scalar(ui8=-1)), INVALID, "does not fit into uint8"),
    "ui16 out of range": (lambda r: r.call("add", r.column(0), Scalar(ui16=65536)), INVALID, "fit into uint16"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_functions_are_refused(record, schema, name):
    breaking, code, words = BROKEN[name]
    recorder = record(schema)
    breaking(recorder)
    position = len(recorder.trace.func_traces) - 1
    recorder.table = type(recorder.table)(0)
    recorder.remove(1)
    error = refused(recorder.operator, schema)
    assert error.code == code
    assert words in error.message
    assert f"function {position} of the trace ({recorder.trace.func_traces[position].name!r})" in error.where


def test_an_output_id_is_given_once(record, schema):
    recorder = record(schema)
    recorder.column(0)
    recorder.remove(0)
    recorder.trace.func_traces[1].output.data_id = 1
    assert "data id 1, which is taken" in refused(recorder.operator, schema).message
    recorder.trace.func_traces[1].ClearField("output")
    assert "data id 0, which is taken" in refused(recorder.operator, schema).message


def test_a_table_function_may_add_at_the_end(record, schema, replay):
    recorder = record(schema)
    recorder.add(2, "y", recorder.column(0))
    operator = recorder.operator(schema.append(pa.field("y", pa.float64())))
    table = Batch.from_rows(Schema.from_arrow(schema), [(1.5, 2)])
    assert replay(operator, table).to_pydict() == {"x": [1.5], "n": [2], "y": [1.5]}


def test_scalars_keep_their_exact_type(record, replay):
    values = {"i8": -128, "ui8": 255, "i16": -32768, "ui16": 65535, "i32": -5, "ui32": 2**32 - 1, "i64": -(2**63)}
    values |= {"ui64": 2**64 - 1, "f": float(np.float32(0.1)), "d": 0.1, "s": "é", "b": True}
    types = [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
    types += [pa.float32(), pa.float64(), pa.utf8(), pa.bool_()]
    recorder = record(pa.schema([("x", pa.float64())]))
    for at, (name, value) in enumerate(values.items(), 1):
        recorder.add(at, name, recorder.call("coalesce", Scalar(**{name: value})))
    output = pa.schema([("x", pa.float64()), *zip(values, types, strict=True)])
    found = replay(recorder.operator(output), Batch.from_rows(Schema([("x", pa.float64())]), [(0.5,)]))
    assert found.to_pylist() == [{"x": 0.5} | values]


def test_least_numbers_of_inputs_are_arrow_s(record, schema):
    many = [name for name in pc.list_functions() if pc.get_function(name).arity is ...]
    many = [name for name in many if pc.get_function(name).kind == "scalar"]
    assert {"case_when", "choose", "coalesce", "make_struct"} <= set(many)
    for name in many:
        for count in (1, 2):
            recorder = record(schema)
            recorder.call(name, *[recorder.column(0)] * count)
            recorder.remove(0)
            try:
                pc.call_function(name, [pa.array([], pa.float64())] * count)
                enough = True
            except pa.ArrowException as error:
                enough = "arguments but only" not in str(error)
            if enough:
                recorder.operator(schema)
            else:
                assert refused(recorder.operator, schema).code == LOGIC
