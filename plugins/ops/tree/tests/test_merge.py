import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sfs_op_tree.merge import TreeMerge

from sfs_core import Batch, ErrorCode, GraphError

WEIGHTS = [float(i) for i in range(10)]
FILL = 20
"""So many good rows before the one that a test is about make the NumPy path run."""

ANYTHING = st.none() | st.binary(max_size=5)
NEARLY_GOOD = st.sampled_from([b"", b"\x06\x01\x00", b"\x06\x01\xfc", b"\x06\x03\x00", b"\x06\xff\xff"])


@pytest.fixture(scope="module")
def merge(make):
    return make(TreeMerge, input_col_name="select", output_col_name="weight", leaf_weights=WEIGHTS)


def table(operator, values):
    """A party's table as it comes from the wire."""
    array = pa.array(values, pa.binary())
    return Batch.from_columns(operator.input_schemas()[0], [array], len(values))


def forms(operator, values):
    """The same selections in each form a batch can have."""
    schema = operator.input_schemas()[0]
    yield table(operator, values)
    yield Batch.from_columns(schema, [pa.array([b"junk", *values, b""], pa.binary())[1:-1]], len(values))
    if None not in values:
        yield Batch(schema, len(values), rows=[(value,) for value in values])
    if len(set(map(len, filter(None, values)))) == 1 and all(values):
        block = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
        yield Batch.from_columns(schema, [block], len(values))
    if set(values) <= {b""}:
        yield Batch.from_columns(schema, [np.empty((len(values), 0), np.uint8)], len(values))


@pytest.mark.parametrize("before", [0, FILL])
@pytest.mark.parametrize(
    ("parties", "leaf"),
    [
        (["06 09 02", "06 08 00"], 3),
        (["06 09 02", "06 88 00"], 3),
        (["06 80 01", "06 00 01"], 8),
        (["06 ff ff", "06 00 02"], 9),  # all leaves, with the padding bits set
        (["06 ff ff", "06 00 fe"], 9),
        (["", "06 01 00"], 0),
        (["06 01 00", "", ""], 0),
        (["06 ff 03", "06 03 00", "06 06 00"], 1),
    ],
)
def test_the_leaf_that_all_leave(merge, context, parties, leaf, before):
    values = [[bytes.fromhex(party)] * (before + 1) for party in parties]
    for first in forms(merge, values[0]):
        for second in forms(merge, values[1]):
            tables = [first, second, *(table(merge, more) for more in values[2:])]
            out = merge.compute(context, tables)
            assert out.schema is merge.output_schema()
            assert out.float64(0).tolist() == [WEIGHTS[leaf]] * (before + 1)


@pytest.mark.parametrize("before", [0, FILL])
@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("06 09 02", "06 88 02"),  # two leaves left
        ("06 09 02", "06 06 00"),  # none
        ("", ""),  # all
        ("06 ff ff", "06 ff ff"),
        ("06 00 00", ""),
        ("06 00 fc", ""),  # nothing but padding bits
        ("06 01 00", "06 01"),  # too short
        ("06 01 00", "06 01 00 00"),  # too long
        ("06 01 00", "06"),
        ("06 01 00", "05 01 00"),  # another number of leaves
        ("06 01 00", "ff 01 00"),
        ("0e 01 00 00", "0e 01 00 00"),  # more leaves than weights, agreed by all
        ("06 01 00", None),
    ],
)
def test_hostile_selections_are_refused_with_their_row(merge, context, mine, theirs, before):
    good = [b"\x06\x01\x00"] * before
    for first in forms(merge, [*good, bytes.fromhex(mine)]):
        for second in forms(merge, [*good, None if theirs is None else bytes.fromhex(theirs)]):
            with pytest.raises(GraphError, match=f"row {before}:|row 0: a selection is not") as raised:
                merge.compute(context, [first, second])
            assert (raised.value.code, raised.value.node) == (ErrorCode.LOGIC_ERROR, "node")


@given(
    st.integers(1, 12).flatmap(
        lambda rows: st.tuples(*[st.lists(st.one_of(NEARLY_GOOD, ANYTHING), min_size=rows, max_size=rows)] * 2)
    )
)
def test_any_bytes_give_a_weight_or_code_7(merge, context, parties):
    tables = [table(merge, values) for values in parties]
    if expected := expected_weights(*parties):
        assert merge.compute(context, tables).float64(0).tolist() == expected
    else:
        with pytest.raises(GraphError) as raised:
            merge.compute(context, tables)
        assert raised.value.code == ErrorCode.LOGIC_ERROR


def expected_weights(mine, theirs):
    """What the rules say of each row's two selections; nothing if any row breaks them."""
    weights = []
    for pair in zip(mine, theirs, strict=True):
        left = set(range(len(WEIGHTS)))
        for value in pair:
            if value is None or (value and (len(value) != 3 or value[0] != 6)):
                return None
            if value:
                left &= {leaf for leaf in left if value[1 + leaf // 8] >> leaf % 8 & 1}
        if len(left) != 1:
            return None
        weights.append(WEIGHTS[left.pop()])
    return weights


@pytest.mark.parametrize("num_rows", [0, 1, FILL])
def test_one_leaf_needs_no_selection(make, context, num_rows):
    operator = make(TreeMerge, input_col_name="select", output_col_name="weight", leaf_weights=[0.5])
    out = operator.compute(context, [table(operator, [b""] * num_rows)] * 2)
    assert out.float64(0).tolist() == [0.5] * num_rows


@pytest.mark.parametrize("num_leaves", [1, 7, 8, 9, 63, 64, 65, 70])
@pytest.mark.parametrize("repeat", [1, FILL])
def test_each_leaf_has_its_bit(make, context, num_leaves, repeat):
    weights = [i + 0.5 for i in range(num_leaves)]
    operator = make(TreeMerge, input_col_name="select", output_col_name="weight", leaf_weights=weights)
    padding, size = -num_leaves % 8, (num_leaves + 7) // 8
    values = [bytes([padding]) + (1 << leaf).to_bytes(size, "little") for leaf in range(num_leaves)] * repeat
    out = operator.compute(context, [table(operator, values), table(operator, [b""] * len(values))])
    assert out.float64(0).tolist() == weights * repeat


def test_one_table_or_no_weights_are_refused(make, merge, context):
    selected = table(merge, [b"\x06\x01\x00"])
    poor = make(TreeMerge, input_col_name="select", output_col_name="weight")
    for operator, tables in ((merge, [selected]), (merge, []), (poor, [selected, selected])):
        with pytest.raises(GraphError) as raised:
            operator.compute(context, tables)
        assert raised.value.code == ErrorCode.LOGIC_ERROR
