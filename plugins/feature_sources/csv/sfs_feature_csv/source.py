"""The CSV feature source: one look-up in a dictionary per row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from sfs_core import Batch, FeatureError, FeatureQuery, FeatureResult, FeatureSource, PluginConfig, Schema

from .table import CsvFile, require_columns

__all__ = ["CsvConfig", "CsvFeatureSource"]

# Up to this many rows, picking Python values row by row is faster than picking from arrays.
_FEW_FLOAT_ROWS: Final = 4
_FEW_MIXED_ROWS: Final = 24
_PLAIN: Final = (pa.utf8(), pa.binary())
"""Types of Arrow arrays, beside those of NumPy arrays, whose values are the same as Python's."""
_SHOWN: Final = 5

Row = tuple[Any, ...]


class CsvConfig(PluginConfig):
    """Options of the CSV feature source."""

    path: Path
    """The file: comma separated, UTF-8, with a header. Relative to the config file."""
    id_column: str = "id"
    """The column that query ids are looked up in, compared as text: 7, 07 and 7.0 are three ids."""
    nulls: Literal["error", "keep"] = "error"
    """An empty cell in a column of numbers or booleans: `error` refuses the file unless `features.missing` says what
    becomes of such cells, `keep` hands a null to the model."""


class CsvFeatureSource(FeatureSource):
    """Rows of a CSV file, read once and kept in memory."""

    Config = CsvConfig
    blocking = False
    static = True

    config: CsvConfig

    def validate(self) -> None:
        """See that the file is there and has the columns, each once.

        Raises:
            ConfigError: it cannot be read, or a column is not there.
            FeatureError: its first line is no header.
        """
        require_columns(self.context.resolve(self.config.path), [self.config.id_column, *self.schema.names])

    def open(self) -> None:
        """Read the file.

        Raises:
            ConfigError: the file or a column is not there.
            FeatureError: the file's content cannot be used; gives the line and the column.
        """
        file = CsvFile(self.context.resolve(self.config.path))
        self.keeps_nulls = self.config.nulls == "keep"
        self._index = _index(file, self.config.id_column)
        columns = file.columns(dict(zip(self.schema.names, self.schema.types, strict=True)))
        if not (self.keeps_nulls or self.context.report_missing):
            _refuse_nulls(file, columns)
        self._table = _table(self.schema, [columns[name] for name in self.schema.names], len(self._index))
        self._few_rows = _FEW_FLOAT_ROWS if self.schema.all_float64 else _FEW_MIXED_ROWS
        self._row = _row_maker(self._table)
        # The first take from an Arrow array imports pyarrow.compute: not while a request waits.
        self._table.take([0] if self._index else [])
        self.context.logger.info("%s: %d rows", file.path, len(self._index))

    def ids(self) -> Collection[str]:
        """The id column."""
        return self._index.keys()

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids.

        Raises:
            FeatureError: some ids have no row (code 3) and are not to be reported; gives their number and places, not
                the ids.
        """
        rows = list(map(self._index.get, query.ids))
        missing = None
        if None in rows:
            missing = [row is None for row in rows]
            if not self.context.report_missing:
                raise _unknown_ids([place for place, is_missing in enumerate(missing) if is_missing], len(rows))
            rows = [row for row in rows if row is not None]
        if self._row is not None and len(rows) <= self._few_rows:
            return FeatureResult(Batch(self.schema, len(rows), rows=list(map(self._row, rows))), missing=missing)
        return FeatureResult(self._table.take(rows), missing=missing)  # type: ignore[arg-type]


def _index(file: CsvFile, id_column: str) -> dict[str, int]:
    """The row of each id; an id may stand for one row only."""
    ids: list[str] = file.columns({id_column: pa.utf8()})[id_column].to_pylist()
    index = dict(zip(ids, range(len(ids)), strict=True))
    if len(index) < len(ids):
        pairs = [(row, index[id_]) for row, id_ in enumerate(ids) if index[id_] != row]
        lines = file.lines({row for pair in pairs[:_SHOWN] for row in pair})
        shown = ", ".join(f"{lines.get(one, '?')} and {lines.get(other, '?')}" for one, other in pairs[:_SHOWN])
        raise FeatureError(
            f"column {id_column!r}: {len(pairs)} row(s) have the id of another row: lines {_cut(shown, len(pairs))}",
            where=f"{file.path}",
            hint="an id may stand for one row only",
        )
    return index


def _refuse_nulls(file: CsvFile, columns: dict[str, Any]) -> None:
    for name, column in columns.items():
        if column.null_count:
            raise file.refusal(
                f"column {name!r} is null here (null cells in this column: {column.null_count})",
                column.is_null().index(True).as_py(),
                "fill the cell, or set `nulls: keep` for a model that fills nulls itself",
            )


def _table(schema: Schema, columns: Sequence[Any], num_rows: int) -> Batch:
    """All rows in the form that is fastest to take rows from."""
    table = Batch.from_columns(schema, [_numpy_if_plain(column) for column in columns], num_rows)
    if schema.all_float64 and not any(column.null_count for column in columns):
        return Batch.from_matrix(schema, table.matrix())
    return table


def _numpy_if_plain(column: Any) -> Any:
    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    plain = not column.null_count and any(is_kind(column.type) for is_kind in kinds)
    return column.to_numpy(zero_copy_only=False) if plain else column


def _row_maker(table: Batch) -> Callable[[Any], Row] | None:
    """Makes the tuple of a row, on demand: tuples of a whole file would need five times its memory.

    None where the rows form is not allowed: other types, or nulls.
    """
    if table.form == "matrix":
        matrix = table.matrix()
        return lambda row: tuple(matrix[row].tolist())
    columns = [table.column(i) for i in range(len(table.schema))]
    if any(isinstance(c, pa.Array) and (c.null_count or c.type not in _PLAIN) for c in columns):
        return None
    # Text as Python values: taking one out of an Arrow array costs ten times as much.
    getters = [c.to_pylist().__getitem__ if isinstance(c, pa.Array) else c.item for c in columns]
    return lambda row: tuple([get(row) for get in getters])


def _unknown_ids(places: list[int], asked: int) -> FeatureError:
    shown = _cut(", ".join(map(str, islice(places, _SHOWN))), len(places))
    return FeatureError(
        f"{len(places)} of {asked} ids have no row at this party (their places in the query, from 0: {shown})"
    )


def _cut(shown: str, count: int) -> str:
    return f"{shown}, …" if count > _SHOWN else shown
