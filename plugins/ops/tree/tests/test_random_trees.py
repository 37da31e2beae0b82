"""Random trees whose splits belong to random parties: merged selections give the leaf that the whole tree reaches."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sfs_op_tree.merge import TreeMerge
from sfs_op_tree.select import TreeSelect

from sfs_core import Batch

FEATURES = 3
"""Of each party."""
VALUES = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, math.nextafter(1.0, 0), -1.0, 2.5, 1e300]
"""Few, so that features often equal split values."""


@dataclass
class Node:
    """A leaf when `left` is None; otherwise a split of feature `feature` of party `party`."""

    id: int
    left: Node | None = None
    right: Node | None = None
    party: int = 0
    feature: int = 0
    value: float = 0.0


def grow(random_: random.Random, leaves: int, parties: int) -> list[Node]:
    """All nodes of a tree, root first, with shuffled ids."""
    ids = random_.sample(range(-3 * leaves - 3, 3 * leaves), 2 * leaves - 1)
    ids = [id_ if id_ != -1 else 3 * leaves for id_ in ids]
    nodes = [Node(ids.pop())]
    frontier = [nodes[0]]
    while len(frontier) < leaves:
        node = frontier.pop(random_.randrange(len(frontier)))
        node.left, node.right = Node(ids.pop()), Node(ids.pop())
        node.party, node.feature = random_.randrange(parties), random_.randrange(FEATURES)
        node.value = random_.choice([*VALUES, random_.gauss(0, 1)])
        frontier += (node.left, node.right)
        nodes += (node.left, node.right)
    return nodes


def reached(node: Node, row: list[list[float]]) -> Node:
    """The leaf that a party who knew everything would reach."""
    while node.left is not None:
        node = node.left if row[node.party][node.feature] < node.value else node.right
    return node


def possible(node: Node, party: int, features: list[float]) -> set[int]:
    """Ids of the leaves that one party's features leave possible, by walking the tree."""
    if node.left is None:
        return {node.id}
    if node.party != party:
        return possible(node.left, party, features) | possible(node.right, party, features)
    return possible(node.left if features[node.feature] < node.value else node.right, party, features)


def select_attributes(random_: random.Random, nodes: list[Node], leaves: list[Node], party: int) -> dict[str, object]:
    nodes = random_.sample(nodes, len(nodes))
    return {
        "input_feature_names": [f"x{i}" for i in range(FEATURES)],
        "input_feature_types": ["DT_DOUBLE"] * FEATURES,
        "output_col_name": "select",
        "node_ids": [node.id for node in nodes],
        "lchild_ids": [node.left.id if node.left else -1 for node in nodes],
        "rchild_ids": [node.right.id if node.right else -1 for node in nodes],
        "split_feature_idxs": [node.feature if node.left and node.party == party else -1 for node in nodes],
        "split_values": [node.value if node.party == party else math.inf for node in nodes],
        "leaf_node_ids": [leaf.id for leaf in leaves],
    }


def selected_ids(value: bytes, leaves: list[Node]) -> set[int]:
    assert value[0] == -len(leaves) % 8
    assert len(value) == 1 + (len(leaves) + 7) // 8
    bits = int.from_bytes(value[1:], "little")
    assert bits < 1 << len(leaves)
    return {leaf.id for i, leaf in enumerate(leaves) if bits >> i & 1}


@settings(max_examples=60, deadline=None)
@example(seed=0, num_leaves=70, parties=3, num_rows=200)
@example(seed=1, num_leaves=64, parties=2, num_rows=1)
@example(seed=2, num_leaves=1, parties=2, num_rows=9)
@given(
    seed=st.integers(0, 2**32),
    num_leaves=st.integers(1, 70),
    parties=st.integers(2, 3),
    num_rows=st.sampled_from([1, 2, 8, 9, 50, 200]),
)
def test_merged_selections_are_the_leaf_of_the_whole_tree(make, context, seed, num_leaves, parties, num_rows):
    random_ = random.Random(seed)
    nodes = grow(random_, num_leaves, parties)
    leaves = random_.sample([node for node in nodes if node.left is None], num_leaves)
    rows = [
        [[random_.choice([*VALUES, random_.gauss(0, 1)]) for _ in range(FEATURES)] for _ in range(parties)]
        for _ in range(num_rows)
    ]
    made = []
    for party in range(parties):
        root = {"root_node_id": nodes[0].id}
        operator = make(TreeSelect, **root, **select_attributes(random_, nodes, leaves, party))
        features = [tuple(row[party]) for row in rows]
        schema = operator.input_schemas()[0]
        from_rows = operator.compute(context, Batch.from_rows(schema, features))
        from_matrix = operator.compute(context, Batch.from_matrix(schema, np.array(features)))
        assert from_rows.arrow(0).equals(from_matrix.arrow(0))
        for row, value in zip(rows, from_rows.arrow(0).to_pylist(), strict=True):
            assert selected_ids(value, leaves) == possible(nodes[0], party, row[party])
        made.append(from_rows if random_.random() < 0.5 else Batch.from_arrow(from_rows.to_arrow()))
    weights = [random_.gauss(0, 1) for _ in leaves]
    merge = make(TreeMerge, input_col_name="select", output_col_name="weight", leaf_weights=weights)
    weight_of = dict(zip((leaf.id for leaf in leaves), weights, strict=True))
    expected = [weight_of[reached(nodes[0], row).id] for row in rows]
    assert merge.compute(context, made).float64(0).tolist() == expected


@pytest.mark.parametrize("num_rows", [1, 200])
def test_one_party_may_own_everything(make, context, num_rows):
    random_ = random.Random(num_rows)
    nodes = grow(random_, 20, 1)
    leaves = [node for node in nodes if node.left is None]
    operator = make(TreeSelect, root_node_id=nodes[0].id, **select_attributes(random_, nodes, leaves, 0))
    rows = [tuple(random_.gauss(0, 1) for _ in range(FEATURES)) for _ in range(num_rows)]
    selected = operator.compute(context, Batch.from_rows(operator.input_schemas()[0], rows))
    nothing = Batch.from_columns(selected.schema, [np.empty((num_rows, 0), np.uint8)], num_rows)
    weights = [float(leaf.id) for leaf in leaves]
    merge = make(TreeMerge, input_col_name="select", output_col_name="weight", leaf_weights=weights)
    expected = [float(reached(nodes[0], [list(row)]).id) for row in rows]
    assert merge.compute(context, [nothing, selected]).float64(0).tolist() == expected
