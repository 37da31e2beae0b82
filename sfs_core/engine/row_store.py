"""Rows that are remembered until a time, within bounds."""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

from sfs_core.batch import Row

__all__ = ["RowKey", "RowStore", "StoredRow"]

_ENTRY_BYTES: Final = 300
"""Of a dictionary's entry, and the objects that hold key, end and size."""


class RowKey(NamedTuple):
    """What a row depends on: the id, the query context, and header entries."""

    id_: str
    context: str
    entries: tuple[object, ...]


class StoredRow(NamedTuple):
    """A row, or None for an id without one.

    Attributes:
        end: when it is to be forgotten.
        row: plain values.
        size: bytes that it takes with its key, as estimated.
    """

    end: float
    row: Row | None
    size: int


class RowStore:
    """Rows by what they depend on; those not used for longest make room.

    Args:
        max_rows: most rows.
        max_bytes: most memory, as estimated.

    Attributes:
        size: bytes in use, as estimated.
    """

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.size = 0
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._rows: dict[RowKey, StoredRow] = {}  # least used first

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, key: RowKey, now: float) -> StoredRow | None:
        """The row, if it has not ended; it is then the last to make room."""
        found = self._rows.pop(key, None)
        if found is None:
            return None
        if found.end <= now:
            self.size -= found.size
            return None
        self._rows[key] = found
        return found

    def keep(self, key: RowKey, end: float, row: Row | None) -> None:
        """Remember a row, instead of what was known."""
        self._forget(key)
        stored = self._rows[key] = StoredRow(end, row, _bytes_of(key) + _bytes_of_values(row or ()))
        self.size += stored.size
        while len(self._rows) > self._max_rows or self.size > self._max_bytes:
            self._forget(next(iter(self._rows)))

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
        self.size = 0

    def _forget(self, key: RowKey) -> None:
        if (stored := self._rows.pop(key, None)) is not None:
            self.size -= stored.size


def _bytes_of(key: RowKey) -> int:
    entries = [text for entry in key.entries for text in (entry if isinstance(entry, tuple) else (entry,))]
    return _ENTRY_BYTES + len(key.id_) + len(key.context) + _bytes_of_values(entries)


def _bytes_of_values(values: tuple[object, ...] | list[object]) -> int:
    return sys.getsizeof(values) + sum(map(sys.getsizeof, values))
