"""Fetches for `spi_app` that read installed feature sources and Parquet files."""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from sfs_core.batch import Schema
from sfs_core.codec.features import FeatureField
from sfs_core.errors import ConfigError, ErrorCode, FeatureError, SfsError
from sfs_core.sdk.feature_source import FeatureQuery, FeatureSource
from sfs_core.spi.messages import FetchContext, SpiCode, SpiError

__all__ = ["ParquetFetch", "SourceFetch"]

_MOST_SCHEMAS: Final = 16
"""Selections of features for which a source is kept open."""
_ARROW_TYPES: Final = {
    "FIELD_BOOL": pa.bool_(),
    "FIELD_INT32": pa.int32(),
    "FIELD_INT64": pa.int64(),
    "FIELD_FLOAT": pa.float32(),
    "FIELD_DOUBLE": pa.float64(),
    "FIELD_STRING": pa.utf8(),
}
_CODES: Final = {
    ErrorCode.NOT_FOUND: SpiCode.NOT_FOUND,
    ErrorCode.FS_NOT_FOUND: SpiCode.NOT_FOUND,
    ErrorCode.FS_INVALID_ARGUMENT: SpiCode.INVALID_ARGUMENT,
    ErrorCode.FS_DEADLINE_EXCEEDED: SpiCode.DEADLINE_EXCEEDED,
}


class SourceFetch:
    """Fetches from feature sources of one kind: a source for each selection of features that is asked for.

    Belongs to one event loop.

    Args:
        make: makes a source for a schema, not open yet.
    """

    def __init__(self, make: Callable[[Schema], FeatureSource]) -> None:
        self._make = make
        self._sources: OrderedDict[Schema, FeatureSource] = OrderedDict()
        self._opening = asyncio.Lock()

    async def __call__(
        self, ids: Sequence[str], fields: Sequence[FeatureField], context: FetchContext
    ) -> Mapping[str, Sequence[Any]]:
        """The columns of the ids.

        Raises:
            SpiError: there are no such features, or the source fails.
        """
        source = await self._source(Schema((each.name, _ARROW_TYPES[str(each.type)]) for each in fields))
        try:
            pending = source.fetch(FeatureQuery(list(ids), context.query_context, context.headers))
            result = await pending if inspect.isawaitable(pending) else pending
        except SfsError as error:
            raise SpiError(_CODES.get(error.code, SpiCode.INTERNAL_ERROR), error.message) from None
        context.missing.extend(result.missing or ())
        context.answer_headers.update(result.headers)
        batch = result.batch.to_arrow()
        return {name: batch.column(i).to_pylist() for i, name in enumerate(batch.schema.names)}

    async def check(self) -> None:
        """Open a source once, without features, and close it.

        Raises:
            SfsError: it cannot work, or gives rows in their order, whatever the ids.
        """
        source = self._make(Schema())
        try:
            await asyncio.to_thread(_open, source)
        finally:
            await asyncio.to_thread(source.close)

    async def close(self) -> None:
        """Close all sources."""
        while self._sources:
            await asyncio.to_thread(self._sources.popitem()[1].close)

    async def _source(self, schema: Schema) -> FeatureSource:
        async with self._opening:
            if schema in self._sources:
                self._sources.move_to_end(schema)
            else:
                source = self._make(schema)
                try:
                    await asyncio.to_thread(_open, source)
                except SfsError as error:
                    await asyncio.to_thread(source.close)
                    wrong = isinstance(error, ConfigError | FeatureError)
                    code = SpiCode.INVALID_ARGUMENT if wrong else _CODES.get(error.code, SpiCode.INTERNAL_ERROR)
                    raise SpiError(code, error.message) from None
                self._sources[schema] = source
                if len(self._sources) > _MOST_SCHEMAS:
                    await asyncio.to_thread(self._sources.popitem(last=False)[1].close)
            return self._sources[schema]


def _open(source: FeatureSource) -> None:
    source.validate()
    source.open()
    if source.row_count >= 0:
        raise ConfigError("the feature source gives rows in their order, whatever ids are asked for")


class ParquetFetch:
    """Fetches from a Parquet file, read once and kept in memory.

    Args:
        path: the file.
        id_column: the column that ids are looked up in, compared as text.

    Raises:
        ConfigError: the file cannot be read, has no such column, or an id twice or none.
    """

    def __init__(self, path: Path, id_column: str) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415 - nobody else needs it

        try:
            self._table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"the file cannot be read as Parquet ({type(error).__name__})", where=str(path)) from None
        if id_column not in self._table.column_names:
            raise ConfigError(
                f"there is no column {id_column!r}", where=str(path), hint="name the ids' column with --id-column"
            )
        ids = [None if value is None else str(value) for value in self._table.column(id_column).to_pylist()]
        self._rows = {id_: row for row, id_ in enumerate(ids)}
        if len(self._rows) < len(ids) or None in self._rows:
            raise ConfigError(f"column {id_column!r} has an id twice, or none", where=str(path))

    def __call__(
        self, ids: Sequence[str], fields: Sequence[FeatureField], context: FetchContext
    ) -> Mapping[str, Sequence[Any]]:
        """The columns of the ids.

        Raises:
            SpiError: a feature is not there, or holds something else than its type.
        """
        found = list(map(self._rows.get, ids))
        context.missing.extend(row is None for row in found)
        rows = [row for row in found if row is not None]
        columns = {}
        for each in fields:
            if self._table.column_names.count(each.name) != 1:
                raise SpiError(SpiCode.INVALID_ARGUMENT, f"there is no feature {each.name!r}")
            column = self._table.column(each.name).take(pa.array(rows, pa.int64()))
            try:
                columns[each.name] = column.cast(_ARROW_TYPES[str(each.type)]).to_pylist()
            except pa.ArrowException:
                raise SpiError(SpiCode.INVALID_ARGUMENT, f"feature {each.name!r} is no {each.type}") from None
        return columns
