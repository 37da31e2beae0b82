"""One decision tree as a party knows it: which leaves the splits over its own features leave possible.

Sets of leaves are integers: bit i is leaf i of `leaf_node_ids`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sfs_core import GraphError

__all__ = ["NO_NODE", "Node", "Split", "inseparable", "leaves_left", "leaves_of", "read_splits"]

NO_NODE: Final = -1
"""Id of a child that does not exist."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as its package has it.

    Args:
        left: id of the left child, or `NO_NODE`.
        right: id of the right child, or `NO_NODE`.
        feature: index of this party's feature that decides; negative where another party's does.
        value: rows whose feature is less than this go left; all others, NaN too, right.
    """

    left: int
    right: int
    feature: int
    value: float


@dataclass(frozen=True, slots=True)
class Split:
    """A decision over one of this party's features, with the sets of leaves below its two sides."""

    feature: int
    value: float
    left: int
    right: int


def read_splits(root: int, nodes: Mapping[int, Node], leaves: Sequence[int]) -> list[Split]:
    """This party's splits of the tree below `root`.

    Raises:
        GraphError: it is no tree over these leaves: one is listed twice or not reached, a node does not exist or is
            reached twice.
    """
    below = {leaf: 1 << i for i, leaf in enumerate(leaves)}
    if len(below) != len(leaves):
        raise GraphError("leaf_node_ids holds a leaf twice")
    splits = []
    for number in reversed(_parents_first(root, nodes, below.copy())):
        node = nodes[number]
        left, right = below[node.left], below[node.right]
        below[number] = left | right
        if node.feature >= 0:
            splits.append(Split(node.feature, node.value, left, right))
    missed = len(leaves) - below[root].bit_count()
    if missed:
        raise GraphError(f"{missed} of {len(leaves)} leaf_node_ids cannot be reached from root {root}")
    return splits


def _parents_first(root: int, nodes: Mapping[int, Node], leaves: Mapping[int, int]) -> list[int]:
    """Ids of the inner nodes that are reached from the root."""
    inner, seen, pending = [], set(), [root]
    while pending:
        number = pending.pop()
        if number not in nodes:
            raise GraphError(f"node_ids lacks node {number}: the root, or a child of a node that is no leaf")
        if number in seen:
            raise GraphError(f"tree node {number} is reached twice from root {root}: a cycle, or two parents")
        seen.add(number)
        if number not in leaves:
            inner.append(number)
            pending += (nodes[number].left, nodes[number].right)
    return inner


def leaves_left(
    splits: Sequence[Split], num_leaves: int, features: Mapping[int, npt.NDArray[np.float64]], num_rows: int
) -> list[int]:
    """For each row the set of leaves that no split excludes.

    Args:
        splits: of this party.
        num_leaves: of the tree.
        features: by index; those that the splits ask for.
        num_rows: length of each.
    """
    left = [(1 << num_leaves) - 1] * num_rows
    for split in splits:
        goes_left = (features[split.feature] < split.value).tolist()
        keep_left, keep_right = ~split.right, ~split.left
        left = [old & (keep_left if is_left else keep_right) for old, is_left in zip(left, goes_left, strict=True)]
    return left


def leaves_of(selection: int) -> list[int]:
    """The leaves of a set."""
    return [leaf for leaf, bit in enumerate(reversed(bin(selection))) if bit == "1"]


def inseparable(splits: Sequence[Split], num_leaves: int) -> list[int]:
    """For each leaf the first one that this party's splits never tell apart from it: both are left, or neither is."""
    first: dict[tuple[int, ...], int] = {}
    sides = [
        tuple((split.left >> leaf & 1) - (split.right >> leaf & 1) for split in splits) for leaf in range(num_leaves)
    ]
    return [first.setdefault(side, leaf) for leaf, side in enumerate(sides)]
