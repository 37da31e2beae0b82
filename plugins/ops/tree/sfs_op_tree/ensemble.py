"""TREE_ENSEMBLE_PREDICT: the trees' weights become scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core import Batch, ComputeContext, ExecutionView, Fusion, Int32, Operator, Schema, attr, link_function

from .fused_merge import FusedMerge
from .merge import TreeMerge

__all__ = ["TreeEnsemblePredict"]

# Up to this many rows, plain Python is faster than NumPy.
_FEW_ROWS: Final = 8


class TreeEnsemblePredict(
    Operator,
    name="TREE_ENSEMBLE_PREDICT",
    version="0.0.2",
    inputs=["*args"],
    output="score",
    returnable=True,
    variable_inputs=True,
):
    """Sum of the trees' weights and the base score, through a link function (any but LF_EXP_TAYLOR); in float64."""

    input_col_name: str = attr("Column of the weight in each tree's table.")
    output_col_name: str = attr("Name of the score's column.")
    num_trees: Int32 = attr("Number of trees, which is the number of parents.")
    base_score: float = attr("Added to the sum of the trees.", default=0.0)
    algo_func: str = attr("Name of the link function (`LF_…`).", default="LF_IDENTITY")

    def setup(self) -> None:
        """Check the number of trees and find the link function."""
        num_parents = len(self.node.parents)
        self.require(
            self.num_trees == num_parents > 0, f"num_trees is {self.num_trees}, the node has {num_parents} parents"
        )
        self._link = link_function(self.algo_func, allow_taylor=False)
        self._input = Schema([(self.input_col_name, pa.float64())])
        self._output = Schema([(self.output_col_name, pa.float64())])

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        """One fusion for an ensemble and its trees, at the party that has the weights."""
        for name, ensemble in execution.operators.items():
            if not isinstance(ensemble, cls):
                continue
            parents = ensemble.node.parents
            merges = [merge for merge in map(execution.operators.get, parents) if isinstance(merge, TreeMerge)]
            if len(merges) == len(set(parents)) == len(parents) and all(map(ensemble._takes, merges)):
                selects = tuple(merge.node.parents[0] for merge in merges)
                if len(set(selects)) < len(selects) or not execution.operators.keys().isdisjoint(selects):
                    continue
                yield Fusion(
                    nodes=(*parents, name),
                    parents=selects,
                    schemas=tuple(merge.input_schemas()[0] for merge in merges),
                    outputs=(name,),
                    compute=FusedMerge(merges, ensemble.score),
                    mergeable=True,
                    by_party=True,
                )

    def _takes(self, merge: TreeMerge) -> bool:
        return bool(merge.leaf_weights) and bool(merge.node.parents) and merge.output_schema() is self._input

    def input_schemas(self) -> list[Schema]:
        """The weights, one table per tree."""
        return [self._input] * self.num_trees

    def output_schema(self) -> Schema:
        """One float64 column."""
        return self._output

    def compute(self, context: ComputeContext, *scores: Batch) -> Batch:
        """One score per row: trees are added in the order of the parents, then the base score.

        Raises:
            FeatureError: a weight is null (code 3).
        """
        if scores[0].num_rows == 1:
            return self.score([sum(score.rows()[0][0] for score in scores)])
        total: Any = sum(score.float64(0) for score in scores)
        return self.score(total)

    def score(self, sums: Sequence[float]) -> Batch:
        """The table of scores for each row's sum of the trees."""
        if len(sums) <= _FEW_ROWS:
            one, base = self._link.one, self.base_score
            return Batch(self._output, len(sums), rows=[(one(float(total) + base),) for total in sums])
        return Batch(self._output, len(sums), [self._link.many(np.asarray(sums) + self.base_score)])
