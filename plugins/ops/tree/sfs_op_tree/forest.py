"""Look-up tables for several trees at once, whose selections stand side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import and_, attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .selection import Block, SelectionFormat, as_block
from .structure import Split, Tree

__all__ = ["Forest", "forests"]

_FOREST_BYTES: Final = 4 << 20
"""Of one table form: about 100 trees of depth 6. Larger tables save little time and fall out of the caches."""
_TOTAL_BYTES: Final = 64 << 20
"""Of one table form, of all forests. There are two forms, integers and arrays."""


class Forest:
    """Finds the leaves that a row of one party's features leaves possible in each of some trees.

    A row's value of a feature falls between two of the trees' sorted split values; for each such gap a table holds the
    selections that all splits of that feature together leave. The answer is the AND over the features: the selections
    of all trees side by side.
    """

    def __init__(self, trees: Sequence[Tree]) -> None:
        formats = [SelectionFormat(tree.num_leaves) for tree in trees]
        starts = [0, *accumulate(form.width for form in formats)]
        self._width = starts[-1]
        self._all = sum(form.all_leaves << 8 * start for start, form in zip(starts, formats, strict=False))
        splits = defaultdict(list)
        for start, tree in zip(starts, trees, strict=False):
            shift = 8 * (start + 1)
            for split in tree.splits:
                moved = Split(split.feature, split.value, split.left << shift, split.right << shift)
                splits[split.feature].append(moved)
        self._tables = [(feature, *_gap_selections(splits[feature], self._all)) for feature in sorted(splits)]
        self._arrays = [
            (feature, np.array(values), as_block(selections, self._width))
            for feature, values, selections in self._tables
        ]
        self._everything = as_block([self._all], self._width)

    def few(self, rows: Sequence[Sequence[Any]]) -> Block:
        """Selections of rows of Python numbers; the fastest for a few rows."""
        return as_block([self._one(row) for row in rows], self._width)

    def many(self, matrix: npt.NDArray[np.float64]) -> Block:
        """Selections of the rows of a matrix."""
        selections = np.repeat(self._everything, len(matrix), 0)
        for feature, values, table in self._arrays:
            selections &= table.take(values.searchsorted(matrix[:, feature], "right"), 0)
        return selections

    def everything(self, num_rows: int) -> Block:
        """All leaves of each tree, for each row."""
        return np.repeat(self._everything, num_rows, 0)

    def _one(self, row: Sequence[Any]) -> int:
        selections = self._all
        for feature, values, table in self._tables:
            selections &= table[bisect_right(values, row[feature])]
        return selections


def _gap_selections(splits: Iterable[Split], everything: int) -> tuple[list[float], list[int]]:
    """Sorted split values of one feature, each once, and for each gap between them the selections left.

    `bisect_right` and `searchsorted` put a value that equals a split, and NaN, into a gap right of it.
    """
    ordered = sorted(splits, key=attrgetter("value"))
    went_right = accumulate((~split.left for split in ordered), and_, initial=everything)
    went_left = list(accumulate((~split.right for split in reversed(ordered)), and_, initial=everything))
    values = [split.value for split in ordered]
    selections = [
        left & right
        for i, (left, right) in enumerate(zip(reversed(went_left), went_right, strict=True))
        if not 0 < i < len(values) or values[i - 1] < values[i]
    ]
    return list(dict.fromkeys(values)), selections


def forests(trees: Sequence[Tree]) -> list[Forest]:
    """The trees, in order, in as few forests as memory allows; at least one, which may be without trees.

    A forest's tables have a row for each split value and a byte or more per tree in it: twice the trees, four times
    the bytes.
    """
    limit = _FOREST_BYTES
    while True:
        groups, size = _grouped(trees, limit)
        if size <= _TOTAL_BYTES or len(groups) == len(trees):
            return [Forest(group) for group in groups or [[]]]
        limit //= 2


def _grouped(trees: Sequence[Tree], limit: int) -> tuple[list[list[Tree]], int]:
    """Neighbouring trees whose tables would take up to `limit` bytes each, and all tables' bytes."""
    groups: list[list[Tree]] = []
    sizes: list[int] = []
    cuts: set[tuple[int, float]] = set()
    width = 0
    for tree in trees:
        own = {(split.feature, split.value) for split in tree.splits}
        own_width = SelectionFormat(tree.num_leaves).width
        if not groups or len(cuts | own) * (width + own_width) > limit:
            groups.append([])
            sizes.append(0)
            cuts, width = set(), 0
        groups[-1].append(tree)
        cuts |= own
        width += own_width
        sizes[-1] = len(cuts) * width
    return groups, sum(sizes)
