import math

import numpy as np
import pyarrow as pa
import pytest
from sfs_op_tree.select import TreeSelect

from sfs_core import Batch, ErrorCode, FeatureError, GraphError, Schema, SfsError

# Node 0 splits x0 at 1.5; its left child 1 is another party's; its right child 2 splits x1 at 0.
#        0
#     1     2
#    3 4   5 6
TREE = {
    "root_node_id": 0,
    "node_ids": [0, 1, 2, 3, 4, 5, 6],
    "lchild_ids": [1, 3, 5, -1, -1, -1, -1],
    "rchild_ids": [2, 4, 6, -1, -1, -1, -1],
    "split_feature_idxs": [0, -1, 1, -1, -1, -1, -1],
    "split_values": [1.5, math.inf, 0.0, 0.0, 0.0, 0.0, 0.0],
    "leaf_node_ids": [3, 4, 5, 6],
}
NO_TREE = {name: [] for name in TREE if name != "root_node_id"}


def attributes(names=("x0", "x1"), types=None, **more):
    types = types or ["DT_DOUBLE"] * len(names)
    features = {"input_feature_names": list(names), "input_feature_types": types, "output_col_name": "select"}
    return features | TREE | more


def selections(operator, context, batch):
    out = operator.compute(context, batch)
    assert out.schema is operator.output_schema()
    assert out.column(0).shape[0] == batch.num_rows
    return [value.hex(" ") for value in out.arrow(0).to_pylist()]


@pytest.mark.parametrize("repeat", [1, 50])
def test_own_splits_decide_and_others_stay_open(make, context, repeat):
    operator = make(TreeSelect, **attributes())
    below = math.nextafter(1.5, 0)
    expected = {
        (below, 9.0): "04 03",
        (1.5, -1.0): "04 04",  # equality goes right
        (1.5, -0.0): "04 08",
        (math.nan, -1.0): "04 04",  # NaN goes right
        (math.nan, math.nan): "04 08",
        (math.inf, -math.inf): "04 04",
        (-math.inf, math.inf): "04 03",
    }
    schema, rows = operator.input_schemas()[0], list(expected) * repeat
    for batch in (Batch.from_rows(schema, rows), Batch.from_matrix(schema, np.array(rows))):
        assert selections(operator, context, batch) == list(expected.values()) * repeat


@pytest.mark.parametrize("num_rows", [1, 20])
def test_split_values_nothing_is_less_than_always_go_right(make, context, num_rows):
    for value in (math.nan, -math.inf):
        operator = make(TreeSelect, **attributes(split_values=[value, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
        batch = Batch.from_rows(operator.input_schemas()[0], [(-math.inf, -1.0)] * num_rows)
        assert selections(operator, context, batch) == ["04 04"] * num_rows


@pytest.mark.parametrize("num_rows", [0, 1, 20])
def test_a_dummy_tree_gives_zero_length_values(make, context, num_rows):
    for names in ((), ("x0",)):
        operator = make(TreeSelect, **attributes(names, **NO_TREE))
        batch = Batch.from_rows(Schema([("any", pa.utf8())]), [("a",)] * num_rows)
        assert selections(operator, context, batch) == [""] * num_rows


@pytest.mark.parametrize("num_rows", [0, 1, 20])
def test_without_own_features_all_leaves_stay_open_whatever_the_table_holds(make, context, num_rows):
    operator = make(TreeSelect, **attributes((), split_feature_idxs=[-1] * 7))
    batch = Batch.from_rows(Schema([("any", pa.utf8())]), [("a",)] * num_rows)
    assert selections(operator, context, batch) == ["04 0f"] * num_rows


@pytest.mark.parametrize("num_rows", [1, 20])
def test_a_tree_may_be_a_single_leaf(make, context, num_rows):
    single = {name: values[3:4] for name, values in TREE.items() if name not in ("root_node_id", "leaf_node_ids")}
    operator = make(TreeSelect, **attributes(root_node_id=3, leaf_node_ids=[3], **single))
    batch = Batch.from_rows(operator.input_schemas()[0], [(0.0, 0.0)] * num_rows)
    assert selections(operator, context, batch) == ["07 01"] * num_rows


@pytest.mark.parametrize("num_rows", [1, 20])
@pytest.mark.parametrize("name", ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "FLOAT"])
def test_every_numeric_type_is_compared_as_float64(make, context, name, num_rows):
    operator = make(TreeSelect, **attributes(("x0",), [f"DT_{name}"], split_feature_idxs=[0, -1, -1, -1, -1, -1, -1]))
    schema = operator.input_schemas()[0]
    for value, expected in ((1, "04 03"), (2, "04 0c")):
        column = np.full(num_rows, value, schema.types[0].to_pandas_dtype())
        for made in (column, pa.array(column)):
            assert selections(operator, context, Batch.from_columns(schema, [made], num_rows)) == [expected] * num_rows


@pytest.mark.parametrize("num_rows", [1, 20])
def test_nulls_and_inexact_integers_are_refused(make, context, num_rows):
    operator = make(TreeSelect, **attributes(types=["DT_INT64", "DT_DOUBLE"]))
    schema = operator.input_schemas()[0]
    good = [(1, 1.0)] * (num_rows - 1)
    for row in ((None, 1.0), (1, None)):
        with pytest.raises(FeatureError, match=f"row {num_rows - 1}: null") as raised:
            operator.compute(context, Batch.from_rows(schema, [*good, row]))
        assert raised.value.code == ErrorCode.INVALID_ARGUMENT
    for batch in (
        Batch.from_rows(schema, [*good, (2**53 + 1, 1.0)]),
        Batch(schema, num_rows, rows=[*good, (2**53 + 1, 1.0)]),
    ):
        with pytest.raises(SfsError, match=f"row {num_rows - 1}: an integer beyond") as raised:
            operator.compute(context, batch)
        assert raised.value.code == ErrorCode.UNEXPECTED_ERROR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_feature_names": ["x0", "x0"]}, "input_feature_names holds an item twice"),
        ({"input_feature_names": ["x0"]}, "1 input_feature_names"),
        ({"node_ids": [0, 1, 2, 3, 4, 5, 5]}, "node_ids holds an item twice"),
        ({"lchild_ids": [1, 3, 3, -1, -1, -1, -1]}, "lchild_ids holds an item twice"),
        ({"rchild_ids": [2, 6, 6, -1, -1, -1, -1]}, "rchild_ids holds an item twice"),
        ({"split_values": [0.0]}, "differ in length"),
        ({"split_feature_idxs": [2, -1, 1, -1, -1, -1, -1]}, "split_feature_idxs holds 2, there are 2 features"),
        ({"leaf_node_ids": [3, 4, 5, 6, 3]}, "leaf_node_ids holds a leaf twice"),
        ({"leaf_node_ids": [3, 4, 5, 6, 7]}, "1 of 5 leaf_node_ids cannot be reached"),
        ({"leaf_node_ids": [3, 4, 5]}, "lacks node -1"),
        ({"leaf_node_ids": []}, "lacks node -1"),
        ({"root_node_id": 9}, "lacks node 9"),
        ({"root_node_id": 1}, "2 of 4 leaf_node_ids cannot be reached"),
        ({"lchild_ids": [1, -1, 5, -1, -1, -1, -1]}, "lacks node -1"),
        ({"lchild_ids": [1, 3, 8, -1, -1, -1, -1]}, "lacks node 8"),
        ({"lchild_ids": [1, 0, 5, -1, -1, -1, -1]}, "node 0 is reached twice"),  # a cycle
        ({"lchild_ids": [1, 1, 5, -1, -1, -1, -1]}, "lchild_ids holds an item twice"),
        ({"lchild_ids": [1, 3, 4, -1, -1, -1, -1]}, "node 4 is reached twice"),  # two parents
    ],
)
def test_what_is_no_tree_is_refused_at_load(make, change, message):
    with pytest.raises(GraphError, match=message) as raised:
        make(TreeSelect, **attributes(**change))
    assert (raised.value.code, raised.value.node) == (ErrorCode.LOGIC_ERROR, "node")


@pytest.mark.parametrize(
    ("type_", "code"), [("DT_STRING", ErrorCode.INVALID_ARGUMENT), ("DT_XX", ErrorCode.UNEXPECTED_ERROR)]
)
def test_features_must_be_numeric(make, type_, code):
    with pytest.raises(GraphError) as raised:
        make(TreeSelect, **attributes(types=["DT_DOUBLE", type_]))
    assert raised.value.code == code


def test_a_tree_as_deep_as_it_has_nodes_needs_no_recursion(make, context):
    depth = 3000  # node i has leaf depth + i left and node i + 1 right
    ids = [*range(depth), *range(depth, 2 * depth + 1)]
    operator = make(
        TreeSelect,
        **attributes(
            node_ids=ids,
            lchild_ids=[depth + i for i in range(depth)] + [-1] * (depth + 1),
            rchild_ids=[*range(1, depth), 2 * depth] + [-1] * (depth + 1),
            split_feature_idxs=[0] * depth + [-1] * (depth + 1),
            split_values=[float(i) for i in range(depth)] + [0.0] * (depth + 1),
            leaf_node_ids=ids[depth:],
        ),
    )
    batch = Batch.from_rows(operator.input_schemas()[0], [(1233.5, 0.0)])
    selected = np.unpackbits(operator.compute(context, batch).column(0)[0, 1:], bitorder="little")
    assert np.flatnonzero(selected).tolist() == [1234]
