"""Keys: from the text of an id to the values of the key's columns, and back from a row to the text.

An id finds a row only if the row's key, written as text, is exactly the id: `07` does not find 7, nor `a` find `A`
where the database compares without regard to case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from sfs_core import ConfigError

from .options import KeyType

__all__ = ["Key", "KeyColumn", "key_type_of"]


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One column of the key.

    Args:
        name: the column's.
        type: what it holds.
        blank_padded: whether the database pads its texts with blanks (CHAR).
        unsigned: whether its integers are unsigned.
    """

    name: str
    type: KeyType
    blank_padded: bool = False
    unsigned: bool = False

    @property
    def sql_type(self) -> sa.types.TypeEngine[Any]:
        """The type of a bound value."""
        return _SQL_TYPES[self.type]

    def parse(self, text: str) -> Any:
        """The value whose text is exactly `text`; None if this column cannot hold such a value."""
        value = _PARSERS[self.type](text)
        if self.type == "integer" and value is not None:
            low, high = (0, 2**64) if self.unsigned else (-(2**63), 2**63)
            return value if low <= value < high else None
        return value

    def text(self, value: Any) -> str:
        """The text of a value from the database."""
        return str(value).rstrip(" ") if self.blank_padded else str(value)


class Key:
    """The whole key, of one column or several."""

    def __init__(self, columns: Sequence[KeyColumn], separator: str) -> None:
        self.columns = tuple(columns)
        self._separator = separator

    def parse(self, id_: str) -> Any:
        """The key of an id: a value, or a tuple of values of a composite key; None if there can be no such key."""
        if len(self.columns) == 1:
            return self.columns[0].parse(id_)
        parts = id_.split(self._separator)
        if len(parts) != len(self.columns):
            return None
        values = tuple(column.parse(part) for column, part in zip(self.columns, parts, strict=True))
        return None if None in values else values

    def keys_of(self, ids: Iterable[str]) -> dict[str, Any]:
        """The key of each id, once each; ids that there can be no key of are left out."""
        once = dict.fromkeys(ids)
        if len(self.columns) == 1 and self.columns[0].type == "text" and _are_texts("".join(once)):
            return {id_: id_ for id_ in once}
        return {id_: key for id_ in once if (key := self.parse(id_)) is not None}

    def ids_of(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """The ids of rows that begin with the key's columns."""
        if len(self.columns) > 1:
            return [
                self._separator.join(column.text(value) for column, value in zip(self.columns, row, strict=False))
                for row in rows
            ]
        values = [row[0] for row in rows]
        return list(map(self.columns[0].text if self.columns[0].blank_padded else str, values))


def key_type_of(name: str, sql_type: sa.types.TypeEngine[Any]) -> KeyType:
    """What a column of the given SQL type holds.

    Raises:
        ConfigError: ids cannot be looked up in such a column.
    """
    for known, key_type in _KEY_TYPES:
        if isinstance(sql_type, known):
            return key_type
    raise ConfigError(
        f"key column {name!r} is of type {type(sql_type).__name__}: ids are looked up in text, integers and UUIDs only",
        hint="say what it holds with `key_types`, or convert it in a `query`",
    )


def _integer(text: str) -> int | None:
    try:
        value = int(text) if len(text) <= 20 else None
    except ValueError:
        return None
    return value if str(value) == text else None


def _uuid(text: str) -> UUID | None:
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None


def _text(text: str) -> str | None:
    return text if _are_texts(text) else None


def _are_texts(text: str) -> bool:
    """Databases hold neither NUL nor lone surrogates in texts, and drivers fail on them."""
    return "\0" not in text and (text.isascii() or text.encode("utf-8", "replace").decode() == text)


_PARSERS: Final[dict[KeyType, Callable[[str], Any]]] = {"text": _text, "integer": _integer, "uuid": _uuid}
_SQL_TYPES: Final[dict[KeyType, sa.types.TypeEngine[Any]]] = {
    "text": sa.String(),
    "integer": sa.BigInteger(),
    "uuid": sa.Uuid(),
}
_KEY_TYPES: Final[tuple[tuple[type, KeyType], ...]] = (
    (sa.Integer, "integer"),
    (sa.Uuid, "uuid"),
    (sa.String, "text"),
)
