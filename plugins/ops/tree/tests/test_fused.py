"""Fused plans against plans of single nodes: the same tables, scores and errors."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sfs_op_tree.ensemble import TreeEnsemblePredict
from sfs_op_tree.forest import forests
from sfs_op_tree.merge import TreeMerge
from sfs_op_tree.select import TreeSelect
from sfs_op_tree.structure import Split, Tree

from sfs_core import Batch, ComputeContext, ErrorCode, NodeSpec, Schema, SfsError, TableBlock
from sfs_core.block import PartyBlocks
from sfs_core.engine.plan import Plan
from sfs_core.model.graph import Dispatch, Execution
from sfs_core.model.validation import CheckedExecution
from sfs_core.sdk.operator import AttributeValue

from .test_random_trees import FEATURES, VALUES, grow, select_attributes

CONTEXT = ComputeContext("alice", "alice")
ROWS = [0, 1, 2, 8, 9, 40, 300]


def operator(cls, name, parents=(), **values):
    cases = {attribute.name: attribute.case for attribute in cls.definition.attributes}
    attributes = {key: AttributeValue(cases[key], value) for key, value in values.items()}
    return cls(NodeSpec(name, cls.definition.name, cls.definition.version, parents, attributes))


def plans(operators, outputs, outside=()):
    """The same execution with and without fusions."""
    nodes = {op.node.name: op for op in operators}
    names = tuple(nodes)
    checked = CheckedExecution(Execution(0, names, Dispatch.ALL), names, names, tuple(outputs), tuple(outside))
    return Plan(checked, nodes), Plan(checked, nodes, fuse=False)


def outcome(plan, *inputs):
    """What a plan returns as Arrow, or the error as its reader sees it."""
    try:
        tables = plan.run(CONTEXT, *inputs)
    except SfsError as error:
        return type(error), error.code, error.node, error.message
    return {name: (table.schema, table.arrow(0).to_pylist()) for name, table in tables.items()}


class Ensemble:
    """Random trees over random parties; some parties know nothing of some trees."""

    def __init__(self, random_, trees, parties, most_leaves):
        self.parties = parties
        self.leaves = [random_.randint(1, most_leaves) for _ in range(trees)]
        self.selects = [[] for _ in range(parties)]
        for i, count in enumerate(self.leaves):
            owners = random_.choice([parties, parties, 1])
            nodes = grow(random_, count, owners)
            ends = random_.sample([node for node in nodes if node.left is None], count)
            for party, selects in enumerate(self.selects):
                attributes = select_attributes(random_, nodes, ends, party) | {"root_node_id": nodes[0].id}
                if party >= owners and random_.random() < 0.8:
                    empty = ("node_ids", "lchild_ids", "rchild_ids", "split_feature_idxs", "split_values")
                    attributes |= {key: [] for key in (*empty, "leaf_node_ids")}
                selects.append(operator(TreeSelect, f"select_{i}", **attributes))
        merges = [
            operator(
                TreeMerge,
                f"merge_{i}",
                (f"select_{i}",),
                input_col_name="select",
                output_col_name="weight",
                leaf_weights=[random_.gauss(0, 1) for _ in range(count)],
            )
            for i, count in enumerate(self.leaves)
        ]
        link = random_.choice(["LF_SIGMOID_RAW", "LF_IDENTITY", "LF_EXP", "LF_SIGMOID_T7"])
        last = operator(
            TreeEnsemblePredict,
            "score",
            tuple(random_.sample([merge.node.name for merge in merges], trees)),
            input_col_name="weight",
            output_col_name="score",
            num_trees=trees,
            base_score=0.5,
            algo_func=link,
        )
        names = [f"select_{i}" for i in range(trees)]
        self.select_plans = [plans(selects, names) for selects in self.selects]
        self.fused, self.single = plans([*merges, last], ["score"], names)

    def tables(self, random_, num_rows):
        """Every party's selections as they come from fused nodes, from the wire, or from a table of another form."""
        found = {f"select_{i}": [] for i in range(len(self.leaves))}
        forms = random_.choice([["as it is"], ["as it is", "as it is", "arrow", "apart"]])
        for fused, single in self.select_plans:
            rows = [
                tuple(random_.choice([*VALUES, random_.gauss(0, 1)]) for _ in range(FEATURES)) for _ in range(num_rows)
            ]
            schema = Schema([(f"x{i}", pa.float64()) for i in range(FEATURES)])
            by_rows = Batch(schema, num_rows, rows=rows)
            by_matrix = Batch(schema, num_rows, matrix=np.array(rows, np.float64).reshape(num_rows, FEATURES))
            expected = outcome(single, by_rows, {})
            assert outcome(fused, by_rows, {}) == outcome(fused, by_matrix, {}) == expected
            for name, table in fused.run(CONTEXT, random_.choice([by_rows, by_matrix]), {}).items():
                found[name].append(_in_form(random_.choice(forms), table))
        return found


def _in_form(form, table):
    if form == "arrow":
        return Batch.from_arrow(table.to_arrow())
    if form == "apart":  # not contiguous
        return Batch(table.schema, table.num_rows, [np.repeat(table.column(0), 2, 1)[:, ::2]])
    return table


@settings(max_examples=50, deadline=None)
@example(seed=0, trees=130, parties=2, most_leaves=70, num_rows=300)
@example(seed=1, trees=130, parties=3, most_leaves=33, num_rows=1)
@example(seed=2, trees=65, parties=2, most_leaves=5, num_rows=0)
@given(
    seed=st.integers(0, 2**32),
    trees=st.integers(1, 40),
    parties=st.integers(2, 3),
    most_leaves=st.sampled_from([1, 8, 33, 70]),
    num_rows=st.sampled_from(ROWS),
)
def test_any_ensemble_gives_the_same(seed, trees, parties, most_leaves, num_rows):
    random_ = random.Random(seed)
    ensemble = Ensemble(random_, trees, parties, most_leaves)
    assert len(ensemble.fused.fused) == 1
    assert [len(fused.fused) for fused, _ in ensemble.select_plans] == [int(trees > 1)] * parties
    tables = ensemble.tables(random_, num_rows)
    (score,) = ensemble.fused.run(CONTEXT, None, tables).values()
    (expected,) = ensemble.single.run(CONTEXT, None, tables).values()
    np.testing.assert_allclose(score.float64(0), expected.float64(0), rtol=1e-12)
    blocks = as_blocks(random_, tables)
    assert blocks is None or outcome(ensemble.fused, None, blocks) == outcome(ensemble.fused, None, tables)


def as_blocks(random_, tables):
    """The tables as a block per party, whose nodes stand in any order; None where they are of no such kind."""
    names = random_.sample(list(tables), len(tables))
    parties = [{name: tables[name][i] for name in names} for i in range(len(tables[names[0]]))]
    return PartyBlocks.of([TableBlock.of(party) for party in parties])


# ------------------------------------------------------------------------ hostile selections
def damaged(random_, table):
    """A party's table with something wrong in it, or by chance nothing."""
    values = table.arrow(0).to_pylist()
    kind = random_.choice(["rows", "null", "bytes", "longer", "shorter", "padding", "nothing", "none", "all"])
    row = random_.randrange(len(values))
    value = values[row]
    if None in values:
        return table
    if kind == "rows":
        values = values * 2
    elif kind == "longer":
        values = [value + b"\0" for value in values]
    elif kind == "shorter":
        values = [value[:-1] for value in values]
    else:
        values[row] = {
            "null": None,
            "bytes": random_.randbytes(len(value)),
            "padding": bytes([value[0] ^ 1]) + value[1:] if value else b"\1",
            "nothing": b"",
            "none": value[:1] + bytes(len(value) - 1) if value else b"",
            "all": value[:1] + b"\xff" * (len(value) - 1) if value else b"",
        }[kind]
    array = pa.array(values, pa.binary())
    sizes = {None if value is None else len(value) for value in values}
    if len(sizes) == 1 and None not in sizes and random_.random() < 0.7:
        block = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1 if sizes != {0} else 0)
        return Batch(table.schema, len(values), [block])
    return Batch(table.schema, len(values), [array])


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    trees=st.sampled_from([1, 3, 10, 70]),
    damages=st.integers(1, 3),
    num_rows=st.sampled_from([1, 2, 9, 40]),
)
def test_hostile_selections_give_the_same_error(seed, trees, damages, num_rows):
    random_ = random.Random(seed)
    ensemble = Ensemble(random_, trees, 2, random_.choice([8, 20]))
    tables = ensemble.tables(random_, num_rows)
    for _ in range(damages):
        name = random_.choice(list(tables))
        party = random_.randrange(2)
        tables[name][party] = damaged(random_, tables[name][party])
    expected = outcome(ensemble.single, None, tables)
    assert outcome(ensemble.fused, None, tables) == expected
    blocks = as_blocks(random_, tables)
    assert blocks is None or outcome(ensemble.fused, None, blocks) == expected


def two_trees():
    """Merges of one weight each, so that zero-length selections will do."""
    names = ["select_0", "select_1"]
    one = {"input_col_name": "select", "output_col_name": "weight", "leaf_weights": [2.0]}
    merges = [operator(TreeMerge, f"merge_{i}", (name,), **one) for i, name in enumerate(names)]
    columns = {"input_col_name": "weight", "output_col_name": "score"}
    last = operator(TreeEnsemblePredict, "score", ("merge_0", "merge_1"), num_trees=2, **columns)
    schema = merges[0].input_schemas()[0]
    return plans([*merges, last], ["score"], names), lambda rows: Batch(schema, rows, [np.empty((rows, 0), np.uint8)])


@pytest.mark.parametrize(
    ("rows", "node"),
    [
        ([[1, 1], [1, 1]], ""),
        ([[1, 1], [1, 10]], "merge_1"),
        ([[10, 1], [1, 1]], "merge_0"),
        ([[1, 1], [10, 10]], "score"),  # NumPy would broadcast
        ([[1], [1, 1]], "merge_0"),
        ([[1, 1, 1], [1, 1]], ""),
        ([[1], [1]], "merge_0"),
    ],
)
def test_numbers_of_tables_and_rows(rows, node):
    (fused, single), table = two_trees()
    tables = {f"select_{i}": [table(count) for count in counts] for i, counts in enumerate(rows)}
    expected = outcome(single, None, tables)
    assert outcome(fused, None, tables) == expected
    assert expected[1:3] == (ErrorCode.LOGIC_ERROR, node) if node else expected["score"][1] == [4.0]


# ------------------------------------------------------------------------------- features
def split_at(name, feature, type_, value=0.5, parents=()):
    return operator(
        TreeSelect,
        name,
        parents,
        input_feature_names=[feature],
        input_feature_types=[type_],
        output_col_name=f"leaves of {name}",
        node_ids=[0, 1, 2],
        lchild_ids=[1, -1, -1],
        rchild_ids=[2, -1, -1],
        split_feature_idxs=[0, -1, -1],
        split_values=[value, 0.0, 0.0],
        leaf_node_ids=[1, 2],
    )


def unknown(name, feature, type_):
    lists = ("node_ids", "lchild_ids", "rchild_ids", "split_feature_idxs", "split_values", "leaf_node_ids")
    attributes = {key: [] for key in lists}
    names = {"input_feature_names": [feature], "input_feature_types": [type_], "output_col_name": "none"}
    return operator(TreeSelect, name, **names, **attributes)


@pytest.mark.parametrize("num_rows", [1, 9])
@pytest.mark.parametrize("value", [None, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1, 0, 1])
def test_nulls_and_large_integers(value, num_rows):
    table = pa.table({"a": pa.array([1.0] * num_rows), "n": pa.array([1] * (num_rows - 1) + [value], pa.int64())})
    a, n = split_at("a", "a", "DT_DOUBLE"), split_at("n", "n", "DT_INT64")
    for selects in ([a, n], [n, a], [a, unknown("n", "n", "DT_INT64")]):
        fused, single = plans(selects, [select.node.name for select in selects])
        assert len(fused.fused) == 1
        expected = outcome(single, Batch.from_arrow(table), {})
        assert outcome(fused, Batch.from_arrow(table), {}) == expected
        refused = value is None or abs(value) > 1 << 53
        assert isinstance(expected, tuple) == (refused and n in selects)


def test_features_go_by_name():
    selects = [split_at("t", "x", "DT_DOUBLE"), split_at("u", "y", "DT_FLOAT"), split_at("v", "x", "DT_DOUBLE", 3.0)]
    fused, single = plans(selects, ["t", "u", "v"])
    (nodes,) = fused.fused
    assert set(nodes) == {"t", "u", "v"}
    for x, y in [(0.0, 1.0), (1.0, 0.0), (3.0, 0.5)]:
        table = Batch.from_arrow(pa.table({"z": ["?"], "y": pa.array([y], pa.float32()), "x": [x]}))
        assert outcome(fused, table, {}) == outcome(single, table, {})


def test_one_name_of_two_types_and_other_tables_stay_apart():
    selects = [split_at("t", "x", "DT_DOUBLE"), split_at("u", "x", "DT_FLOAT")]
    assert plans(selects, ["t", "u"])[0].fused == ()
    selects = [split_at(f"{parent}{i}", "x", "DT_DOUBLE", parents=(parent,)) for parent in "pq" for i in range(2)]
    assert plans(selects, ["p0", "p1", "q0", "q1"], "pq")[0].fused == (("p0", "p1"), ("q0", "q1"))


# ----------------------------------------------------------------------------- what is fused
def merge_plan(outputs=("score",), last=("m0", "m1"), **more):
    merges = [
        operator(
            TreeMerge,
            f"m{i}",
            (f"s{i}",),
            input_col_name="select",
            **({"output_col_name": "weight", "leaf_weights": [1.0]} | more),
        )
        for i in range(2)
    ]
    columns = {"input_col_name": "weight", "output_col_name": "score"}
    ensemble = operator(TreeEnsemblePredict, "score", last, num_trees=len(last), **columns)
    return plans([*merges, ensemble], outputs, ["s0", "s1"])


def test_merges_are_fused_where_nobody_else_needs_them():
    assert merge_plan()[0].fused == (("m0", "m1", "score"),)
    assert merge_plan(outputs=("score", "m0"))[0].fused == ()
    assert merge_plan(last=("m0", "m0"))[0].fused == ()
    assert merge_plan(leaf_weights=[])[0].fused == (), "this party does not own the trees"
    assert merge_plan(output_col_name="other")[0].fused == ()


def test_forests_stay_small():
    random_ = random.Random(1)

    def tree(splits, leaves):
        return Tree(leaves, tuple(Split(random_.randrange(30), random_.gauss(0, 1), 1, 2) for _ in range(splits)))

    assert len(forests([])) == 1
    assert len(forests([tree(0, 8)] * 50)) == 1
    several = forests([tree(63, 64) for _ in range(200)])
    assert 1 < len(several) < 10
    assert sum(table.nbytes for forest in several for *_, table in forest._arrays) < 64 << 20
