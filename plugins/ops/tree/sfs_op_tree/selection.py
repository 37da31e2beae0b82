"""Selections: sets of leaves as the bytes that parties exchange.

Byte 0 is the number of padding bits in the last byte; leaf i is bit i mod 8, counted from the least significant, of
byte 1 + i // 8. Read as one little-endian integer, a selection is `leaves << 8 | padding`, so an AND of selections of
one tree is the selection of the leaves they share. A zero-length value, from a party that knows nothing of the tree,
stands for all leaves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from operator import and_, attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from .structure import Split, Tree

__all__ = ["Block", "LeafTables", "SelectionFormat"]

Block = npt.NDArray[np.uint8]
"""Selections of equal length: rows x bytes."""


class SelectionFormat:
    """The form of the selections of a tree with `num_leaves` leaves.

    Attributes:
        padding: what byte 0 holds.
        width: number of bytes.
        leaves: the integer whose set bits are exactly those of leaves.
        all_leaves: the selection of all leaves as one integer.
    """

    def __init__(self, num_leaves: int) -> None:
        self.padding = -num_leaves % 8
        self.width = 1 + (num_leaves + self.padding) // 8
        self.leaves = ((1 << num_leaves) - 1) << 8
        self.all_leaves = self.leaves | self.padding

    def block(self, selections: Sequence[int]) -> Block:
        """Selections given as integers, as a block."""
        data = b"".join(selection.to_bytes(self.width, "little") for selection in selections)
        return np.frombuffer(data, np.uint8).reshape(len(selections), self.width)


class LeafTables:
    """Finds the leaves that a row of one party's features leaves possible in a tree.

    A row's value of a feature falls between two of the tree's sorted split values; for each such gap a table holds the
    selection that all splits of that feature together leave. The answer is the AND over the features.
    """

    def __init__(self, tree: Tree) -> None:
        self._format = SelectionFormat(tree.num_leaves)
        splits = defaultdict(list)
        for split in tree.splits:
            splits[split.feature].append(split)
        self._tables = [(feature, *_gap_selections(splits[feature])) for feature in sorted(splits)]
        self._arrays = [
            (feature, np.array(values), self._format.block([s & self._format.all_leaves for s in selections]))
            for feature, values, selections in self._tables
        ]
        self._all = self._format.block([self._format.all_leaves])

    def few(self, rows: Sequence[Sequence[Any]]) -> Block:
        """Selections of rows of Python numbers."""
        return self._format.block([self._one(row) for row in rows])

    def many(self, matrix: npt.NDArray[np.float64]) -> Block:
        """Selections of the rows of a matrix."""
        result = self.everything(len(matrix))
        for feature, values, selections in self._arrays:
            result &= selections.take(values.searchsorted(matrix[:, feature], "right"), 0)
        return result

    def everything(self, num_rows: int) -> Block:
        """All leaves, for each row."""
        return np.repeat(self._all, num_rows, 0)

    def _one(self, row: Sequence[Any]) -> int:
        selection = self._format.all_leaves
        for feature, values, selections in self._tables:
            selection &= selections[bisect_right(values, row[feature])]
        return selection


def _gap_selections(splits: Sequence[Split]) -> tuple[list[float], list[int]]:
    """Sorted split values of one feature, and for each gap between them the selection left; all other bits are set.

    `bisect_right` and `searchsorted` put a value that equals a split, and NaN, into a gap right of it.
    """
    ordered = sorted(splits, key=attrgetter("value"))
    went_right = accumulate((~(split.left << 8) for split in ordered), and_, initial=-1)
    went_left = accumulate((~(split.right << 8) for split in reversed(ordered)), and_, initial=-1)
    selections = [left & right for left, right in zip(reversed(list(went_left)), went_right, strict=True)]
    return [split.value for split in ordered], selections
