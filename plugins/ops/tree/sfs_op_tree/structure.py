"""One decision tree as a party knows it: which leaves lie on which side of the splits of its own features.

Sets of leaves are integers: bit i is leaf i of `leaf_node_ids`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from typing import Final

from sfs_core import GraphError

__all__ = ["Branch", "Split", "Tree", "build_tree"]

NO_NODE: Final = -1
"""Id of a child that does not exist."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the tree as its package has it.

    Args:
        left: id of the left child, or `NO_NODE`.
        right: id of the right child, or `NO_NODE`.
        feature: index of this party's feature that decides; negative where another party's does.
        value: rows whose feature is less than this go left.
    """

    left: int
    right: int
    feature: int
    value: float


@dataclass(frozen=True, slots=True)
class Split:
    """A decision over one of this party's features: `x < value` goes left, everything else (NaN too) right.

    Args:
        feature: index of the feature.
        value: the split value, never NaN.
        left: the leaves below the left child.
        right: the leaves below the right child.
    """

    feature: int
    value: float
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A checked tree: how many leaves it has and where this party decides."""

    num_leaves: int
    splits: tuple[Split, ...]

    def over(self, columns: Sequence[int]) -> Tree:
        """The same tree for a table in which feature `i` is column `columns[i]`."""
        return Tree(self.num_leaves, tuple(replace(s, feature=columns[s.feature]) for s in self.splits))


def build_tree(root: int, branches: Mapping[int, Branch], leaves: Sequence[int]) -> Tree:
    """The tree below `root`.

    Args:
        root: id of the root.
        branches: all nodes by id; a leaf's children and feature are not looked at.
        leaves: ids of the leaves, in the order of the leaf weights.

    Raises:
        GraphError: it is no tree, so that it could only fail or score wrongly: a leaf listed twice, a node that does
            not exist or is reached twice (a cycle, or two parents), a leaf that is not reached.
    """
    position = {leaf: i for i, leaf in enumerate(leaves)}
    if len(position) != len(leaves):
        raise GraphError("leaf_node_ids holds a leaf twice")
    below: dict[int, int] = {}
    splits = []
    for node in reversed(_parents_first(root, branches, position)):
        if node in position:
            below[node] = 1 << position[node]
            continue
        branch = branches[node]
        left, right = below[branch.left], below[branch.right]
        below[node] = left | right
        if branch.feature >= 0:
            value = -inf if isnan(branch.value) else branch.value  # nothing is less than either, but -inf can be sorted
            splits.append(Split(branch.feature, value, left, right))
    unreached = len(leaves) - below[root].bit_count()
    if unreached:
        raise GraphError(f"{unreached} of {len(leaves)} leaf_node_ids cannot be reached from root {root}")
    return Tree(len(leaves), tuple(splits))


def _parents_first(root: int, branches: Mapping[int, Branch], leaves: Mapping[int, int]) -> list[int]:
    """Ids of all nodes that are reached from the root, parents before children."""
    order: list[int] = []
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if node not in branches:
            raise GraphError(f"node_ids lacks node {node}: the root, or a child of a node that is not in leaf_node_ids")
        if node in seen:
            raise GraphError(f"tree node {node} is reached twice from root {root}: a cycle, or two parents")
        seen.add(node)
        order.append(node)
        if node not in leaves:
            pending += (branches[node].left, branches[node].right)
    return order
