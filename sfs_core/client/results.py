"""Scores as a caller gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sfs_core.errors import PeerError, RequestError
from sfs_core.proto import apis_pb2

__all__ = ["Prediction", "joined", "prediction_of"]


@dataclass(frozen=True)
class Prediction:
    """The scores of a request.

    Attributes:
        names: of the scores; empty where no row has any.
        scores: float64, one row per row asked for, one column per name. NaN where a row has no scores.
        missing: bool per row: whether it has no scores, as servers answer that leave rows without features out.
        headers: entries that the parties sent back.
    """

    names: tuple[str, ...]
    scores: npt.NDArray[np.float64] = field(repr=False)
    missing: npt.NDArray[np.bool_] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def score(self) -> npt.NDArray[np.float64]:
        """The scores of a model with a single one: a float64 per row.

        Raises:
            RequestError: the model has several scores.
        """
        if len(self.names) > 1:
            raise RequestError(f"the model has {len(self.names)} scores: {', '.join(self.names)}", hint="use `scores`")
        return self.scores[:, 0] if self.names else np.full(len(self), np.nan)

    def to_arrow(self) -> Any:
        """A `pyarrow.Table` with a column per score; null where a row has none."""
        import pyarrow as pa  # noqa: PLC0415 - not everybody needs it

        columns = [pa.array(self.scores[:, i], mask=self.missing) for i in range(len(self.names))]
        return pa.Table.from_arrays(columns, names=list(self.names))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a column per score; needs pandas."""
        import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415 - no dependency of ours

        return pd.DataFrame(self.scores, columns=list(self.names))


def prediction_of(response: apis_pb2.PredictResponse, rows: int) -> Prediction:
    """The scores of an answer to a request for `rows` rows.

    Raises:
        PeerError: the answer has another number of rows, or its rows do not have the same scores.
    """
    results = response.results
    if len(results) != rows:
        raise PeerError(f"the server answered {len(results)} rows, {rows} were asked for")
    given = [result.scores for result in results]
    names = next((tuple(score.name for score in row) for row in given if row), ())
    missing = np.array([not row for row in given], np.bool_)
    if any(row and tuple(score.name for score in row) != names for row in given):
        raise PeerError("the server answered rows with different scores")
    scores = np.full((rows, len(names)), np.nan)
    if names:
        scores[~missing] = [[score.value for score in row] for row in given if row]
    return Prediction(names, scores, missing, dict(response.header.data))


def joined(parts: Sequence[Prediction]) -> Prediction:
    """The predictions of consecutive rows as one; headers of earlier ones count.

    Raises:
        PeerError: they do not have the same scores.
    """
    names = next((part.names for part in parts if part.names), ())
    if any(part.names and part.names != names for part in parts):
        raise PeerError("the server answered rows with different scores")
    scores = [part.scores if part.names else np.full((len(part), len(names)), np.nan) for part in parts]
    headers: dict[str, str] = {}
    for part in reversed(parts):
        headers.update(part.headers)
    return Prediction(names, np.concatenate(scores), np.concatenate([part.missing for part in parts]), headers)
