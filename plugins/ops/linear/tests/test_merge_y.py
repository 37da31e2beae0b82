import math

import numpy as np
import pyarrow as pa
import pytest
from sfs_op_linear.merge_y import MergeY

from sfs_core import Batch, ErrorCode, FeatureError, GraphError


def attributes(link="LF_IDENTITY", **more):
    return {"link_function": link, "input_col_name": "y", "output_col_name": "score", **more}


def partials(operator, *columns):
    schema = operator.input_schemas()[0]
    return [Batch.from_columns(schema, [np.array(column)], len(column)) for column in columns]


@pytest.mark.parametrize("num_rows", [1, 2, 100])
@pytest.mark.parametrize("parties", [1, 2, 3])
def test_sums_links_and_scales(make, context, num_rows, parties):
    operator = make(MergeY, **attributes("LF_SIGMOID_RAW", yhat_scale=3.0))
    columns = [[0.1 * (party + 1) + row for row in range(num_rows)] for party in range(parties)]
    out = operator.compute(context, partials(operator, *columns))
    assert out.schema is operator.output_schema()
    expected = [3 / (1 + math.exp(-sum(row))) for row in zip(*columns, strict=True)]
    assert out.float64(0).tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("num_rows", [1, 5])
def test_adds_in_the_order_given(make, context, num_rows):
    operator = make(MergeY, **attributes())
    big, negative, small = ([value] * num_rows for value in (1e16, -1e16, 1.0))
    tables = partials(operator, big, negative, small)
    assert operator.compute(context, tables).float64(0).tolist() == [1.0] * num_rows
    assert operator.compute(context, [tables[0], tables[2], tables[1]]).float64(0).tolist() == [0.0] * num_rows


def test_taylor_takes_its_iterations(make, context):
    operator = make(MergeY, **attributes("LF_EXP_TAYLOR", exp_iters=5))
    assert operator.compute(context, partials(operator, [0.5])).float64(0)[0] == pytest.approx(1.6423595685978058)


@pytest.mark.parametrize("num_rows", [1, 5])
def test_nulls_and_missing_tables_are_refused(make, context, num_rows):
    operator = make(MergeY, **attributes())
    column = pa.array([0.5] * (num_rows - 1) + [None], pa.float64())
    null = Batch.from_columns(operator.input_schemas()[0], [column], num_rows)
    with pytest.raises(FeatureError, match=f"row {num_rows - 1}: null") as raised:
        operator.compute(context, [null])
    assert raised.value.code == ErrorCode.INVALID_ARGUMENT
    with pytest.raises(GraphError) as raised:
        operator.compute(context, [])
    assert raised.value.code == ErrorCode.LOGIC_ERROR


@pytest.mark.parametrize(
    ("link", "code"),
    [
        ("LF_UNKNOWN", ErrorCode.UNEXPECTED_ERROR),
        ("UNKNOWN_LF_TYPE", ErrorCode.UNEXPECTED_ERROR),
        ("LF_EXP_TAYLOR", ErrorCode.LOGIC_ERROR),
    ],
)
def test_link_functions_that_can_only_fail_are_refused_at_load(make, link, code):
    with pytest.raises(GraphError) as raised:
        make(MergeY, **attributes(link))
    assert (raised.value.code, raised.value.node) == (code, "node")
