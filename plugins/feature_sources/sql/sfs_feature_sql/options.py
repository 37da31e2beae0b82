"""Options of the SQL feature source."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from sfs_core import PluginConfig
from sfs_core.spi import Seconds

__all__ = ["KeyType", "SqlConfig"]

KeyType = Literal["text", "integer", "uuid"]
_IDS_PARAMETER = re.compile(r"(?<![:\w\\]):ids\b")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


class SqlConfig(PluginConfig):
    """Where the rows are: either `table` or `query`, and the key that ids are looked up in."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr
    """The database: `dialect+driver://user:password@host:port/name`, or `sqlite:///file.db`. Shown nowhere.
    A SQLite file's path is relative to the config file."""
    key: Names = Field(min_length=1)
    """The key's column; several columns for a composite key."""
    key_types: Annotated[list[KeyType], BeforeValidator(_as_list)] = Field(default_factory=list)
    """What each key column holds: `text`, `integer` or `uuid`. Of a table: read from the database unless given.
    Of a query: `text` unless given."""
    key_separator: str = ""
    """What separates the parts of a composite key in an id: with `:`, the id `de:7` is the key (de, 7)."""
    table: str = ""
    """The table or view."""
    table_schema: str = ""
    """The schema in the database that `table` is in; empty: the connection's own."""
    order_by: str = ""
    """Where a key has several rows: the column (a time, a version) whose greatest value says which row counts.
    Rows without a value in it are left out. Empty: a key with several rows is an error."""
    query: str = ""
    """Instead of `table`: a SELECT with the parameter `:ids`, `… WHERE key IN :ids` (on PostgreSQL also
    `key = ANY(:ids)`), that gives the key's columns and the features'."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Feature: its column, where these names differ."""
    nulls: Literal["error", "keep"] = "error"
    """What a NULL means: `error` refuses the request unless `features.missing` says what becomes of it, `keep` hands a
    null to the model."""
    pool_size: int = Field(default=5, gt=0)
    """Most connections that are open at a time."""
    connect_timeout: Seconds = 5.0
    """Seconds for getting a connection."""
    statement_timeout: Seconds = 5.0
    """Seconds for a statement; the database ends it then."""

    @model_validator(mode="after")
    def _one_kind_of_rows(self) -> Self:
        if bool(self.table) == bool(self.query):
            raise ValueError("either `table` or `query` is needed, and not both")
        if self.query and not _IDS_PARAMETER.search(self.query):
            raise ValueError("`query` needs the parameter :ids, as in `SELECT … WHERE id IN :ids`")
        if self.query and (self.order_by or self.table_schema):
            raise ValueError("`order_by` and `table_schema` belong to `table`; a query says that itself")
        return self

    @model_validator(mode="after")
    def _whole_key(self) -> Self:
        if len(self.key) > 1 and not self.key_separator:
            raise ValueError("a key of several columns needs `key_separator`")
        if len(self.key) == 1 and self.key_separator:
            raise ValueError("`key_separator` needs a key of several columns")
        if len(self.key_types) not in (0, len(self.key)):
            raise ValueError("`key_types` needs one type per column of `key`")
        return self
