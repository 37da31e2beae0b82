"""The streaming feature source: each query gets the next rows of a file."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
from pydantic import Field

from sfs_core import (
    Batch,
    ErrorCode,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
)

from .rows import CsvRows, read_header

__all__ = ["StreamingConfig", "StreamingFeatureSource"]


class StreamingConfig(PluginConfig):
    """Options of the streaming feature source."""

    path: Path
    """The file: comma separated, UTF-8, with a header. Relative to the config file."""
    id_column: str = "id"
    """The column of ids. It must be there; what it holds does not matter."""
    block_size: int = Field(default=1 << 20, gt=0, lt=1 << 31)
    """Bytes that are read at a time. A row must not be longer."""


class StreamingFeatureSource(FeatureSource):
    """The rows of a CSV file in their order, as many at a time as the query has ids.

    A query's `context` is its token: asked again with the token of the query before, and for as many rows, the source
    gives the same rows again. Queries without a token always advance.

    Attributes:
        row_count: rows of the file, once it is open.
    """

    Config = StreamingConfig

    config: StreamingConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self._lock = Lock()
        self._rows: CsvRows | None = None
        self._waiting: list[Any] = []
        self._token = ""
        self._given: Batch | None = None

    def validate(self) -> None:
        """See that the file is there and has the columns.

        Raises:
            ConfigError: it cannot be read, or a column is not there.
            FeatureError: its first line is no header, or names a column twice.
        """
        read_header(self.context.resolve(self.config.path), [self.config.id_column, *self.schema.names])

    def open(self) -> None:
        """Check the whole file, count its rows, and begin (again) with the first one.

        Raises:
            ConfigError: the file or a column is not there.
            FeatureError: a cell does not fit its type, or is null where this is not to be reported, or the file is no
                CSV; gives line and column.
        """
        path = self.context.resolve(self.config.path)
        types = {self.config.id_column: pa.utf8(), **dict(zip(self.schema.names, self.schema.types, strict=True))}
        with self._lock:
            block_size, keep_nulls = self.config.block_size, self.context.report_missing
            rows = CsvRows(path, types, block_size, keep_nulls=keep_nulls)
            self.row_count = sum(batch.num_rows for batch in iter(rows.read, None))
            self._rows = CsvRows(path, types, block_size, keep_nulls=keep_nulls)
            self._waiting, self._token, self._given = [], "", None
        self.context.logger.info("%s: %d rows", path, self.row_count)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._rows, self._waiting, self._given = None, [], None

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The next `len(query.ids)` rows, or the previous ones once more. An error leaves all rows for later queries.

        Raises:
            FeatureError: fewer rows are left, or the previous token comes with another number of rows (code 7); the
                file went bad while it was read.
        """
        count = len(query.ids)
        with self._lock:
            if self._given is None or not query.context or query.context != self._token:
                self._given = self._take(count)
                self._token = query.context
            elif self._given.num_rows != count:
                raise FeatureError(
                    f"the query before had the same context and {self._given.num_rows} rows, this one has {count}",
                    code=ErrorCode.LOGIC_ERROR,
                    hint="give each block a query context of its own, such as the offset of its first row",
                )
            return FeatureResult(self._given)

    def _take(self, count: int) -> Batch:
        waiting = sum(batch.num_rows for batch in self._waiting)
        while waiting < count:
            batch = self._rows.read() if self._rows is not None else None
            if batch is None:
                raise FeatureError(
                    f"{count} rows are asked for, {waiting} are left until the end of the file",
                    code=ErrorCode.LOGIC_ERROR,
                    hint="restart the service to begin with the first row again",
                )
            self._waiting.append(batch)
            waiting += batch.num_rows
        if not self._waiting:
            return Batch.from_rows(self.schema, [])
        table = pa.Table.from_batches(self._waiting)
        self._waiting = table.slice(count).to_batches()
        return Batch.from_columns(self.schema, [table[name].slice(0, count) for name in self.schema.names], count)
