"""MERGE_Y: the parties' partial results become scores."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sfs_core import Batch, ComputeContext, Int32, Operator, Schema, attr, link_function

__all__ = ["MergeY"]


class MergeY(
    Operator, name="MERGE_Y", version="0.0.3", inputs=["partial_ys"], output="scores", returnable=True, mergeable=True
):
    """Sum of the parties' partial results, through the link function, times yhat_scale; in float64."""

    link_function: str = attr("Name of the link function (`LF_…`).")
    input_col_name: str = attr("Column of the partial results.")
    output_col_name: str = attr("Name of the score's column.")
    yhat_scale: float = attr("Factor of the score: training may have scaled the label down.", default=1.0)
    exp_iters: Int32 = attr("n of LF_EXP_TAYLOR, (1 + x / 2^n)^(2^n); the others ignore it.", default=0)

    def setup(self) -> None:
        """Find the link function."""
        self._link = link_function(self.link_function, self.exp_iters)
        self._input = Schema([(self.input_col_name, pa.float64())])
        self._output = Schema([(self.output_col_name, pa.float64())])

    def input_schemas(self) -> list[Schema]:
        """The partial results."""
        return [self._input]

    def output_schema(self) -> Schema:
        """One float64 column."""
        return self._output

    def compute(self, context: ComputeContext, partial_ys: Sequence[Batch]) -> Batch:
        """One score per row: the tables are added in the order given (requester first, then by party id).

        Raises:
            GraphError: there is no table (code 7).
            FeatureError: a partial result is null (code 3).
        """
        self.require(bool(partial_ys), "no party sent a partial result")
        num_rows = partial_ys[0].num_rows
        if num_rows == 1:
            y = sum(partial.rows()[0][0] for partial in partial_ys)
            return Batch(self._output, 1, rows=[(self._link.one(y) * self.yhat_scale,)])
        total = partial_ys[0].float64(0)
        for partial in partial_ys[1:]:
            total = total + partial.float64(0)
        return Batch(self._output, num_rows, [self._link.many(total) * self.yhat_scale])
