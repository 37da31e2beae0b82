"""This party's part of the first execution, remembered by id or computed ahead, for rows that never change."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from sfs_core.batch import Batch, Schema
from sfs_core.block import BlockLayout, TableBlock
from sfs_core.engine.plan import Plan
from sfs_core.sdk.operator import Operator

__all__ = ["PrecomputedRows", "can_precompute"]

Outputs = Mapping[str, Batch]
"""The tables of an execution's exit nodes."""

_ENTRY_BYTES: Final = 120
"""Of a dictionary's entry and the object of its key, without the key's text."""


def can_precompute(plan: Plan, operators: Mapping[str, Operator]) -> bool:
    """Whether what comes of a row follows from that row alone, and can be kept as plain values.

    Args:
        plan: the first execution's.
        operators: by node.
    """
    kept = all(operators[name].output_schema().row_types for name in plan.outputs)
    return kept and not plan.heavy and all(operators[name].row_wise for step in plan.steps for name in step)


class PrecomputedRows:
    """Outputs of the first execution, by id; made of replies when an id is first asked for, or ahead.

    The rows that were remembered first make room.

    Args:
        schemas: of the exit nodes.
        max_bytes: most memory, as estimated.

    Attributes:
        hits: calls that were answered from here.
        size: bytes in use, as estimated.
        full: whether rows had to make room.
    """

    def __init__(self, schemas: Mapping[str, Schema], max_bytes: int) -> None:
        self.hits = 0
        self.size = 0
        self.full = False
        self._schemas = dict(schemas)
        self._max_bytes = max_bytes
        self._form: _Form | None = None
        self._rows: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, ids: Sequence[str]) -> Outputs | None:
        """The tables of these rows; None unless all are known."""
        rows = list(map(self._rows.get, ids))
        if self._form is None or None in rows:
            return None
        self.hits += 1
        return self._form.joined(rows)

    def learn(self, ids: Sequence[str], outputs: Outputs) -> None:
        """Remember the rows of a reply without missing ones."""
        if self._form is None:
            self._form = _form(self._schemas, outputs)
        rows = self._form.split(outputs)
        if rows is None or len(rows) != len(ids):
            return
        for id_, row in zip(ids, rows, strict=True):
            if id_ not in self._rows:
                self._rows[id_] = row
                self.size += self._form.size(row) + _bytes_of_id(id_)
        while self.size > self._max_bytes:
            self.full = True
            id_ = next(iter(self._rows))
            self.size -= self._form.size(self._rows.pop(id_)) + _bytes_of_id(id_)


class _Form(Protocol):
    """How a row of all outputs is kept."""

    def split(self, outputs: Outputs) -> Sequence[Any] | None:
        """The rows; None if they cannot be kept in this form."""

    def joined(self, rows: Sequence[Any]) -> Outputs:
        """Rows as tables."""

    def size(self, row: Any) -> int:
        """Bytes of a row."""


def _form(schemas: Mapping[str, Schema], outputs: Outputs) -> _Form:
    return _Blocks(outputs.layout) if type(outputs) is TableBlock else _Tuples(schemas)


class _Tuples:
    """A row is a tuple with each output's tuple of plain values."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas

    def split(self, outputs: Outputs) -> Sequence[Any] | None:
        tables = [outputs[name] for name in self._schemas]
        if any(_has_nulls(table) for table in tables):  # which tuples cannot hold
            return None
        return list(zip(*(table.rows() for table in tables), strict=True))

    def joined(self, rows: Sequence[Any]) -> dict[str, Batch]:
        count = len(rows)
        columns = zip(self._schemas.items(), zip(*rows, strict=True), strict=True)
        return {name: Batch(schema, count, rows=list(of_node)) for (name, schema), of_node in columns}

    def size(self, row: Any) -> int:
        values = sum(sys.getsizeof(part) + sum(map(sys.getsizeof, part)) for part in row)
        return sys.getsizeof(row) + values


class _Blocks:
    """A row is the bytes of a block."""

    def __init__(self, layout: BlockLayout) -> None:
        self._layout = layout

    def split(self, outputs: Outputs) -> Sequence[Any] | None:
        if type(outputs) is not TableBlock or outputs.layout is not self._layout:
            return None
        return [row.tobytes() for row in outputs.array]

    def joined(self, rows: Sequence[Any]) -> TableBlock:
        block = np.frombuffer(b"".join(rows), np.uint8)
        return TableBlock(self._layout, block.reshape(len(rows), self._layout.width))

    def size(self, row: Any) -> int:
        return sys.getsizeof(row)


def _has_nulls(table: Batch) -> bool:
    if table.form != "columns":
        return False
    columns = map(table.column, range(len(table.schema)))
    return any(not isinstance(column, np.ndarray) and column.null_count for column in columns)


def _bytes_of_id(id_: str) -> int:
    return _ENTRY_BYTES + len(id_)
