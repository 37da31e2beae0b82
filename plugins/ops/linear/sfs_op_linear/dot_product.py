"""DOT_PRODUCT: what one party's features add to the score of a linear model."""

from __future__ import annotations

from operator import mul
from typing import Final

import numpy as np
import pyarrow as pa

from sfs_core import Batch, ComputeContext, Operator, Schema, attr, numeric_type

__all__ = ["DotProduct"]

# Up to this many rows, plain Python on tuples is faster than NumPy.
_FEW_ROWS: Final = 4
# Larger integers need not be exact as float64; `Batch.matrix` refuses them.
_EXACT_INTEGER: Final = 1 << 53


class DotProduct(
    Operator, name="DOT_PRODUCT", version="0.0.2", inputs=["features"], output="partial_ys", exact_version=True
):
    """Dot product of this party's features and weights, plus the intercept, in float64.

    A party without features has empty lists and adds the intercept alone. Scores may differ in the last bits with
    the number of rows, because the order of addition does.
    """

    row_wise = True
    discloses = "for each row, this party's part of the score, in the clear"

    feature_names: list[str] = attr("Names of the features.")
    feature_weights: list[float] = attr("Weight of each feature.")
    input_types: list[str] = attr("DataType name of each feature; must be numeric.")
    output_col_name: str = attr("Name of the result's column.")
    intercept: float = attr("Added to each row's result.", default=0.0)

    def setup(self) -> None:
        """Check the feature lists."""
        names, counts = self.feature_names, (len(self.feature_weights), len(self.input_types))
        self.require(len(set(names)) == len(names), "feature_names holds a name twice")
        self.require(
            counts == (len(names), len(names)),
            f"{len(names)} feature_names, {counts[0]} feature_weights and {counts[1]} input_types; one each is needed",
        )
        self._input = Schema(zip(names, map(numeric_type, self.input_types), strict=True))
        self._output = Schema([(self.output_col_name, pa.float64())])
        self._weights = np.array(self.feature_weights, np.float64)

    def input_schemas(self) -> list[Schema]:
        """The features."""
        return [self._input]

    def output_schema(self) -> Schema:
        """One float64 column."""
        return self._output

    def compute(self, context: ComputeContext, features: Batch) -> Batch:
        """One partial result per row.

        Raises:
            FeatureError: a feature is null (code 3).
            SfsError: an integer beyond 2^53 (code 2).
        """
        num_rows = features.num_rows
        if not self.feature_names:  # the table may hold any columns then
            return Batch(self._output, num_rows, [np.full(num_rows, self.intercept)])
        if num_rows <= _FEW_ROWS:
            rows, weights, intercept = features.rows(), self.feature_weights, self.intercept
            if all(abs(row[i]) <= _EXACT_INTEGER for i in self._input.wide for row in rows):
                partial_ys = [(sum(map(mul, row, weights)) + intercept,) for row in rows]
                return Batch(self._output, num_rows, rows=partial_ys)
        return Batch(self._output, num_rows, [features.matrix() @ self._weights + self.intercept])
