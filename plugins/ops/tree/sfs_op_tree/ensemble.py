"""TREE_ENSEMBLE_PREDICT: the trees' weights become scores."""

from __future__ import annotations

import pyarrow as pa

from sfs_core import Batch, ComputeContext, Int32, Operator, Schema, attr, link_function

__all__ = ["TreeEnsemblePredict"]


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
        num_rows = scores[0].num_rows
        if num_rows == 1:
            total = sum(score.rows()[0][0] for score in scores)
            return Batch(self._output, 1, rows=[(self._link.one(total + self.base_score),)])
        weights = scores[0].float64(0)
        for score in scores[1:]:
            weights = weights + score.float64(0)
        return Batch(self._output, num_rows, [self._link.many(weights + self.base_score)])
