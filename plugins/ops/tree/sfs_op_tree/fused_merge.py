"""All TREE_MERGE nodes and the ensemble that sums them, as one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sfs_core import Batch, ComputeContext

from .merge import TreeMerge
from .selection import SelectionFormat

__all__ = ["FusedMerge"]

# For one row of up to this many trees, integers of plain Python are faster than NumPy.
_FEW_TREES: Final = 64
_NO_SINGLE_BIT: Final = 255
_BIT_OF_BYTE: Final = np.array(
    [byte.bit_length() - 1 if byte.bit_count() == 1 else _NO_SINGLE_BIT for byte in range(256)], np.uint8
)


class FusedMerge:
    """Score of the leaves that the selections of all parties share.

    A party's selections of all trees stand one behind the other: all rows of the first tree, then those of the second.
    Where anything is not as it should be, the nodes find out one by one what it is.

    Args:
        merges: the trees, all with weights, in the order in which they are added.
        score: makes the table of scores from the sums of weights (a number for one row, else an array).
    """

    def __init__(self, merges: Sequence[TreeMerge], score: Callable[[Any, int], Batch]) -> None:
        self._merges = merges
        self._score = score
        formats = [SelectionFormat(len(merge.leaf_weights)) for merge in merges]
        self._widths = [form.width for form in formats]
        self._one_row = OneRow(merges, formats) if len(merges) <= _FEW_TREES else None
        self._rows = ManyRows(merges, formats)

    def __call__(self, context: ComputeContext, *tables: Sequence[Batch]) -> list[Batch] | None:
        """One table of scores; None where a node must say what it refuses.

        Args:
            context: who computes for whom.
            tables: per tree the parties' selections.

        Raises:
            GraphError: a selection does not fit its tree.
        """
        parties = len(tables[0])
        if parties < 2 or any(len(tree) != parties for tree in tables):
            return None
        num_rows = tables[0][0].num_rows
        known = [data for selects in zip(*tables, strict=True) if (data := self._selections(selects))]
        sums = self._one_row(known) if num_rows == 1 and self._one_row else self._rows(known, num_rows)
        return None if sums is None else [self._score(sums, num_rows)]

    def _selections(self, selects: Sequence[Batch]) -> bytes:
        """A party's selections of all trees; nothing where it knows nothing of any, or there are no rows."""
        columns = [select.column(0) for select in selects]
        widths = [column.shape[1] if type(column) is np.ndarray else -1 for column in columns]
        if widths != self._widths:
            if not any(widths):
                return b""
            columns = [merge.block(select) for merge, select in zip(self._merges, selects, strict=True)]
        try:
            return b"".join(columns)
        except TypeError:  # an array that is not contiguous is none of bytes
            return b"".join(column.tobytes() for column in columns)


class OneRow:
    """Sum of the weights for one row, in plain Python."""

    def __init__(self, merges: Sequence[TreeMerge], formats: Sequence[SelectionFormat]) -> None:
        shifts = [8 * start for start in accumulate((form.width for form in formats), initial=0)]
        self._trees = [
            (shift + 8, form.leaves >> 8, merge.leaf_weights)
            for shift, form, merge in zip(shifts, formats, merges, strict=False)
        ]
        self._first_bytes = sum(0xFF << shift for shift in shifts[:-1])
        self._paddings = sum(form.padding << shift for shift, form in zip(shifts, formats, strict=False))

    def __call__(self, parties: Sequence[bytes]) -> float | None:
        """The sum; None where a selection has another padding, or not one leaf of a tree is left."""
        left = -1
        for selections in parties:
            value = int.from_bytes(selections, "little")
            if value & self._first_bytes != self._paddings:
                return None
            left &= value
        total = 0.0
        for shift, leaves, weights in self._trees:
            leaf = left >> shift & leaves
            if leaf.bit_count() != 1:
                return None
            total += weights[leaf.bit_length() - 1]
        return total


class ManyRows:
    """Sums of the weights for any number of rows, in NumPy."""

    def __init__(self, merges: Sequence[TreeMerge], formats: Sequence[SelectionFormat]) -> None:
        self._masks = [form.leaves.to_bytes(form.width, "little") for form in formats]
        self._widths = np.array([[form.width] for form in formats])
        self._starts = self._widths.cumsum(0) - self._widths
        self._paddings = np.array([[form.padding] for form in formats], np.uint8)
        self._weights = np.concatenate([_weight_of_bit(*pair) for pair in zip(merges, formats, strict=True)])

    def __call__(self, parties: Sequence[bytes], num_rows: int) -> Any:
        """The sums, one number for one row; None where a selection has another padding, or not one leaf is left."""
        starts = self._starts * num_rows + self._widths * np.arange(num_rows)
        left = np.frombuffer(b"".join([mask * num_rows for mask in self._masks]), np.uint8)
        for selections in parties:
            values = np.frombuffer(selections, np.uint8)
            if (values.take(starts) != self._paddings).any():
                return None
            left = left & values
        weights = self._of_only_leaves(left, starts)
        if weights is None:
            return None
        # A single column would be added in pairs, not in order.
        return sum(weights[:, 0].tolist()) if num_rows == 1 else weights.sum(0)

    def _of_only_leaves(
        self, left: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64] | None:
        """Weights of the leaves left, trees x rows; None unless one is left of each tree in each row.

        Args:
            left: the leaves that all parties leave.
            starts: where the selections begin, trees x rows.
        """
        filled = np.flatnonzero(left != 0)
        if len(filled) != starts.size:
            return None
        places = filled.reshape(starts.shape) - starts
        bits = _BIT_OF_BYTE.take(left.take(filled)).reshape(starts.shape)
        if ((places < 0) | (places >= self._widths)).any() or (bits == _NO_SINGLE_BIT).any():
            return None
        weights: npt.NDArray[np.float64] = self._weights.take(8 * (self._starts + places) + bits)
        return weights


def _weight_of_bit(merge: TreeMerge, form: SelectionFormat) -> npt.NDArray[np.float64]:
    weights = np.zeros(8 * form.width)
    weights[8 : 8 + len(merge.leaf_weights)] = merge.leaf_weights
    return weights
