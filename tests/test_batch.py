"""Schema and Batch: interning, the three forms, conversions that must refuse."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import Batch, ErrorCode, FeatureError, GraphError, Projector, Schema, SfsError

FLOATS = Schema([("x", pa.float64()), ("y", pa.float64())])
MIXED = Schema([("name", pa.utf8()), ("age", pa.int64()), ("rate", pa.float64()), ("small", pa.int8())])

numbers = st.floats(allow_nan=False)
mixed_rows = st.lists(
    st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), numbers, st.integers(-128, 127)), max_size=20
)


def test_equal_schemas_are_one_object() -> None:
    assert Schema([("x", pa.float64()), ("y", pa.float64())]) is FLOATS
    assert Schema.from_arrow(FLOATS.arrow.with_metadata({"a": "b"})) is FLOATS
    assert pickle.loads(pickle.dumps(FLOATS)) is FLOATS
    strict = Schema.from_arrow(pa.schema([pa.field("x", pa.float64(), nullable=False)]))
    assert strict is not Schema([("x", pa.float64())])


def test_schemas_nobody_uses_are_forgotten() -> None:
    before = len(Schema._known)
    for i in range(100):
        Schema([(f"column {i}", pa.float64())])
    assert len(Schema._known) <= before + 1


@given(st.lists(st.tuples(numbers, numbers), max_size=20))
def test_float_forms_agree(rows: list[tuple[float, float]]) -> None:
    from_rows = Batch.from_rows(FLOATS, rows)
    from_matrix = Batch.from_matrix(FLOATS, np.array(rows, np.float64).reshape(-1, 2))
    from_arrow = Batch.from_arrow(from_rows.to_arrow())
    assert from_rows.form == "rows"
    assert from_matrix.form == "matrix"
    assert from_arrow.form == "columns"
    for batch in (from_rows, from_matrix, from_arrow):
        assert batch.num_rows == len(rows)
        assert list(batch.rows()) == rows
        assert batch.matrix().tolist() == [list(row) for row in rows]
        assert batch.to_arrow().equals(from_rows.to_arrow())


@given(mixed_rows)
def test_mixed_rows_survive_arrow(rows: list[tuple[str, int, float, int]]) -> None:
    batch = Batch.from_rows(MIXED, rows)
    assert list(batch.rows()) == rows
    assert list(Batch.from_arrow(batch.to_arrow()).rows()) == rows


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), st.data())
def test_take_and_projection_keep_rows_in_every_form(rows: list[tuple[float, float]], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    swapped = Schema([("y", pa.float64()), ("x", pa.float64())])
    expected = [(rows[i][1], rows[i][0]) for i in order]
    base = Batch.from_rows(FLOATS, rows)
    for batch in (base, Batch.from_matrix(FLOATS, base.matrix()), Batch.from_arrow(base.to_arrow())):
        assert list(Projector(swapped)(batch.take(order)).rows()) == expected


def test_a_table_without_columns_keeps_its_rows() -> None:
    batch = Batch(Schema(), 7, [])
    assert batch.to_arrow().num_rows == 7
    assert Batch.from_arrow(batch.to_arrow()).num_rows == 7
    assert list(batch.rows()) == [()] * 7
    assert batch.matrix().shape == (7, 0)


def test_nulls_never_become_numbers() -> None:
    batch = Batch.from_rows(FLOATS, [(1.0, 2.0), (3.0, None)])
    assert batch.form == "columns"
    for convert in (batch.matrix, batch.rows, lambda: batch.float64(1)):
        with pytest.raises(FeatureError, match=r"'y', row 1: null") as caught:
            convert()
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert batch.arrow(1).null_count == 1


def test_integers_that_float64_cannot_hold_are_refused() -> None:
    schema = Schema([("id", pa.int64())])
    assert Batch.from_rows(schema, [(2**53,), (-(2**53),)]).float64(0).tolist() == [2.0**53, -(2.0**53)]
    for value in (2**53 + 1, -(2**53) - 1):
        with pytest.raises(SfsError, match="row 1") as caught:
            Batch.from_rows(schema, [(0,), (value,)]).matrix()
        assert caught.value.code == ErrorCode.UNEXPECTED_ERROR
        assert str(value) not in str(caught.value)


def test_nan_and_infinities_pass() -> None:
    matrix = Batch.from_rows(FLOATS, [(math.nan, math.inf), (-math.inf, 0.0)]).matrix()
    assert np.isnan(matrix[0, 0])
    assert matrix[0, 1] == math.inf


def test_errors_name_the_place_and_never_the_value() -> None:
    with pytest.raises(FeatureError, match=r"'age', row 1") as caught:
        Batch.from_rows(MIXED, [("a", 1, 1.0, 1), ("b", "secret", 1.0, 1)])
    assert "secret" not in str(caught.value)
    with pytest.raises(FeatureError, match=r"'small', row 0"):
        Batch.from_rows(MIXED, [("a", 1, 1.0, 128)])
    with pytest.raises(FeatureError, match="row 0 has 1 values"):
        Batch.from_rows(MIXED, [("a",)])
    with pytest.raises(FeatureError, match="int64"):
        Batch.from_columns(FLOATS, [np.zeros(2), np.zeros(2, np.int64)], 2)
    with pytest.raises(FeatureError, match="2 rows are expected"):
        Batch.from_columns(FLOATS, [np.zeros(2), np.zeros(3)], 2)
    with pytest.raises(FeatureError, match="not numbers"):
        Batch.from_rows(MIXED, [("a", 1, 1.0, 1)]).matrix()


def test_projection_refuses_missing_ambiguous_and_retyped_columns() -> None:
    batch = Batch.from_rows(FLOATS, [(1.0, 2.0)])
    with pytest.raises(GraphError, match="'z' is missing") as caught:
        Projector(Schema([("z", pa.float64())]))(batch)
    assert caught.value.code == ErrorCode.LOGIC_ERROR
    with pytest.raises(GraphError, match="int64 is needed") as caught:
        Projector(Schema([("x", pa.int64())]))(batch)
    assert caught.value.code == ErrorCode.UNEXPECTED_ERROR
    twice = Batch(Schema([("x", pa.float64()), ("x", pa.float64())]), 1, None, None, [(1.0, 2.0)])
    with pytest.raises(GraphError, match="ambiguous"):
        Projector(Schema([("x", pa.float64())]))(twice)


def test_a_projector_forgets_schemas_instead_of_growing() -> None:
    project = Projector(Schema([("x", pa.float64())]))
    for i in range(200):
        schema = Schema([("x", pa.float64()), (f"extra {i}", pa.float64())])
        assert project(Batch(schema, 1, None, None, [(1.0, 2.0)])).rows() == [(1.0,)]
    assert len(project._known) <= 64


def test_binary_blocks_become_binary_arrays() -> None:
    schema = Schema([("select", pa.binary())])
    block = np.arange(6, dtype=np.uint8).reshape(3, 2)
    batch = Batch.from_columns(schema, [block], 3)
    assert batch.to_arrow().column(0).to_pylist() == [b"\0\1", b"\2\3", b"\4\5"]
    assert batch.rows() == [(b"\0\1",), (b"\2\3",), (b"\4\5",)]
    empty = Batch.from_columns(schema, [np.empty((3, 0), np.uint8)], 3)
    assert empty.to_arrow().column(0).to_pylist() == [b"", b"", b""]


def test_parts_have_the_same_rows_in_every_form() -> None:
    rows = [(float(i), -float(i)) for i in range(5)]
    matrix = np.array(rows)
    forms = [
        Batch.from_rows(FLOATS, rows),
        Batch.from_matrix(FLOATS, matrix),
        Batch.from_columns(FLOATS, [matrix[:, 0].copy(), pa.array(matrix[:, 1])], 5),
    ]
    for batch in forms:
        for start, end in [(0, 5), (1, 3), (2, 2)]:
            part = batch.part(start, end)
            assert (part.num_rows, part.form, list(part.rows())) == (end - start, batch.form, rows[start:end])
