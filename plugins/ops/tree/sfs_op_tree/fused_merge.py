"""All TREE_MERGE nodes and the ensemble that sums them, as one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sfs_core import Batch, BlockLayout, ComputeContext, TableBlock

from .merge import TreeMerge
from .selection import Block, SelectionFormat

__all__ = ["FusedMerge"]

# For up to this many trees, counted for each row, integers of plain Python are faster than NumPy.
_FEW_TREES: Final = 64
_MOST_LAYOUTS: Final = 64
_NO_SINGLE_BIT: Final = 255
_BIT_OF_BYTE: Final = np.array(
    [byte.bit_length() - 1 if byte.bit_count() == 1 else _NO_SINGLE_BIT for byte in range(256)], np.uint8
)


class FusedMerge:
    """Score of the leaves that the selections of all parties share.

    Where anything is not as it should be, the nodes find out one by one what it is.

    Args:
        merges: the trees, all with weights and each with a parent of its own, in the order in which they are added.
        score: makes the table of scores from each row's sum of weights.
    """

    def __init__(self, merges: Sequence[TreeMerge], score: Callable[[Sequence[float]], Batch]) -> None:
        self._merges = {merge.node.parents[0]: merge for merge in merges}
        self._score = score
        formats = [SelectionFormat(len(merge.leaf_weights)) for merge in merges]
        schemas = [merge.input_schemas()[0] for merge in merges]
        self._layout = BlockLayout(tuple(self._merges), schemas, [form.width for form in formats])
        self._all_leaves = np.concatenate([form.block([form.all_leaves]) for form in formats], 1)
        self._orders: dict[BlockLayout, Any] = {}
        self._few = FewRows(merges, formats)
        self._many = ManyRows(merges, formats)

    def __call__(self, context: ComputeContext, parties: Sequence[Mapping[str, Batch]]) -> list[Batch] | None:
        """One table of scores; None where a node must say what it refuses.

        Args:
            context: who computes for whom.
            parties: the parties' selections by tree.

        Raises:
            GraphError: a selection does not fit its tree.
        """
        if len(parties) < 2:
            return None
        selections = []
        for tables in parties:
            block = self._block(tables) if type(tables) is TableBlock else self._joined(tables)
            if block is None:
                return None
            selections.append(block)
        is_few = len(selections[0]) * len(self._merges) <= _FEW_TREES
        sums: Any = self._few(selections) if is_few else self._many(selections)
        return None if sums is None else [self._score(sums)]

    def _block(self, tables: TableBlock) -> Block | None:
        """A party's selections side by side in the order of the trees; None where one does not fit its tree."""
        layout, block = tables.layout, tables.array
        if layout is self._layout:
            return block
        if layout not in self._orders:
            if len(self._orders) >= _MOST_LAYOUTS:  # layouts come from peers: do not grow for ever
                self._orders.clear()
            self._orders[layout] = self._order(layout)
        order = self._orders[layout]
        if order is None:
            return None
        with_all_leaves = np.concatenate([block, np.repeat(self._all_leaves, len(block), 0)], 1)
        return with_all_leaves[:, order]

    def _order(self, layout: BlockLayout) -> npt.NDArray[np.int64] | None:
        """Where each byte stands in a block of another layout, behind which all leaves of all trees stand."""
        order: list[int] = []
        for name, own in self._layout.places.items():
            place = layout.places[name]
            if place.start == place.stop:
                order += range(layout.width + own.start, layout.width + own.stop)
            elif place.stop - place.start == own.stop - own.start:
                order += range(place.start, place.stop)
            else:
                return None
        return np.array(order)

    def _joined(self, tables: Mapping[str, Batch]) -> Block:
        return np.concatenate([merge.block(tables[parent]) for parent, merge in self._merges.items()], 1)


class FewRows:
    """Sums of the weights in plain Python."""

    def __init__(self, merges: Sequence[TreeMerge], formats: Sequence[SelectionFormat]) -> None:
        *shifts, end = [8 * start for start in accumulate((form.width for form in formats), initial=0)]
        self._width = end // 8
        self._trees = [
            (shift + 8, form.leaves >> 8, merge.leaf_weights)
            for shift, form, merge in zip(shifts, formats, merges, strict=True)
        ]
        self._first_bytes = sum(0xFF << shift for shift in shifts)
        self._paddings = sum(form.padding << shift for shift, form in zip(shifts, formats, strict=True))

    def __call__(self, parties: Sequence[Block]) -> list[float] | None:
        """The sums; None where a selection has another padding, or not one leaf of a tree is left."""
        sums = []
        for selections in zip(*[self._rows(block) for block in parties], strict=True):
            left = -1
            for selection in selections:
                if selection & self._first_bytes != self._paddings:
                    return None
                left &= selection
            total = self._weight(left)
            if total is None:
                return None
            sums.append(total)
        return sums

    def _rows(self, block: Block) -> list[int]:
        data, width = block.tobytes(), self._width
        return [int.from_bytes(data[start : start + width], "little") for start in range(0, len(data), width)]

    def _weight(self, left: int) -> float | None:
        total = 0.0
        for shift, leaves, weights in self._trees:
            leaf = left >> shift & leaves
            if leaf.bit_count() != 1:
                return None
            total += weights[leaf.bit_length() - 1]
        return total


class ManyRows:
    """Sums of the weights in NumPy."""

    def __init__(self, merges: Sequence[TreeMerge], formats: Sequence[SelectionFormat]) -> None:
        self._masks = np.concatenate([form.block([form.leaves]) for form in formats], 1)
        self._widths = np.array([form.width for form in formats])
        self._starts = self._widths.cumsum() - self._widths
        self._paddings = np.array([form.padding for form in formats], np.uint8)
        self._weights = np.concatenate([_weight_of_bit(*pair) for pair in zip(merges, formats, strict=True)])

    def __call__(self, parties: Sequence[Block]) -> npt.NDArray[np.float64] | None:
        """The sums; None where a selection has another padding, or not one leaf of a tree is left."""
        left = self._masks
        for selections in parties:
            if (selections.take(self._starts, 1) != self._paddings).any():
                return None
            left = left & selections
        weights = self._of_only_leaves(left)
        return None if weights is None else weights.cumsum(1)[:, -1]  # in order; `sum` would add in pairs

    def _of_only_leaves(self, left: Block) -> npt.NDArray[np.float64] | None:
        """Weights of the leaves left, rows x trees; None unless one is left of each tree in each row."""
        num_rows, width = left.shape
        filled = np.flatnonzero(left != 0)
        if len(filled) != num_rows * len(self._starts):
            return None
        # Bytes that are not zero, one per row and tree if all is well: where in its row, and where in its tree.
        columns = filled.reshape(num_rows, -1) - np.arange(0, num_rows * width, width)[:, None]
        places = columns - self._starts
        bits = _BIT_OF_BYTE.take(left.take(filled)).reshape(columns.shape)
        if ((places < 0) | (places >= self._widths)).any() or (bits == _NO_SINGLE_BIT).any():
            return None
        weights: npt.NDArray[np.float64] = self._weights.take(8 * columns + bits)
        return weights


def _weight_of_bit(merge: TreeMerge, form: SelectionFormat) -> npt.NDArray[np.float64]:
    weights = np.zeros(8 * form.width)
    weights[8 : 8 + len(merge.leaf_weights)] = merge.leaf_weights
    return weights
