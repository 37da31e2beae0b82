"""Generated functions over rows, held against Arrow: the same bits, or given up on."""

from __future__ import annotations

import math
import random
import re
import struct
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sfs_op_arrow import rows as rows_module
from sfs_op_arrow.rows import MOST_ROWS

from sfs_core import Batch, ComputeContext, Schema, SfsError, compute_pb2

CONTEXT = ComputeContext("alice", "alice")
INTEGERS = {pa.int8(): "i8", pa.int32(): "i32", pa.int64(): "i64", pa.uint8(): "ui8", pa.uint64(): "ui64"}
SCALAR_CASES = {pa.float64(): "d", pa.float32(): "f", pa.utf8(): "s", pa.bool_(): "b"} | INTEGERS
COLUMN_TYPES = [type_ for type_ in SCALAR_CASES if type_ != pa.bool_()]

OF_NUMBERS = ["add", "subtract", "multiply", "divide", "power", "logb"]
OF_A_NUMBER = ["abs", "negate", "sqrt", "ln", "log2", "log10", "exp", "floor", "ceil", "trunc", "round"]
OF_A_NUMBER += [f"{name}_checked" for name in ("abs", "negate", "sqrt", "ln", "log2", "log10")]
OF_NUMBERS += [f"{name}_checked" for name in OF_NUMBERS]
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
OF_TRUTHS = ["and", "and_kleene", "and_not", "or", "or_kleene", "xor"]
TESTS = ["is_nan", "is_finite", "is_inf", "is_valid", "is_null"]
ROUNDINGS = [(0, "half_to_even"), (2,), (0, "half_up"), (-1,), (-3, "down")]
CASTS = [pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.uint8(), pa.utf8()]


# ------------------------------------------------------------------------- random values
def any_value(source, type_):
    if type_ == pa.utf8():
        number = source.choice(["", "-"]) + str(source.randint(0, 10 ** source.randint(0, 30)))
        numbers = [
            number,
            f"{number}.{source.randint(0, 10**9)}",
            f"{number}e{source.randint(-99, 99)}",
            "+1",
            "1_0",
            "٣",
        ]
        return source.choice(
            [*numbers, "", "a", "b", " ab\t", "é", "日本 語", "'\"\\\n", "\0", "007", "-0", "nan", "x" * 50]
        )
    if type_ == pa.bool_():
        return source.random() < 0.5
    if type_ in INTEGERS:
        low, high = np.iinfo(type_.to_pandas_dtype()).min, np.iinfo(type_.to_pandas_dtype()).max
        near = source.choice([low, high, 1 << 53, -(1 << 53), 0]) + source.randint(-2, 2)
        return max(low, min(high, source.choice([near, source.randint(-3, 9), source.randint(low, high)])))
    kind = source.random()
    if kind < 0.2:
        value = source.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e-45, 1.7e308, 3e38, 0.5, 1.0])
    elif kind < 0.4:
        value = source.randint(-5, 5) / 2  # ties of rounding
    elif kind < 0.6:
        (value,) = (
            struct.unpack("f", source.randbytes(4))
            if type_ == pa.float32()
            else struct.unpack("d", source.randbytes(8))
        )
    else:
        value = source.uniform(-1, 1) * 10 ** source.randint(-3, 4)
    with np.errstate(over="ignore"):
        return float(np.float32(value)) if type_ == pa.float32() else value


def scalar(source, type_):
    return compute_pb2.Scalar(**{SCALAR_CASES[type_]: any_value(source, type_)})


def random_rows(source, types, count):
    return [tuple(any_value(source, type_) for type_ in types) for _ in range(count)]


# ------------------------------------------------------------------------ the comparison
def agreement(operator, schema, rows):
    """`same` or `given up`, for a batch of rows; fails where the function differs from Arrow."""
    table = Batch(Schema.from_arrow(schema), len(rows), rows=rows)
    found = operator._by_rows.run(table)
    if found is None:
        return "given up"
    wanted = operator._program.run(table)  # raises where Arrow fails: then there must be no result
    assert found.schema is wanted.schema
    assert repr(found.rows()) == repr(arrow_rows(wanted))
    return "same"


def arrow_rows(table):
    columns = [table.arrow(i).to_pylist() for i in range(len(table.schema))]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def recorded(record, types, calls):
    """The operator for a list of calls (name, inputs, options), whose results become columns.

    An input is a Scalar, or the position of a column or an earlier result.
    """
    schema = pa.schema([(f"c{i}", type_) for i, type_ in enumerate(types)])
    recorder = record(schema)
    results = [recorder.column(i) for i in range(len(types))]
    for name, inputs, options in calls:
        arguments = [results[item] if isinstance(item, int) else item for item in inputs]
        results.append(recorder.call(name, *arguments, options=options))
    at = len(types)
    for result, (name, _, _) in zip(results[at:], calls, strict=True):
        if name != "make_struct":
            recorder.add(at, "result", result)
            at += 1
    recorder.remove(0)
    return recorder.operator(pa.schema([])), schema


# ------------------------------------------------------------------ function by function
def signatures():
    numbers = [t for t in COLUMN_TYPES if t != pa.utf8()]
    pairs = [(a, b) for a in numbers for b in numbers]
    yield from ((name, pair, None) for name in OF_NUMBERS + COMPARISONS for pair in pairs)
    yield from ((name, (t,), None) for name in OF_A_NUMBER + TESTS for t in numbers)
    yield from ((name, (pa.utf8(), pa.utf8()), None) for name in COMPARISONS)
    yield from (("coalesce", pair, None) for pair in pairs)
    yield from (("is_null", (t,), pc.NullOptions(nan_is_null=True)) for t in COLUMN_TYPES)
    yield from (("cast", (t,), pc.CastOptions(to)) for t in COLUMN_TYPES for to in CASTS)
    yield "cast", (pa.float64(),), pc.CastOptions.unsafe(pa.int64())
    yield "utf8_length", (pa.utf8(),), None
    yield from (("utf8_trim", (pa.utf8(),), pc.TrimOptions(text)) for text in ("", " \t", "a語", "x'\"\\"))
    yield from (
        ("utf8_slice_codeunits", (pa.utf8(),), pc.SliceOptions(*bounds))
        for bounds in [(0, 1), (1, None), (2, 2), (0, 40), (-2, None), (0, -1), (3, 1), (0, 9, 2)]
    )
    yield "is_in", (pa.utf8(),), pc.SetLookupOptions(pa.array(["é", "", None]))
    yield "is_in", (pa.int64(),), pc.SetLookupOptions(pa.array([0, 3, 2**63 - 1]))
    yield from (("round", (t,), pc.RoundOptions(*options)) for t in numbers for options in ROUNDINGS)


def test_every_function_equals_arrow_s_on_every_type(record, dice):
    counts = Counter()
    for name, types, options in signatures():
        constant = scalar(dice, types[-1]) if len(types) == 2 and dice.random() < 0.3 else 1
        inputs = [0, constant] if len(types) == 2 else [0]
        operator, schema = recorded(record, types, [(name, inputs, options)])
        if operator._by_rows is None:
            counts[name, "not covered"] += 1
            continue
        for row in random_rows(dice, types, 60):
            counts[name, agreement(operator, schema, [row])] += 1
    names = {name for name, _ in counts}
    assert names == {name for name, _, _ in signatures()}
    for name in names:
        assert counts[name, "same"] >= 20, (name, counts[name, "same"], counts[name, "given up"])
    same, given_up = (sum(n for (_, kind), n in counts.items() if kind == k) for k in ("same", "given up"))
    assert same > 2 * given_up


@pytest.mark.parametrize("name", ["ln", "log2", "log10", "exp", "sqrt", "round", "floor", "ceil", "trunc"])
def test_functions_of_the_c_library_are_arrow_s(record, name):
    operator, schema = recorded(record, [pa.float64()], [(name, [0], None)])
    source = random.Random(name)
    rows = [(source.uniform(0, 1) * 10.0 ** source.randint(-8, 2),) for _ in range(5_000)]
    for start in range(0, len(rows), 100):
        assert agreement(operator, schema, rows[start : start + 100]) == "same"


def test_powers_and_logarithms_to_a_base_are_arrow_s(record):
    operator, schema = recorded(record, [pa.float64()] * 2, [("power", [0, 1], None), ("logb", [0, 1], None)])
    source = random.Random(7)
    rows = [(source.uniform(0.01, 50), source.uniform(1.5, 12)) for _ in range(5_000)]
    for start in range(0, len(rows), 100):
        assert agreement(operator, schema, rows[start : start + 100]) == "same"


def test_the_c_library_s_signalling_nans_are_left_to_arrow(record):
    operator, schema = recorded(record, [pa.float64()] * 2, [("power", [0, 1], None)])
    (signalling,) = struct.unpack("d", struct.pack("Q", 0x7FF0000000000001))
    for row in [(signalling, 0.0), (1.0, signalling), (math.nan, 0.0)]:
        assert agreement(operator, schema, [row]) == "given up"


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_float32_arithmetic_is_rounded_as_arrow_s(record, name):
    operator, schema = recorded(record, [pa.float32()] * 2, [(name, [0, 1], None)])
    source = random.Random(name)
    counts = Counter()
    for _ in range(5_000):
        bits = [source.getrandbits(32) for _ in range(2)]
        if source.random() < 0.5:  # results below the least normal number
            bits = [b & 0x81FFFFFF | 0x1E000000 for b in bits]
        row = struct.unpack("ff", struct.pack("II", *bits))
        counts[agreement(operator, schema, [row])] += 1
    assert counts["same"] > 4_000


# ------------------------------------------------------------------------ whole programs
def random_call(source, types):
    """A call whose arguments exist, chosen by the types of columns and results so far."""
    numbers = [i for i, t in enumerate(types) if t in COLUMN_TYPES and t != pa.utf8()]
    truths = [i for i, t in enumerate(types) if t == pa.bool_()]

    def number():
        if source.random() < 0.3:
            return scalar(source, source.choice([pa.float64(), pa.float64(), pa.int64(), pa.float32()]))
        return source.choice(numbers)

    def of_type(type_):
        same = [i for i, t in enumerate(types) if t == type_]
        return source.choice(same) if same and source.random() < 0.6 else scalar(source, type_)

    kinds = ["numbers", "number", "compare", "compare", "test", "text", "cast"]
    kind = source.choice(kinds + ["truths", "if_else", "if_else", "case_when"] * bool(truths))
    match kind:
        case "numbers":
            return [(source.choice(OF_NUMBERS[:4]), [number(), number()], None)]
        case "number":
            return [(source.choice(OF_A_NUMBER), [source.choice(numbers)], None)]
        case "compare":
            first = source.randrange(len(types))
            same = types[first] in (pa.utf8(), pa.bool_())
            return [(source.choice(COMPARISONS), [first, of_type(types[first]) if same else number()], None)]
        case "test":
            return [(source.choice(TESTS), [source.choice(numbers)], None)]
        case "text":
            return [("utf8_length", [of_type(pa.utf8())], None)]
        case "cast":
            return [("cast", [source.choice(numbers)], pc.CastOptions(source.choice(CASTS)))]
        case "truths":
            if source.random() < 0.2:
                return [("invert", [source.choice(truths)], None)]
            return [(source.choice(OF_TRUTHS), [source.choice(truths), source.choice(truths)], None)]
        case "if_else":
            chosen = source.choice([t for t in types if t in SCALAR_CASES])
            return [("if_else", [source.choice(truths), of_type(chosen), of_type(chosen)], None)]
        case _:
            count = source.choice([1, 2, 3, 60])
            value = source.choice([pa.float32(), pa.float64(), pa.utf8(), pa.int64()])
            values = [of_type(value) for _ in range(count + (source.random() < 0.9))]
            struct_call = "make_struct", [source.choice(truths) for _ in range(count)], None
            return [struct_call, ("case_when", [len(types), *values], None)]


def random_program(source):
    """Types of the columns, and calls that Arrow accepts."""
    width = source.randint(1, 4)
    values = [pa.array([], source.choice(COLUMN_TYPES)) for _ in range(width - 1)] + [pa.array([], pa.float64())]
    calls = []
    for _ in range(source.randint(1, 12)):
        added = []
        for name, inputs, options in random_call(source, [value.type for value in values]):
            arguments = [[*values, *added][i] if isinstance(i, int) else arrow_scalar(i) for i in inputs]
            try:
                added.append(pc.get_function(name).call(arguments, options))
            except pa.ArrowException:
                break
            if isinstance(added[-1], pa.Scalar):
                added[-1] = pa.repeat(added[-1], 0)
            calls.append((name, inputs, options))
        else:
            values += added
            continue
        del calls[len(calls) - len(added) :]
    return [value.type for value in values[:width]], calls


def arrow_scalar(item):
    case = item.WhichOneof("value")
    (type_,) = [t for t, c in SCALAR_CASES.items() if c == case]
    return pa.scalar(getattr(item, case), type_)


def test_any_program_equals_arrow(record, dice):
    counts = Counter()
    for _ in range(600):
        types, calls = random_program(dice)
        operator, schema = recorded(record, types, calls)
        if operator._by_rows is None:
            counts["not covered"] += 1
            continue
        for rows in [[row] for row in random_rows(dice, types, 6)] + [random_rows(dice, types, 3)]:
            counts[agreement(operator, schema, rows)] += 1
    print(counts)
    assert counts["not covered"] < 300
    assert counts["same"] > 0.4 * counts["given up"]


# ------------------------------------------------------------ what stays with Arrow
def inverse(record):
    """`1 / x`, and whether `s` is "a"."""
    calls = [("divide", [compute_pb2.Scalar(d=1.0), 0], None), ("equal", [1, compute_pb2.Scalar(s="a")], None)]
    return recorded(record, [pa.float64(), pa.utf8()], calls)


@pytest.mark.parametrize("columns", [[[2.0, None], ["a", "b"]], [[2.0, 4.0], [None, "a"]]])
def test_nulls(record, columns):
    operator, schema = inverse(record)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    table = Batch.from_arrow(pa.RecordBatch.from_arrays(arrays, schema=schema))
    assert operator._by_rows.run(table) is None
    texts, inverses, equals = operator.compute(CONTEXT, table).to_arrow().columns
    assert texts.to_pylist() == columns[1]
    assert inverses.to_pylist() == [None if v is None else 1 / v for v in columns[0]]
    assert equals.to_pylist() == [None if v is None else v == "a" for v in columns[1]]


def test_divisions_by_zero(record):
    operator, schema = inverse(record)
    table = Batch(Schema.from_arrow(schema), 3, rows=[(2.0, "a"), (0.0, "b"), (-0.0, "")])
    assert operator._by_rows.run(table) is None
    assert arrow_rows(operator.compute(CONTEXT, table)) == [
        ("a", 0.5, True),
        ("b", math.inf, False),
        ("", -math.inf, False),
    ]


def test_many_rows(record):
    operator, schema = inverse(record)
    rows = [(float(i + 1), "a") for i in range(MOST_ROWS + 1)]
    few, many = (Batch(Schema.from_arrow(schema), len(r), rows=r) for r in (rows[:-1], rows))
    assert operator.compute(CONTEXT, few).form == "rows"
    assert operator.compute(CONTEXT, many).form == "columns"
    assert arrow_rows(operator.compute(CONTEXT, many))[:-1] == list(operator.compute(CONTEXT, few).rows())


@pytest.mark.parametrize(
    ("type_", "name", "value"),
    [
        (pa.int64(), "divide", 0),
        (pa.int64(), "add_checked", 2**63 - 1),
        (pa.int64(), "cast", 1 << 40),
        (pa.float64(), "divide_checked", 0.0),
        (pa.float64(), "cast", 0.5),
    ],
)
def test_a_result_that_nobody_needs_may_fail(record, type_, name, value):
    schema = pa.schema([("n", type_)])
    recorder = record(schema)
    n = recorder.column(0)
    inputs, options = ([n], pc.CastOptions(pa.int32())) if name == "cast" else ([n, n], None)
    recorder.add(1, "unneeded", recorder.call(name, *inputs, options=options))
    recorder.remove(1)
    operator = recorder.operator(schema)
    tables = [Batch(Schema.from_arrow(schema), 1, rows=[(type(value)(v),)]) for v in (5, value)]
    assert operator._by_rows.run(tables[0]).rows() == [(5,)]
    with pytest.raises(SfsError, match=f"'{name}'"):
        operator.compute(CONTEXT, tables[1])


def test_case_when_without_else(record):
    schema = pa.schema([("x", pa.float64())])
    recorder = record(schema)
    below = [recorder.call("less", recorder.column(0), float(edge)) for edge in range(120)]
    values = [float(i) for i in range(120)]
    recorder.set(0, "x", recorder.call("case_when", recorder.call("make_struct", *below), *values))
    operator = recorder.operator(schema)
    for x, wanted in [(-1.0, 0.0), (0.0, 1.0), (60.5, 61.0), (118.5, 119.0), (119.0, None), (math.nan, None)]:
        table = Batch(Schema.from_arrow(schema), 1, rows=[(x,)])
        assert (operator._by_rows.run(table) is None) is (wanted is None)
        assert arrow_rows(operator.compute(CONTEXT, table)) == [(wanted,)]


# ------------------------------------------------------------------- the generated text
NAMES = ["", "x", "'", '"""', "\n import os", "__class__", "{0}", "c0", "v1", "\\", "é\u2028", "n" * 1_000_000]
WORDS = {"and", "append", "def", "else", "for", "function", "if", "in", "result", "return", "rows", "strip"}


def hostile(record, name, text, number):
    schema = pa.schema([(name, pa.utf8()), (name + "2", pa.float64())])
    recorder = record(schema)
    equal = recorder.call("equal", recorder.column(0), text)
    trimmed = recorder.call("utf8_trim", recorder.column(0), options=pc.TrimOptions(text))
    near = recorder.call("less", recorder.call("subtract", recorder.column(1), number), number)
    recorder.set(1, name, recorder.call("if_else", recorder.call("and", equal, near), text, trimmed))
    return recorder.operator(pa.schema([]))


def test_names_and_constants_do_not_reach_the_text(record, monkeypatch):
    texts = []
    monkeypatch.setattr(rows_module, "compile", lambda text, *a: texts.append(text) or compile(text, *a), raising=False)
    for name in NAMES:
        for number in (1.5, -0.0, math.nan, math.inf):
            operator = hostile(record, name, name, number)
            table = Batch(operator.input_schemas()[0], 1, rows=[(f" {name}", 1.0)])
            assert operator._by_rows.run(table).rows() == arrow_rows(operator._program.run(table))
    assert len(set(texts)) == 1
    words = set(re.findall(r"[^\W\d]\w*", texts[0]))
    assert {word for word in words if not re.fullmatch(r"[vtc]\d+", word)} <= WORDS
    assert not re.search(r"['\"\\_@]", texts[0])
    assert operator._by_rows._function.__globals__["__builtins__"] == {}


# ---------------------------------------------------------------------------- large ones
def chain_of_calls(record, count):
    schema = pa.schema([("x", pa.float64())])
    recorder = record(schema)
    x = recorder.column(0)
    for _ in range(count):
        x = recorder.call("add", x, 1.0)
    recorder.set(0, "x", x)
    return recorder.operator(schema)


def test_computations_of_any_size_load(record):
    table = Batch(Schema([("x", pa.float64())]), 1, rows=[(0.5,)])
    for count, covered in ((1_000, True), (10_000, True), (10_001, False)):
        operator = chain_of_calls(record, count)
        assert (operator._by_rows is not None) is covered
        assert arrow_rows(operator.compute(CONTEXT, table)) == [(count + 0.5,)]


def test_long_lists_of_cases_and_conditions(record):
    schema = pa.schema([("x", pa.float64())])
    recorder = record(schema)
    x = recorder.column(0)
    bins = [recorder.call("less_equal", x, float(i)) for i in range(1_000)]
    binned = recorder.call("case_when", recorder.call("make_struct", *bins), *map(float, range(1_001)))
    any_equal = recorder.call("equal", x, -1.0)
    for i in range(1_000):
        any_equal = recorder.call("or", any_equal, recorder.call("equal", x, float(i)))
    recorder.set(0, "x", recorder.call("if_else", any_equal, binned, -1.0))
    operator = recorder.operator(schema)
    for value, wanted in [(0.0, 0.0), (-5.0, -1.0), (730.0, 730.0), (999.0, 999.0), (1e9, -1.0), (math.nan, -1.0)]:
        assert operator._by_rows.run(Batch(Schema.from_arrow(schema), 1, rows=[(value,)])).rows() == [(wanted,)]
