"""Replaying traces that are recorded here, against evaluations of their own."""

import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core import Batch, ComputeContext, ErrorCode, GraphError, Schema, SfsError

EXTREMES = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, -1.5, 2.0]


def batch(schema, columns):
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return Batch.from_arrow(pa.RecordBatch.from_arrays(arrays, schema=schema))


def fails(operator, table):
    with pytest.raises(SfsError) as caught:
        operator.compute(ComputeContext("alice", "alice"), table)
    assert caught.value.node == "prep"
    return caught.value


# ------------------------------------------------- what preprocessing really records
@pytest.mark.parametrize("as_json", [True, False])
def test_binning(record, replay, as_json):
    schema = pa.schema([("x", pa.float64())])
    recorder = record(schema)
    edges, values = [-1.0, 0.5, 3.0], [np.float32(v) for v in (0.1, -0.7, 1.3, 2.9)]
    x = recorder.column(0)
    bins = [recorder.call("less_equal", x, edge) for edge in edges] + [recorder.call("greater", x, edges[-1])]
    cases = recorder.call("make_struct", *bins)
    recorder.set(0, "x", recorder.call("case_when", cases, *values, np.float32(-9.0)))
    found = replay(recorder.operator(pa.schema([("x", pa.float32())]), as_json=as_json), batch(schema, [EXTREMES]))
    wanted = [-9.0 if math.isnan(x) else float(values[sum(x > edge for edge in edges)]) for x in EXTREMES]
    assert found.column(0).to_pylist() == wanted


def test_one_hot(record, replay):
    schema = pa.schema([("colour", pa.utf8()), ("n", pa.int64())])
    recorder = record(schema)
    colour = recorder.column(0)
    recorder.remove(0)
    groups = [("red",), ("green", "blue")]
    for at, group in enumerate(groups):
        tests = [recorder.call("equal", colour, name) for name in group]
        is_one = tests[0] if len(tests) == 1 else recorder.call("or", *tests)
        recorder.add(at + 1, f"colour_{at}", recorder.call("if_else", is_one, np.float32(1), np.float32(0)))
    output = pa.schema([("n", pa.int64()), ("colour_0", pa.float32()), ("colour_1", pa.float32())])
    colours = ["red", "blue", "", "green", "RED"]
    found = replay(recorder.operator(output, as_json=True), batch(schema, [colours, range(5)]))
    wanted = [{"n": i} | {f"colour_{k}": float(c in g) for k, g in enumerate(groups)} for i, c in enumerate(colours)]
    assert found.to_pylist() == wanted


def test_fill_and_standardise(record, replay):
    schema = pa.schema([("a", pa.float64()), ("b", pa.int64())])
    recorder = record(schema)
    a = recorder.column(0)
    missing = recorder.call("is_null", a, options=pc.NullOptions(nan_is_null=True))
    filled = recorder.call("if_else", missing, 7.5, a)
    recorder.set(0, "a", recorder.call("divide", recorder.call("subtract", filled, 2.0), 4.0))
    recorder.set(1, "b", recorder.call("divide", recorder.column(1), 3))
    operator = recorder.operator(schema)
    found = replay(operator, batch(schema, [[1.0, None, math.nan, -3.0], [7, -7, 0, 2]]))
    np.testing.assert_array_equal(found.column(0), (np.array([1.0, 7.5, 7.5, -3.0]) - 2) / 4)
    assert found.column(1).to_pylist() == [int(v / 3) for v in (7, -7, 0, 2)]  # truncated, not floored


def test_strings(record, replay):
    schema = pa.schema([("s", pa.utf8())])
    recorder = record(schema)
    s = recorder.column(0)
    trimmed = recorder.call("utf8_trim", s, options=pc.TrimOptions(" \t"))
    recorder.set(0, "s", recorder.call("utf8_upper", trimmed))
    recorder.add(1, "n", recorder.call("utf8_length", trimmed))
    recorder.add(2, "x", recorder.call("cast", recorder.call("utf8_length", s), options=pc.CastOptions(pa.float64())))
    recorder.add(3, "known", recorder.call("is_in", trimmed, options=pc.SetLookupOptions(pa.array(["é", "ab"]))))
    recorder.add(4, "start", recorder.call("utf8_slice_codeunits", trimmed, options=pc.SliceOptions(0, 1)))
    output = [("s", pa.utf8()), ("n", pa.int32()), ("x", pa.float64()), ("known", pa.bool_()), ("start", pa.utf8())]
    texts = [" ab\t", "é", "", "日本 語 "]
    found = replay(recorder.operator(pa.schema(output)), batch(schema, [texts])).to_pylist()
    for text, row in zip(texts, found, strict=True):
        bare = text.strip(" \t")
        assert row == {
            "s": bare.upper(),
            "n": len(bare),
            "x": float(len(text)),
            "known": bare in ("é", "ab"),
            "start": bare[:1],
        }


# --------------------------------------------------------------------- forms and sizes
def test_every_form_of_the_input_gives_the_same(record, replay):
    schema = pa.schema([("a", pa.float64()), ("b", pa.float64()), ("unused", pa.float64())])
    recorder = record(schema)
    recorder.set(0, "sum", recorder.call("add", recorder.column(0), recorder.column(1)))
    operator = recorder.operator(pa.schema([("sum", pa.float64()), *[(n, pa.float64()) for n in ("b", "unused")]]))
    rows = [(1.0, 2.0, 3.0), (math.nan, -0.0, 5.0)]
    own = Schema.from_arrow(schema)
    matrix = np.array(rows)
    tables = [
        Batch.from_rows(own, rows),
        Batch.from_matrix(own, matrix),
        Batch.from_columns(own, list(matrix.T), 2),
        Batch.from_columns(own, [pa.array(c) for c in matrix.T], 2),
    ]
    assert {table.form for table in tables} == {"rows", "matrix", "columns"}
    for table in tables:
        found = replay(operator, table)
        np.testing.assert_array_equal(found.column(0), [3.0, math.nan])
        assert found.column(1).to_pylist() == [2.0, -0.0]
        assert found.column(2).to_pylist() == [3.0, 5.0]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_calls_of_constants_are_broadcast(record, replay, schema, rows):
    recorder = record(schema)
    total = recorder.call("add", 2, 3)
    recorder.set(1, "n", recorder.call("multiply", total, recorder.column(1)))
    recorder.add(2, "five", total)
    recorder.add(3, "pair", recorder.call("make_struct", 1.5, "a", options=pc.MakeStructOptions(["p", "q"])))
    pair = pa.struct([("p", pa.float64()), ("q", pa.utf8())])
    operator = recorder.operator(pa.schema([*schema, ("five", pa.int64()), ("pair", pair)]))
    found = replay(operator, batch(schema, [[0.5] * rows, [4] * rows]))
    assert found.to_pylist() == [{"x": 0.5, "n": 20, "five": 5, "pair": {"p": 1.5, "q": "a"}}] * rows


def test_a_table_may_lose_all_columns_and_keeps_its_rows(record):
    schema = pa.schema([("x", pa.float64())])
    recorder = record(schema)
    recorder.remove(0)
    found = recorder.operator(pa.schema([])).compute(ComputeContext("a", "a"), batch(schema, [[1.0, 2.0]]))
    assert (len(found.schema), found.num_rows) == (0, 2)


def test_a_table_without_columns_may_gain_some(record, replay):
    recorder = record(pa.schema([]))
    recorder.add(0, "one", recorder.call("negate", -1.0))
    operator = recorder.operator(pa.schema([("one", pa.float64())]))
    assert replay(operator, Batch.from_rows(Schema(), [(), ()])).to_pydict() == {"one": [1.0, 1.0]}


# ------------------------------------------------------------------------ output schema
@pytest.mark.parametrize(
    "declared",
    [
        pa.schema([("y", pa.float64()), ("n", pa.int64())]),
        pa.schema([("x", pa.float32()), ("n", pa.int64())]),
        pa.schema([("n", pa.int64()), ("x", pa.float64())]),
        pa.schema([("x", pa.float64())]),
        pa.schema([pa.field("x", pa.float64(), nullable=False), ("n", pa.int64())]),
    ],
)
def test_the_output_must_be_as_declared(record, make, schema, declared):
    recorder = record(schema)
    recorder.set(0, "x", recorder.call("negate", recorder.column(0)))
    table = batch(schema, [[1.0], [2]])
    for operator in (recorder.operator(declared), make(schema, declared)):
        error = fails(operator, table)
        assert isinstance(error, GraphError)
        assert error.code == ErrorCode.LOGIC_ERROR


def test_nullability_is_kept_by_tables_and_lost_by_set(record, replay):
    fields = [pa.field("x", pa.float64(), nullable=False), pa.field("n", pa.int64(), nullable=False)]
    recorder = record(pa.schema(fields))
    recorder.set(0, "x", recorder.column(0))
    operator = recorder.operator(pa.schema([("x", pa.float64()), fields[1]]))
    assert replay(operator, batch(pa.schema(fields), [[1.0], [2]])).schema.equals(operator.output_schema().arrow)


# ----------------------------------------------------------------------- run-time errors
@pytest.mark.parametrize(
    ("name", "second", "values", "row"),
    [
        ("divide", 0, [1, 2], 0),
        ("divide", None, [5, 0, 0], 1),
        ("add_checked", 2**63 - 1, [0, -1, 0, 3, 4], 3),
        ("power_checked", 63, [1, 0, 1, 1, 2], 4),
    ],
)
def test_failing_values_give_function_and_row(record, schema, name, second, values, row):
    recorder = record(schema)
    n = recorder.column(1)
    recorder.set(1, "n", recorder.call(name, n, n if second is None else second))
    error = fails(recorder.operator(schema), batch(schema, [[123.25] * len(values), values]))
    assert error.code == ErrorCode.UNEXPECTED_ERROR
    assert error.where == f"row {row}"
    assert f"Arrow function {name!r}" in error.message


def test_errors_quote_no_values(record):
    schema = pa.schema([("s", pa.utf8())])
    recorder = record(schema)
    recorder.set(0, "s", recorder.call("cast", recorder.column(0), options=pc.CastOptions(pa.int64())))
    error = fails(recorder.operator(pa.schema([("s", pa.int64())])), batch(schema, [["1", "hush"]]))
    assert error.where == "row 1"
    assert "hush" not in f"{error} {error.detail} {error.__cause__}"
    assert error.__suppress_context__


@pytest.mark.parametrize(("name", "inputs"), [("cast", ["x"]), ("add", ["x", "text"]), ("divide", [1, 0])])
def test_calls_that_can_never_work_fail_at_run_time(record, schema, name, inputs):
    recorder = record(schema)
    inputs = [recorder.column(0) if value == "x" else value for value in inputs]
    recorder.set(0, "x", recorder.call(name, *inputs))
    operator = recorder.operator(schema)
    for rows in (0, 2):
        error = fails(operator, batch(schema, [[1.0] * rows, [1] * rows]))
        assert (error.code, error.where) == (ErrorCode.UNEXPECTED_ERROR, "")
        assert repr(name) in error.message


# ------------------------------------------------------------------- chains of any calls
NUMBERS = {
    pa.float64(): st.sampled_from(EXTREMES) | st.floats(),
    pa.float32(): st.sampled_from([0.0, math.nan, math.inf, 1.5]) | st.floats(width=32),
    pa.int64(): st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.sampled_from([0, 1, -1]) | st.integers(-(2**31), 2**31 - 1),
}
SCALARS = st.sampled_from([0, 1, -7, 2**62]) | st.sampled_from([0.0, math.nan, 2.5]) | st.just(np.float32(0.1))
OF_NUMBERS = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "add_checked",
    "multiply_checked",
    "max_element_wise",
    "coalesce",
]
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
OF_TRUTHS = ["and", "or", "and_kleene", "or_kleene", "xor"]


@st.composite
def chains(draw):
    """Columns, and calls whose arguments are positions among columns and earlier results, or constants."""
    rows = draw(st.integers(0, 5))
    types = draw(st.lists(st.sampled_from(list(NUMBERS)), min_size=1, max_size=3))
    columns = [draw(st.lists(st.none() | NUMBERS[t], min_size=rows, max_size=rows)) for t in types]
    numbers, truths, calls = list(range(len(types))), [], []

    def number():
        return draw(st.sampled_from(numbers).map(lambda at: ("at", at)) | SCALARS)

    for position in range(len(types), len(types) + draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["number", "compare", "is_null"] + ["truth", "choose"] * bool(truths)))
        if kind == "number":
            call = draw(st.sampled_from(OF_NUMBERS)), [number(), number()]
        elif kind == "compare":
            call = draw(st.sampled_from(COMPARISONS)), [number(), number()]
        elif kind == "is_null":
            call = "is_null", [number()]
        elif kind == "truth":
            call = draw(st.sampled_from(OF_TRUTHS)), [("at", draw(st.sampled_from(truths))) for _ in range(2)]
        else:
            call = "if_else", [("at", draw(st.sampled_from(truths))), number(), number()]
        calls.append(call)
        (truths if kind in ("compare", "is_null", "truth") else numbers).append(position)
    return types, columns, rows, calls


def evaluated(values, calls, rows):
    """All results by direct calls, those of constants repeated for every row; None where a call fails."""
    values = list(values)
    for name, inputs in calls:
        arguments = [values[v[1]] if isinstance(v, tuple) else arrow_scalar(v) for v in inputs]
        try:
            result = pc.call_function(name, arguments)
        except pa.ArrowException:
            return None
        values.append(pa.array([result.as_py()] * rows, result.type) if isinstance(result, pa.Scalar) else result)
    return values


def arrow_scalar(value):
    return pa.scalar(value, {int: pa.int64(), float: pa.float64(), np.float32: pa.float32()}[type(value)])


@given(chains())
@settings(max_examples=300, deadline=None)
def test_any_chain_equals_direct_calls(record, chain):
    types, columns, rows, calls = chain
    schema = pa.schema([(f"c{i}", type_) for i, type_ in enumerate(types)])
    arrays = [pa.array(column, type_) for column, type_ in zip(columns, types, strict=True)]
    recorder = record(schema)
    results = [recorder.column(i) for i in range(len(types))]
    for name, inputs in calls:
        results.append(recorder.call(name, *[results[v[1]] if isinstance(v, tuple) else v for v in inputs]))
    for i, result in enumerate(results[len(types) :], len(types)):
        recorder.add(i, f"c{i}", result)
    wanted = evaluated(arrays, calls, rows)
    table = Batch.from_arrow(pa.RecordBatch.from_arrays(arrays, schema=schema))
    if wanted is None:
        error = fails(recorder.operator(pa.schema([])), table)
        assert error.code == ErrorCode.UNEXPECTED_ERROR
        calls = calls[: int(re.search(r"call (\d+) of the trace", error.message)[1]) + 1]
        assert evaluated(arrays, calls[:-1], rows) is not None
        if error.where:  # a value fails: the rows before it work, it alone does not
            row = int(error.where.removeprefix("row "))
            assert evaluated([a.slice(0, row) for a in arrays], calls, row) is not None
            assert evaluated([a.slice(row, 1) for a in arrays], calls, 1) is None
        return
    declared = pa.schema([(f"c{i}", array.type) for i, array in enumerate(wanted)])
    found = recorder.operator(declared).compute(ComputeContext("a", "a"), table).to_arrow()
    assert repr(found.to_pylist()) == repr(pa.RecordBatch.from_arrays(wanted, schema=declared).to_pylist())
