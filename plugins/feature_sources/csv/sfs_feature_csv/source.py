"""The CSV feature source: one look-up in a dictionary per row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core import Batch, FeatureContext, FeatureError, FeatureQuery, FeatureResult, FeatureSource, PluginConfig

from .table import NullPolicy, read_table

__all__ = ["CsvConfig", "CsvFeatureSource"]

# Up to this many rows, tuples of Python values are faster for what follows than arrays.
_FEW_ROWS: Final = 4
_SHOWN_ROWS: Final = 5


class CsvConfig(PluginConfig):
    """Options of the CSV feature source."""

    path: Path
    """The file: comma separated, UTF-8, with a header. Relative to the config file."""
    id_column: str = "id"
    """The column that query ids are looked up in, compared as text."""
    nulls: NullPolicy = "error"
    """What an empty cell means in a column of numbers: `error` refuses the file, `keep` hands a null to the model."""


class CsvFeatureSource(FeatureSource):
    """Rows of a CSV file, read once and kept in memory."""

    Config = CsvConfig
    blocking = False

    config: CsvConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self._index: dict[str, int] = {}
        self._columns: list[Any] = []
        self._matrix: Any = None
        self._tuples: dict[int, tuple[Any, ...]] = {}
        self._has_nulls = False

    def open(self) -> None:
        """Read the file.

        Raises:
            FeatureError: it cannot be used; names file, line and column.
        """
        path = self.context.resolve(self.config.path)
        self._index, columns = read_table(path, self.config.id_column, self.schema, self.config.nulls)
        self._has_nulls = any(column.null_count for column in columns)
        if self.schema.all_float64 and not self._has_nulls:
            self._matrix = np.empty((len(self._index), len(columns)))
            for i, column in enumerate(columns):
                self._matrix[:, i] = column.to_numpy()
        else:
            self._columns = [_numpy_if_plain(column) for column in columns]
        self.context.logger.info("%s: %d rows", path, len(self._index))

    def close(self) -> None:
        """Forget the rows."""
        self._index, self._columns, self._matrix, self._tuples = {}, [], None, {}

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids.

        Raises:
            FeatureError: some ids have no row (code 3); gives their number and places, not the ids.
        """
        try:
            rows = [self._index[id_] for id_ in query.ids]
        except KeyError:
            raise self._unknown(query.ids) from None
        return FeatureResult(self._few(rows) if len(rows) <= _FEW_ROWS and not self._has_nulls else self._many(rows))

    def _few(self, rows: list[int]) -> Batch:
        tuples = self._tuples
        for row in rows:
            if row not in tuples:
                tuples[row] = self._tuple(row)
        return Batch(self.schema, len(rows), rows=[tuples[row] for row in rows])

    def _tuple(self, row: int) -> tuple[Any, ...]:
        if self._matrix is not None:
            return tuple(self._matrix[row].tolist())
        return tuple(c[row].item() if isinstance(c, np.ndarray) else c[row].as_py() for c in self._columns)

    def _many(self, rows: list[int]) -> Batch:
        picked = np.array(rows, np.int64)
        if self._matrix is not None:
            return Batch(self.schema, len(rows), matrix=self._matrix.take(picked, 0))
        columns = [c.take(picked) if isinstance(c, np.ndarray) else c.take(pa.array(picked)) for c in self._columns]
        return Batch(self.schema, len(rows), columns)

    def _unknown(self, ids: list[str]) -> FeatureError:
        places = [row for row, id_ in enumerate(ids) if id_ not in self._index]
        shown = ", ".join(map(str, places[:_SHOWN_ROWS])) + (", …" if len(places) > _SHOWN_ROWS else "")
        return FeatureError(f"{len(places)} of {len(ids)} ids have no row in the file (request rows {shown})")


def _numpy_if_plain(column: Any) -> Any:
    plain = pa.types.is_primitive(column.type) and not column.null_count
    return column.to_numpy(zero_copy_only=False) if plain else column
