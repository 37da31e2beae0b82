"""TREE_MERGE: the leaf that all parties leave possible, and its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sfs_core import Batch, ComputeContext, GraphError, Operator, Schema, attr

from .selection import Block, SelectionFormat

__all__ = ["TreeMerge"]

# Up to this many rows, integers of plain Python are faster than NumPy.
_FEW_ROWS: Final = 8


class TreeMerge(Operator, name="TREE_MERGE", version="0.0.1", inputs=["selects"], output="score", mergeable=True):
    """Weight of the one leaf that the selections of all parties share, per row.

    Selections come from other parties, so nothing in them is trusted: they must have the form that belongs to the
    number of weights and leave exactly one leaf.
    """

    input_col_name: str = attr("Column of the selections.")
    output_col_name: str = attr("Name of the weight's column.")
    leaf_weights: list[float] = attr("Weight of each leaf; empty at parties that do not own them.", default=())

    def setup(self) -> None:
        """Note the form of selections that the weights imply."""
        self._input = Schema([(self.input_col_name, pa.binary())])
        self._output = Schema([(self.output_col_name, pa.float64())])
        self._format = SelectionFormat(len(self.leaf_weights))
        self._weights = np.array(self.leaf_weights, np.float64)
        self._leaves = self._format.block([self._format.leaves])
        self._all_leaves = self._format.block([self._format.all_leaves])

    def input_schemas(self) -> list[Schema]:
        """The selections."""
        return [self._input]

    def output_schema(self) -> Schema:
        """One float64 column."""
        return self._output

    def compute(self, context: ComputeContext, selects: Sequence[Batch]) -> Batch:
        """One leaf weight per row.

        Raises:
            GraphError: fewer than two tables, no weights here, a selection that does not fit the weights, or
                not exactly one leaf left (code 7).
        """
        self.require(len(selects) >= 2, "it needs the selections of at least two parties")
        self.require(bool(self.leaf_weights), "this party has no leaf_weights; the execution belongs to their owner")
        num_rows = selects[0].num_rows
        columns = [self._column(select) for select in selects]
        if num_rows <= _FEW_ROWS:
            values = zip(*map(_bytes_per_row, columns), strict=True)
            return Batch(self._output, num_rows, rows=[self._one(row, parties) for row, parties in enumerate(values)])
        return Batch(self._output, num_rows, [self._many(columns, num_rows)])

    def _column(self, select: Batch) -> Any:
        column = select.column(0)
        if not isinstance(column, np.ndarray) and column.null_count:
            raise self._refused(column.is_null().index(True).as_py(), "a selection is null")
        return column

    def _one(self, row: int, parties: Sequence[bytes]) -> tuple[float]:
        left = self._format.leaves
        for selection in parties:
            if not selection:
                continue
            if len(selection) != self._format.width or selection[0] != self._format.padding:
                raise self._misfit(row)
            left &= int.from_bytes(selection, "little")
        if left.bit_count() != 1:
            raise self._ambiguous(row, left.bit_count())
        return (self.leaf_weights[left.bit_length() - 9],)

    def _many(self, columns: Sequence[Any], num_rows: int) -> npt.NDArray[np.float64]:
        left = np.repeat(self._leaves, num_rows, 0)
        for column in columns:
            block = self._block(column)
            wrong = block[:, 0] != self._format.padding
            if wrong.any():
                raise self._misfit(int(wrong.argmax()))
            left &= block
        bits = np.unpackbits(left, bitorder="little")
        rows, positions = np.divmod(np.flatnonzero(bits.view(np.bool_)), 8 * self._format.width)
        if not np.array_equal(rows, np.arange(num_rows)):
            counts = np.bincount(rows, minlength=num_rows)
            row = int((counts != 1).argmax())
            raise self._ambiguous(row, int(counts[row]))
        weights: npt.NDArray[np.float64] = self._weights.take(positions - 8)
        return weights

    def block(self, select: Batch) -> Block:
        """A party's selections at full length: those of zero length become all leaves.

        Raises:
            GraphError: a selection is null or of another length (code 7).
        """
        return self._block(self._column(select))

    def _block(self, column: Any) -> Block:
        if not isinstance(column, np.ndarray):
            return self._arrow_block(column)
        if column.shape[1] == self._format.width:
            return column
        if column.shape[1]:
            raise self._misfit(0)
        return np.repeat(self._all_leaves, len(column), 0)

    def _arrow_block(self, column: Any) -> Block:
        _, offsets_buffer, data_buffer = column.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset : column.offset + len(column) + 1]
        sizes = np.diff(offsets)
        filled = sizes == self._format.width
        wrong = ~filled & (sizes != 0)
        if wrong.any():
            raise self._misfit(int(wrong.argmax()))
        data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]].reshape(-1, self._format.width)
        if len(data) == len(column):
            return data
        block = np.repeat(self._all_leaves, len(column), 0)
        block[filled] = data
        return block

    def _misfit(self, row: int) -> GraphError:
        return self._refused(row, f"a selection is not that of a tree with {len(self.leaf_weights)} leaves")

    def _ambiguous(self, row: int, count: int) -> GraphError:
        return self._refused(row, f"the parties' selections leave {count} leaves, exactly one is needed")

    def _refused(self, row: int, why: str) -> GraphError:
        return GraphError(
            f"column {self.input_col_name!r}, row {row}: {why}",
            node=self.node.name,
            hint="check that all parties serve the same model",
        )


def _bytes_per_row(column: Any) -> list[bytes]:
    return [row.tobytes() for row in column] if isinstance(column, np.ndarray) else column.to_pylist()
