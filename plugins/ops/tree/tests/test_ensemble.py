import math

import numpy as np
import pyarrow as pa
import pytest
from sfs_op_tree.ensemble import TreeEnsemblePredict

from sfs_core import Batch, ErrorCode, FeatureError, GraphError


@pytest.fixture(scope="module")
def ensemble(make):
    def make_ensemble(num_trees, parents=None, **more):
        names = tuple(f"tree{i}" for i in range(num_trees if parents is None else parents))
        values = {"input_col_name": "weight", "output_col_name": "score", "num_trees": num_trees}
        return make(TreeEnsemblePredict, parents=names, **values, **more)

    return make_ensemble


def tables(operator, *columns):
    schema = operator.input_schemas()[0]
    return [Batch.from_columns(schema, [np.array(column)], len(column)) for column in columns]


@pytest.mark.parametrize("num_rows", [1, 2, 100])
@pytest.mark.parametrize("num_trees", [1, 3])
def test_adds_the_trees_and_the_base_score(ensemble, context, num_rows, num_trees):
    operator = ensemble(num_trees, base_score=0.5, algo_func="LF_SIGMOID_RAW")
    columns = [[0.25 * tree - row for row in range(num_rows)] for tree in range(num_trees)]
    out = operator.compute(context, *tables(operator, *columns))
    assert out.schema is operator.output_schema()
    assert len(operator.input_schemas()) == num_trees
    expected = [1 / (1 + math.exp(-sum(row) - 0.5)) for row in zip(*columns, strict=True)]
    assert out.float64(0).tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("num_rows", [1, 5])
def test_adds_in_the_order_of_the_parents(ensemble, context, num_rows):
    operator = ensemble(3)
    first, second, third = tables(operator, *([value] * num_rows for value in (1e16, -1e16, 1.0)))
    assert operator.compute(context, first, second, third).float64(0).tolist() == [1.0] * num_rows
    assert operator.compute(context, first, third, second).float64(0).tolist() == [0.0] * num_rows


def test_a_package_of_version_0_0_1_has_no_base_score(ensemble, context):
    operator = ensemble(1, version="0.0.1")
    assert operator.compute(context, *tables(operator, [0.25])).float64(0).tolist() == [0.25]


@pytest.mark.parametrize("num_rows", [1, 5])
def test_nulls_are_refused(ensemble, context, num_rows):
    operator = ensemble(1)
    column = pa.array([0.5] * (num_rows - 1) + [None], pa.float64())
    with pytest.raises(FeatureError, match=f"row {num_rows - 1}: null") as raised:
        operator.compute(context, Batch.from_columns(operator.input_schemas()[0], [column], num_rows))
    assert raised.value.code == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("num_trees", "parents"), [(3, 2), (2, 3), (0, 0), (-1, 1)])
def test_the_number_of_trees_must_be_that_of_the_parents(ensemble, num_trees, parents):
    with pytest.raises(GraphError) as raised:
        ensemble(num_trees, parents)
    assert (raised.value.code, raised.value.node) == (ErrorCode.LOGIC_ERROR, "node")


@pytest.mark.parametrize("link", ["LF_EXP_TAYLOR", "UNKNOWN_LF_TYPE", "LF_NO_SUCH", ""])
def test_link_functions_that_can_only_fail_are_refused_at_load(ensemble, link):
    with pytest.raises(GraphError) as raised:
        ensemble(1, algo_func=link)
    assert (raised.value.code, raised.value.node) == (ErrorCode.UNEXPECTED_ERROR, "node")
