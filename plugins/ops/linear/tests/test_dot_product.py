import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sfs_op_linear.dot_product import DotProduct

from sfs_core import Batch, ErrorCode, FeatureError, GraphError, Schema, SfsError


def attributes(count=2, *, types=None, weights=None, **more):
    return {
        "feature_names": [f"x{i}" for i in range(count)],
        "feature_weights": [float(i + 1) for i in range(count)] if weights is None else weights,
        "input_types": types or ["DT_DOUBLE"] * count,
        "output_col_name": "y",
        **more,
    }


def forms(schema, rows):
    """The same rows in each form a batch can have."""
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.empty(0)] * len(schema)
    return [
        Batch.from_rows(schema, rows),
        Batch.from_matrix(schema, np.array(rows).reshape(len(rows), len(schema))),
        Batch.from_columns(schema, columns, len(rows)),
        Batch.from_columns(schema, [pa.array(column) for column in columns], len(rows)),
    ]


def result(operator, context, batch):
    out = operator.compute(context, batch)
    assert out.schema is operator.output_schema()
    return out.float64(0).tolist()


@given(data=st.data(), num_rows=st.sampled_from([0, 1, 2, 4, 5, 100]), count=st.integers(1, 9))
def test_equals_the_sum_of_products_in_every_form(make, context, data, num_rows, count):
    numbers = st.floats(-1e3, 1e3)
    weights = data.draw(st.lists(numbers, min_size=count, max_size=count))
    row = st.tuples(*[numbers] * count)
    rows = data.draw(st.lists(row, min_size=min(num_rows, 5), max_size=min(num_rows, 5)))
    rows = [rows[i % len(rows)] for i in range(num_rows)] if rows else []
    operator = make(DotProduct, **attributes(count, weights=weights, intercept=0.25))
    expected = [math.fsum([*(x * w for x, w in zip(row, weights, strict=True)), 0.25]) for row in rows]
    for batch in forms(operator.input_schemas()[0], rows):
        assert result(operator, context, batch) == pytest.approx(expected, rel=1e-12, abs=1e-8)


@pytest.mark.parametrize("num_rows", [1, 10])
def test_not_a_number_and_infinity_are_computed_with(make, context, num_rows):
    operator = make(DotProduct, **attributes())
    for value in (math.nan, math.inf):
        for batch in forms(operator.input_schemas()[0], [(value, 1.0)] * num_rows):
            assert str(result(operator, context, batch)) == str([value] * num_rows)


@pytest.mark.parametrize("num_rows", [0, 1, 3, 1000])
def test_without_features_each_row_gets_the_intercept_whatever_the_table_holds(make, context, num_rows):
    operator = make(DotProduct, **attributes(0, intercept=0.5))
    assert operator.input_schemas() == [Schema()]
    nothing = Batch.from_rows(Schema(), [()] * num_rows)
    texts = Batch.from_rows(Schema([("name", pa.utf8())]), [("a",)] * num_rows)
    for batch in (nothing, texts):
        assert result(operator, context, batch) == [0.5] * num_rows


@pytest.mark.parametrize("num_rows", [1, 10])
@pytest.mark.parametrize("name", ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "FLOAT"])
def test_every_numeric_type_is_exact(make, context, name, num_rows):
    operator = make(DotProduct, **attributes(1, types=[f"DT_{name}"], weights=[0.1]))
    schema = operator.input_schemas()[0]
    value = np.array([100.1]).astype(schema.types[0].to_pandas_dtype())
    for column in (value.repeat(num_rows), pa.array(value.repeat(num_rows))):
        batch = Batch.from_columns(schema, [column], num_rows)
        assert result(operator, context, batch) == pytest.approx([float(value[0]) * 0.1] * num_rows, rel=1e-15)


@pytest.mark.parametrize("num_rows", [1, 10])
def test_nulls_and_inexact_integers_are_refused(make, context, num_rows):
    operator = make(DotProduct, **attributes(1, types=["DT_INT64"]))
    schema = operator.input_schemas()[0]
    with pytest.raises(FeatureError, match=f"row {num_rows - 1}: null") as null:
        operator.compute(context, Batch.from_rows(schema, [(1,)] * (num_rows - 1) + [(None,)]))
    assert null.value.code == ErrorCode.INVALID_ARGUMENT
    for big in (2**53 + 1, -(2**53) - 1):
        columns = Batch.from_rows(schema, [(1,)] * (num_rows - 1) + [(big,)])
        plain = Batch(schema, num_rows, rows=[(1,)] * (num_rows - 1) + [(big,)])
        for batch in (columns, plain):
            with pytest.raises(SfsError, match=f"row {num_rows - 1}: an integer beyond") as beyond:
                operator.compute(context, batch)
            assert beyond.value.code == ErrorCode.UNEXPECTED_ERROR
    exact = Batch.from_rows(schema, [(2**53,)] * num_rows)
    assert result(operator, context, exact) == [2.0**53] * num_rows


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"feature_names": ["x0", "x0"]}, ErrorCode.LOGIC_ERROR),
        ({"feature_weights": [1.0]}, ErrorCode.LOGIC_ERROR),
        ({"input_types": ["DT_DOUBLE"]}, ErrorCode.LOGIC_ERROR),
        ({"input_types": ["DT_DOUBLE", "DT_BOOL"]}, ErrorCode.INVALID_ARGUMENT),
        ({"input_types": ["DT_DOUBLE", "double"]}, ErrorCode.UNEXPECTED_ERROR),
        ({"version": "0.0.1"}, ErrorCode.LOGIC_ERROR),
        ({"version": ""}, ErrorCode.LOGIC_ERROR),
    ],
)
def test_wrong_nodes_are_refused_at_load(make, change, code):
    with pytest.raises(GraphError) as raised:
        make(DotProduct, **(attributes() | change))
    assert (raised.value.code, raised.value.node) == (code, "node")
