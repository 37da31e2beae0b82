"""The SQL feature source."""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from sfs_core import (
    ErrorCode,
    FeatureContext,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
    SfsError,
)

from .database import Database
from .options import SqlConfig
from .statement import LookUp, look_up_of, no_rows
from .values import require_known_types, to_batch

__all__ = ["SqlConfig", "SqlFeatureSource"]


class SqlFeatureSource(FeatureSource):
    """Rows of a table or query, looked up with one statement per batch."""

    Config = SqlConfig

    config: SqlConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self.keeps_nulls = self.config.nulls == "keep"
        self._database: Database | None = None
        self._look_up: LookUp | None = None

    def validate(self) -> None:
        """See that the URL can be used: its dialect and driver are installed, a SQLite file is there.

        Raises:
            SfsError: it cannot, or features have types that columns cannot have.
        """
        require_known_types(self.schema)
        Database(self.config, self.context).validate()

    def open(self) -> None:
        """Connect, and see that table or query have the columns.

        Raises:
            SfsError: the database cannot be reached, refuses, or has other tables and columns.
        """
        database = Database(self.config, self.context)
        self._look_up = database.inspect(self._verified)
        database.open()
        self._database = database

    def close(self) -> None:
        """Close all connections."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def check(self) -> None:
        """Look again, with a new connection, for what `open` looked for.

        Raises:
            SfsError: as `open`.
        """
        Database(self.config, self.context).inspect(self._verified)

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids.

        Raises:
            FeatureError: ids without a row and NULLs, where these are not to be reported; ids with several rows, values
                that do not fit (code 3).
            SfsError: the database cannot be reached (4), refuses the account (100), is too slow (102), fails (104).
        """
        if self._database is None or self._look_up is None:
            raise SfsError("the SQL feature source is not open", code=ErrorCode.NOT_READY)
        if not query.ids:
            return FeatureResult(to_batch(self.schema, [], keep_nulls=True))
        return await self._database.run(partial(self._fetch, self._look_up, query.ids))

    def _fetch(self, look_up: LookUp, ids: list[str], connection: sa.Connection) -> FeatureResult:
        rows, missing = look_up.rows(connection, ids), None
        if None in rows:
            missing = [row is None for row in rows]
            if not self.context.report_missing:
                raise no_rows(missing)
        found = [row for row in rows if row is not None]
        keep_nulls = self.keeps_nulls or self.context.report_missing
        return FeatureResult(to_batch(self.schema, found, keep_nulls=keep_nulls), missing=missing)

    def _verified(self, connection: sa.Connection) -> LookUp:
        look_up = look_up_of(connection, self.config, self.schema.names)
        look_up.probe(connection)
        return look_up
