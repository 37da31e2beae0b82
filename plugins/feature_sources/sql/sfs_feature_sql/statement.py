"""The look-up of ids: its statement, made once from the options and the database's description of the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import FLOAT
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import TupleType

from sfs_core import ConfigError, FeatureError

from .keys import Key, KeyColumn, key_type_of
from .options import SqlConfig

__all__ = ["LookUp", "look_up_of", "no_rows", "table_statement"]

Row = tuple[Any, ...]
_SHOWN: Final = 5
# How many parameters a statement may have, a little below the drivers' own limits.
_PARAMETERS: Final = {"sqlite": 32_000, "postgresql": 32_000, "mysql": 32_000, "mariadb": 32_000, "mssql": 2_000}
_FEWEST_PARAMETERS: Final = 1_000
_MYSQL: Final = ("mysql", "mariadb")
_MYSQL_FLOAT: Final = 4
"""The type's number in MySQL's protocol."""
_ARRAY_PARAMETER: Final = re.compile(r"\bANY\s*\(\s*:ids\s*\)", re.IGNORECASE)
_PROBES: Final[Mapping[str, str]] = {"text": "", "integer": "0", "uuid": "00000000-0000-0000-0000-000000000000"}


class LookUp:
    """Finds the rows of ids with as few statements as the database allows: mostly one.

    Args:
        statement: has the parameter `ids`; its result has the columns of the key and of the features.
        key: of the rows.
        names: the result's columns: the key's, then the features'.
        chunk: most ids that one statement takes.
    """

    def __init__(self, statement: sa.Executable, key: Key, names: Sequence[str], chunk: int) -> None:
        self._statement = statement
        self._key = key
        self._wanted = tuple(names)
        self._width = len(key.columns)
        self._chunk = chunk
        self._names: tuple[str, ...] = ()
        self._pick: Callable[[Any], Row] | None = None

    def rows(self, connection: sa.Connection, ids: Sequence[str]) -> list[Row | None]:
        """The features of each id, in the order of `ids`, which may repeat; None for an id without a row.

        Raises:
            FeatureError: ids with several rows (gives their number and places, never the ids).
        """
        wanted = self._key.keys_of(ids)
        found: dict[str, Row] = {}
        repeated: set[str] = set()
        for chunk in _chunks(list(wanted), self._chunk):
            rows = self._fetch(connection, [wanted[id_] for id_ in chunk])
            its_ids = self._key.ids_of(rows)
            # Rows that equal an id in the database only, as `A` may equal `a`, are under an id that nobody asks for.
            by_id = dict(zip(its_ids, [row[self._width :] for row in rows], strict=True))
            found.update(by_id)
            if len(by_id) < len(rows):
                counts = Counter(its_ids)
                repeated.update(id_ for id_ in chunk if counts[id_] > 1)
        if repeated:
            hint = "make the key unique, or say with `order_by` which row counts"
            raise _refused([id_ in repeated for id_ in ids], "several rows", hint)
        return list(map(found.get, ids))

    def _fetch(self, connection: sa.Connection, keys: Sequence[Any]) -> Sequence[Any]:
        result = connection.execute(self._statement, {"ids": keys})
        pick = self._picker(tuple(result.keys()))
        return [pick(row) for row in result] if pick else result.fetchall()

    def probe(self, connection: sa.Connection) -> None:
        """Run the statement for a made-up key, to see that the database takes it and returns the columns.

        Raises:
            ConfigError: a column is not there.
            SQLAlchemyError: the database refuses the statement.
        """
        parts = tuple(column.parse(_PROBES[column.type]) for column in self._key.columns)
        result = connection.execute(self._statement, {"ids": [parts if len(parts) > 1 else parts[0]]})
        self._picker(tuple(result.keys()))
        described = result.cursor.description if result.cursor is not None else None
        result.close()
        if connection.dialect.name in _MYSQL:
            _refuse_rounded(described or (), self._wanted)

    def _picker(self, names: tuple[str, ...]) -> Callable[[Any], Row] | None:
        """What brings a result's row into order (None: it is); looked at each time, as a `SELECT *` may change."""
        if names != self._names:
            for name in self._wanted:
                if names.count(name) != 1:
                    raise _no_column("the query's result", name, names)
            order = [names.index(name) for name in self._wanted]
            in_order = order == list(range(len(names)))
            self._pick = None if in_order else lambda row: tuple([row[i] for i in order])
            self._names = names
        return self._pick


def look_up_of(connection: sa.Connection, config: SqlConfig, features: Sequence[str]) -> LookUp:
    """The look-up that the options ask for.

    Raises:
        ConfigError: there is no such table or column (says which names are near), or the key is of no usable type.
    """
    columns = [config.columns.get(feature, feature) for feature in features]
    statement: sa.Executable
    if config.query:
        types = config.key_types or ["text"] * len(config.key)
        key = Key([KeyColumn(*each) for each in zip(config.key, types, strict=True)], config.key_separator)
        statement = _query_statement(config.query, key)
        names = [*config.key, *columns]
    else:
        described = _table_columns(connection, config)
        key = Key([*_key_columns(described, config, columns)], config.key_separator)
        arrays = connection.dialect.name == "postgresql" and len(config.key) == 1
        rounded = [name for name in columns if isinstance(described[name], FLOAT)]
        statement, names = table_statement(config, key, columns, arrays=arrays, rounded=rounded)
    limit = _PARAMETERS.get(connection.dialect.name, _FEWEST_PARAMETERS)
    return LookUp(statement, key, names, limit // len(config.key))


def table_statement(
    config: SqlConfig, key: Key, columns: Sequence[str], *, arrays: bool, rounded: Collection[str] = ()
) -> tuple[sa.Select[Any], list[str]]:
    """SELECT of the rows with the keys `:ids`, and the names of its result's columns: the key's, then the features'.

    Args:
        config: names the table.
        key: its key.
        columns: of the features.
        arrays: whether the keys go as one array (PostgreSQL), or else as a list of parameters.
        rounded: those of the columns that the database rounds when it sends them, but not what is computed of them.
    """
    keys: list[sa.ColumnClause[Any]] = [sa.column(column.name) for column in key.columns]
    shown = [column.label(f"k{i}") for i, column in enumerate(keys)]
    for i, name in enumerate(columns):
        column: sa.ColumnElement[Any] = sa.column(name)
        shown.append((column + sa.literal_column("0e0") if name in rounded else column).label(f"f{i}"))
    names = [column.name for column in shown]
    select = sa.select(*shown).select_from(sa.table(config.table, schema=config.table_schema or None))
    select = select.where(_among_ids(keys, key, arrays=arrays))
    if config.order_by:
        order: sa.ColumnClause[Any] = sa.column(config.order_by)
        # rank, not row_number: of two rows that are equally late neither is the right one, and both come back.
        rank = sa.func.rank().over(partition_by=keys, order_by=order.desc()).label("place")
        ranked = select.add_columns(rank).where(order.is_not(None)).subquery()
        select = sa.select(*(ranked.c[name] for name in names)).where(ranked.c.place == 1)
    return select, names


def _among_ids(keys: Sequence[sa.ColumnElement[Any]], key: Key, *, arrays: bool) -> sa.ColumnElement[bool]:
    if arrays:
        return keys[0] == sa.any_(_ids_parameter(key, array=True))
    return (keys[0] if len(keys) == 1 else sa.tuple_(*keys)).in_(_ids_parameter(key, array=False))


def _ids_parameter(key: Key, *, array: bool) -> sa.BindParameter[Any]:
    types = [column.sql_type for column in key.columns]
    if array:
        return sa.bindparam("ids", type_=sa.ARRAY(types[0]))
    return sa.bindparam("ids", expanding=True, type_=types[0] if len(types) == 1 else TupleType(*types))


def _query_statement(query: str, key: Key) -> sa.TextClause:
    statement = sa.text(query).bindparams(_ids_parameter(key, array=bool(_ARRAY_PARAMETER.search(query))))
    if others := statement.compile().params.keys() - {"ids"}:
        raise ConfigError(
            f"`query` has the parameter {_listed(others)}; :ids is the only one there is",
            hint=r"write \: for a colon that starts no parameter",
        )
    return statement


def _key_columns(
    described: Mapping[str, sa.types.TypeEngine[Any]], config: SqlConfig, columns: Sequence[str]
) -> Iterator[KeyColumn]:
    for name in [*config.key, *columns, *([config.order_by] if config.order_by else [])]:
        if name not in described:
            raise _no_column(f"table {config.table!r}", name, described)
    for i, name in enumerate(config.key):
        sql_type = described[name]
        yield KeyColumn(
            name,
            config.key_types[i] if config.key_types else key_type_of(name, sql_type),
            blank_padded=isinstance(sql_type, sa.CHAR),
            unsigned=bool(getattr(sql_type, "unsigned", False)),
        )


def _table_columns(connection: sa.Connection, config: SqlConfig) -> dict[str, sa.types.TypeEngine[Any]]:
    inspector, schema = sa.inspect(connection), config.table_schema or None
    try:
        return {each["name"]: each["type"] for each in inspector.get_columns(config.table, schema)}
    except NoSuchTableError:
        tables = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        raise ConfigError(
            f"the database has no table or view {config.table!r}" + (f" in the schema {schema!r}" if schema else ""),
            hint=_nearest(config.table, tables, "tables"),
        ) from None


def _refuse_rounded(described: Sequence[Any], names: Collection[str]) -> None:
    """Refuse a query's columns of MySQL's FLOAT: of their seven to nine digits it sends six."""
    for name, type_code, *_ in described:
        if type_code == _MYSQL_FLOAT and name in names:
            raise ConfigError(
                f"the query's column {name!r} is a FLOAT, of which MySQL and MariaDB send six digits only",
                hint=f"compute with it in the query: {name} + 0e0 AS {name}",
            )


def _no_column(place: str, name: str, present: Iterable[str]) -> ConfigError:
    names = list(present)
    if name in names:
        return ConfigError(f"{place} has several columns {name!r}")
    return ConfigError(f"{place} has no column {name!r}", hint=_nearest(name, names, "columns"))


def _nearest(name: str, present: Sequence[str], what: str) -> str:
    lowered = {each.lower(): each for each in present}
    near = [lowered[each] for each in get_close_matches(name.lower(), lowered, 3)]
    return f"did you mean {_listed(near)}?" if near else f"{what} there: {_listed(present) or 'none'}"


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(map(repr, shown[:_SHOWN])) + (", …" if len(shown) > _SHOWN else "")


def no_rows(missing: Sequence[bool]) -> FeatureError:
    """The error about ids without a row."""
    return _refused(missing, "no row", "")


def _refused(concerned: Sequence[bool], what: str, hint: str) -> FeatureError:
    places = [row for row, is_concerned in enumerate(concerned) if is_concerned]
    shown = ", ".join(map(str, places[:_SHOWN])) + (", …" if len(places) > _SHOWN else "")
    return FeatureError(
        f"{len(places)} of {len(concerned)} ids have {what} in the database (request rows {shown})", hint=hint
    )


def _chunks(keys: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
