"""All TREE_MERGE nodes and the ensemble that sums them, as one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import and_
from struct import Struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sfs_core import Batch, BlockLayout, ComputeContext, TableBlock

from .merge import TreeMerge
from .selection import Block, SelectionFormat

__all__ = ["FusedMerge"]

# For up to this many trees, counted for each row, plain Python is faster than NumPy; it needs some 100 bytes per leaf.
_FEW_TREES: Final = 200
_MOST_LEAVES: Final = 20_000
_MOST_LAYOUTS: Final = 64
_NO_SINGLE_BIT: Final = 8
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
        self._all_leaves = _side_by_side(formats, [form.all_leaves for form in formats])
        self._first_bytes = _side_by_side(formats, [0xFF] * len(formats))
        self._paddings = _side_by_side(formats, [form.padding for form in formats]).tobytes()
        self._orders: dict[BlockLayout, Any] = {}
        is_small = sum(len(merge.leaf_weights) for merge in merges) <= _MOST_LEAVES
        self._few = FewRows(merges, formats) if is_small else None
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
        left = self._shared(selections)
        if left is None:
            return None
        is_few = len(left) * len(self._merges) <= _FEW_TREES
        sums: Any = self._few(left) if self._few and is_few else self._many(left)
        return None if sums is None else [self._score(sums)]

    def _shared(self, parties: Sequence[Block]) -> Block | None:
        """The selections of the leaves that all parties leave; None where one has another padding."""
        paddings = self._paddings * len(parties[0])
        if any((block & self._first_bytes).tobytes() != paddings for block in parties):
            return None
        return reduce(and_, parties)

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
        self._rows = Struct("".join(f"{form.width}s" for form in formats)).iter_unpack
        self._weights = [
            {
                (1 << 8 + leaf | form.padding).to_bytes(form.width, "little"): w
                for leaf, w in enumerate(merge.leaf_weights)
            }
            for merge, form in zip(merges, formats, strict=True)
        ]

    def __call__(self, left: Block) -> list[float] | None:
        """The sums; None where not one leaf of a tree is left."""
        sums = []
        try:
            for row in self._rows(left.tobytes()):
                total = 0.0
                for weights, selection in zip(self._weights, row, strict=True):
                    total += weights[selection]
                sums.append(total)
        except KeyError:
            return None
        return sums


class ManyRows:
    """Sums of the weights in NumPy."""

    def __init__(self, merges: Sequence[TreeMerge], formats: Sequence[SelectionFormat]) -> None:
        self._leaves = _side_by_side(formats, [(1 << 8 * form.width) - 0x100 for form in formats])
        self._widths = np.array([form.width for form in formats], np.uint64)
        self._starts = self._widths.astype(np.int64).cumsum() - self._widths.astype(np.int64)
        self._weights = np.concatenate([_weight_of_bit(*pair) for pair in zip(merges, formats, strict=True)])

    def __call__(self, left: Block) -> npt.NDArray[np.float64] | None:
        """The sums; None where not one leaf of a tree is left, or a sum is NaN."""
        num_rows, width = left.shape
        bytes_ = (left & self._leaves).ravel()
        filled = (bytes_ != 0).nonzero()[0]
        if len(filled) != num_rows * len(self._starts):
            return None
        # One byte per row and tree if all is well: where in its row, and where in its tree.
        columns = filled.reshape(num_rows, -1) - np.arange(0, num_rows * width, width)[:, None]
        places = columns - self._starts
        if (places.view(np.uint64) >= self._widths).any():  # negative ones are large then
            return None
        bits = _BIT_OF_BYTE.take(bytes_.take(filled)).reshape(columns.shape)
        weights: npt.NDArray[np.float64] = self._weights.take(9 * columns + bits)
        sums = weights.cumsum(1)[:, -1]  # in order; `sum` would add in pairs
        return None if np.isnan(sums).any() else sums


def _weight_of_bit(merge: TreeMerge, form: SelectionFormat) -> npt.NDArray[np.float64]:
    """For each byte of a selection eight weights and NaN, for no single bit; NaN for bits that are no leaf."""
    weights = np.full((form.width, 9), np.nan)
    leaves = np.full(8 * (form.width - 1), np.nan)
    leaves[: len(merge.leaf_weights)] = merge.leaf_weights
    weights[1:, :8] = leaves.reshape(-1, 8)
    return weights.ravel()


def _side_by_side(formats: Sequence[SelectionFormat], selections: Sequence[int]) -> Block:
    return np.concatenate([form.block([one]) for form, one in zip(formats, selections, strict=True)], 1)
