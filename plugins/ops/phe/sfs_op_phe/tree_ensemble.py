"""PHE_2P_TREE_ENSEMBLE_MERGE and PHE_2P_TREE_ENSEMBLE_PREDICT: the sum of the trees, encrypted, then the score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from sfs_core import Batch, ComputeContext, ExecutionView, Fusion, Int32, Schema, attr, link_function

from .base import PheOperator, read_from
from .matrices import cells_of, read_cipher_matrix, write_cipher_matrix
from .numbers import decode
from .packing import read_packed, write_packed
from .tree_merge import PheTreeMerge

__all__ = ["PheTreeEnsembleMerge", "PheTreeEnsemblePredict"]

_SUM_BITS: Final = 96
"""Scaled sums of leaf weights are shorter; shares of leaves that do not belong together are not."""


class PheTreeEnsembleMerge(
    PheOperator,
    name="PHE_2P_TREE_ENSEMBLE_MERGE",
    version="0.0.1",
    inputs=["*args"],
    output="merged_raw_score",
    variable_inputs=True,
):
    """Sum of the trees' encrypted weights. Merged with the trees' own nodes where they run in one execution."""

    input_col_name: str = attr("Column of the weight in each tree's table.")
    output_col_name: str = attr("Name of the sum's column.")
    num_trees: Int32 = attr("Number of trees, which is the number of parents.")

    def setup(self) -> None:
        """Check the number of trees."""
        num_parents = len(self.node.parents)
        self.require(
            self.num_trees == num_parents > 0, f"num_trees is {self.num_trees}, the node has {num_parents} parents"
        )
        self._input = Schema([(self.input_col_name, pa.binary())])
        self._output = Schema([(self.output_col_name, pa.binary())])

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        """One product of powers per row over all trees takes less than half of the multiplications of one per tree."""
        for name, ensemble in execution.operators.items():
            if not isinstance(ensemble, cls):
                continue
            parents = ensemble.node.parents
            trees = [tree for tree in map(execution.operators.get, parents) if isinstance(tree, PheTreeMerge)]
            if len(trees) == len(parents):
                yield Fusion(
                    nodes=(*parents, name),
                    parents=tuple(tree.node.parents[0] for tree in trees),
                    schemas=tuple(tree.input_schemas()[0] for tree in trees),
                    outputs=(name,),
                    compute=_FusedTrees(ensemble, trees),
                    mergeable=True,
                )

    def input_schemas(self) -> list[Schema]:
        """The weights, one table per tree."""
        return [self._input] * self.num_trees

    def output_schema(self) -> Schema:
        """The encrypted sum."""
        return self._output

    def compute(self, context: ComputeContext, *weights: Batch) -> Batch:
        """One table row: a matrix with one ciphertext per row.

        Raises:
            GraphError: this party was itself asked for scores, or the trees differ in rows (code 7).
            WireError: a cell cannot be read (code 9).
        """
        self.require_requester(context, own=False)
        keyring = self.keyring
        key = keyring.theirs
        cells, slots = [cells_of(weight)[0] for weight in weights], keyring.leaves
        with read_from(self.input_col_name, keyring.party):
            if slots.apply():
                cells = [read_packed(cell, slots.bits, 1).parts[0] for cell in cells]
            matrices = [read_cipher_matrix(cell, key) for cell in cells]
        first = matrices[0]
        sums = list(first.items)
        for matrix in matrices[1:]:
            self.require_shape(matrix, first.rows, 1, "a tree's weight")
            sums = [a * key.leave(b) % key.modulus for a, b in zip(sums, matrix.items, strict=True)]
        merged = write_cipher_matrix(len(sums), 1, 2, sums, key)
        cell = write_packed(len(sums), slots.bits, merged) if slots.apply() else merged
        return Batch(self._output, 1, rows=[(cell,)])


class _FusedTrees:
    """All trees of an ensemble and their sum at once."""

    def __init__(self, ensemble: PheTreeEnsembleMerge, trees: Sequence[PheTreeMerge]) -> None:
        self._ensemble = ensemble
        self._trees = trees

    def __call__(self, context: ComputeContext, *selects: Sequence[Batch]) -> Sequence[Batch]:
        keyring = self._ensemble.keyring
        first, *others = (tree.rows(context, tables) for tree, tables in zip(self._trees, selects, strict=True))
        for rows in others:
            self._ensemble.require(len(rows) == len(first), "the trees differ in rows")
            for total, row in zip(first, rows, strict=True):
                total.join(row, keyring.theirs.modulus)
        return [Batch(self._ensemble.output_schema(), 1, rows=[(self._trees[0].sums(first),)])]


class PheTreeEnsemblePredict(
    PheOperator,
    name="PHE_2P_TREE_ENSEMBLE_PREDICT",
    version="0.0.1",
    inputs=["raw_score"],
    output="score",
    returnable=True,
):
    """At the requester: the trees' sum, decrypted, and the base score, through a link function."""

    input_col_name: str = attr("Column of the encrypted sum.")
    output_col_name: str = attr("Name of the score's column.")
    base_score: float = attr("Added to the sum of the trees.", default=0.0)
    algo_func: str = attr("Name of the link function (`LF_…`).", default="LF_IDENTITY")

    def setup(self) -> None:
        """Find the link function."""
        self._link = link_function(self.algo_func, allow_taylor=False)
        self._input = Schema([(self.input_col_name, pa.binary())])
        self._output = Schema([(self.output_col_name, pa.float64())])

    def input_schemas(self) -> list[Schema]:
        """The encrypted sum."""
        return [self._input]

    def output_schema(self) -> Schema:
        """One float64 column."""
        return self._output

    def compute(self, context: ComputeContext, raw_score: Batch) -> Batch:
        """One score per row.

        Raises:
            GraphError: this party was not asked for scores (code 7).
            WireError: the cell cannot be read (code 9).
            SfsError: a sum is too long to be one, which is so when the parties' selections or shares do not belong
                together (code 3).
        """
        self.require_requester(context, own=True)
        keyring = self.keyring
        slots, packed, (cell,) = keyring.leaves, keyring.leaves.apply(), cells_of(raw_score)
        with read_from(self.input_col_name, keyring.peer):
            rows, (cell,) = read_packed(cell, slots.bits, 1) if packed else (None, (cell,))
            matrix = read_cipher_matrix(cell, keyring.own)
        self.require_shape(matrix, rows or matrix.rows, 1, "the trees' sum")
        bits = slots.bits * slots.count if packed else _SUM_BITS
        sums = keyring.decrypt(matrix.items, bits, self.input_col_name)
        if packed:
            sums = slots.read_sums(sums, self.input_col_name)
        return Batch(self._output, matrix.rows, [self._link.many(decode(sums, keyring.scale) + self.base_score)])
