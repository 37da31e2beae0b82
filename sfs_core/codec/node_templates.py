"""The fast way for messages with the tables of many nodes, such as one small table for each tree of an ensemble.

In such a message, everything but the values of the tables depends on names, schemas and shapes only. It is written
and read node by node once per combination; from then on the values are put between the remembered bytes. Reading
takes the values out, puts them between the remembered bytes again and compares: only a message that is exactly what
would be written here is read so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core.batch import Batch, Schema
from sfs_core.codec.arrow_ipc import encode_batch
from sfs_core.proto import apis_pb2

__all__ = ["FEW_TABLES", "NodeTemplates"]

Nodes = Mapping[str, Sequence[Batch]]
"""Tables by node."""

FEW_TABLES: Final = 3
"""Up to so many gain nothing from templates."""
_LARGEST: Final = 1 << 20
"""Larger messages gain nothing from templates."""
_MOST_BYTES: Final = 32 << 20
"""Of all templates: names and shapes come from peers, too."""
_END_OF_STREAM: Final = 8


class NodeTemplates:
    """Remembered `nodes` of messages (`ExecutionTask` and `ExecuteResult` write them alike)."""

    def __init__(self) -> None:
        self._by_shape: dict[Any, _Template | None] = {}
        self._by_size: dict[int, list[_Template]] = {}
        self._bytes = 0

    def write(self, nodes: Nodes) -> bytes | None:
        """The message with these nodes and nothing else; None where no template fits."""
        found = self._template(nodes)
        if found is None:
            return None
        template, columns = found
        try:
            return template.write(columns)
        except TypeError:  # an array that is not contiguous is none of bytes
            return None

    def read(self, data: bytes) -> dict[str, list[Batch]] | None:
        """The tables in a message with nothing but nodes; None where it must be read node by node."""
        for template in self._by_size.get(len(data), ()):
            nodes = template.read(data)
            if nodes is not None:
                return nodes
        return None

    def learn(self, data: bytes, nodes: Nodes) -> None:
        """Remember a message that was read node by node."""
        template, columns = self._template(nodes) or (None, ())
        if template is None or template.size != len(data) or template.write(columns) != data:
            return
        known = self._by_size.setdefault(template.size, [])
        if template not in known:
            known.append(template)

    def _template(self, nodes: Nodes) -> tuple[_Template, list[Any]] | None:
        tables = [table for batches in nodes.values() for table in batches]
        columns = [table.column(0) for table in tables if table.form == "columns" and table.schema.names]
        if not FEW_TABLES < len(tables) == len(columns) or {type(column) for column in columns} != {np.ndarray}:
            return None
        schemas = tuple([table.schema for table in tables])
        counts = tuple(map(len, nodes.values()))
        key = tuple(nodes), counts, schemas, tuple([column.shape for column in columns])
        try:
            template = self._by_shape[key]
        except KeyError:
            template = self._remember(key, _made(nodes, schemas, columns))
        return None if template is None else (template, columns)

    def _remember(self, key: Any, template: _Template | None) -> _Template | None:
        self._bytes += 1000 if template is None else template.size
        if self._bytes > _MOST_BYTES:
            self._by_shape.clear()
            self._by_size.clear()
            self._bytes = 0
        self._by_shape[key] = template
        return template


class _Template:
    """A message without its values.

    Args:
        counts: by node, how many tables it has.
        schemas: of all tables.
        columns: of all tables, an example.
        data: the message with the example.
        starts: where in it each table's values begin.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        schemas: Sequence[Schema],
        columns: Sequence[Any],
        data: bytes,
        starts: Sequence[int],
    ) -> None:
        self.size = len(data)
        ends = list(accumulate(counts.values()))
        self._nodes = [(name, slice(end - count, end)) for (name, count), end in zip(counts.items(), ends, strict=True)]
        self._schemas = schemas
        self._places = [slice(start, start + column.nbytes) for start, column in zip(starts, columns, strict=True)]
        self._pieces = [b""] * (2 * len(starts) + 1)
        begins = [0, *(place.stop for place in self._places)]
        self._pieces[::2] = [data[begin:end] for begin, end in zip(begins, [*starts, None], strict=True)]
        alike: dict[Any, list[int]] = defaultdict(list)
        for i, column in enumerate(columns):
            alike[column.dtype, column.shape].append(i)
        self._alike = [(dtype, shape, indices) for (dtype, shape), indices in alike.items()]

    def write(self, columns: Sequence[Any]) -> bytes:
        """The message with these values."""
        pieces = self._pieces.copy()
        pieces[1::2] = columns
        return b"".join(pieces)

    def read(self, data: bytes) -> dict[str, list[Batch]] | None:
        """The tables in a message of this length; None if it differs in more than the values."""
        values = [data[place] for place in self._places]
        if self.write(values) != data:
            return None
        tables: list[Any] = [None] * len(values)
        for dtype, shape, indices in self._alike:
            joined = np.frombuffer(b"".join([values[i] for i in indices]), dtype)
            for i, column in zip(indices, joined.reshape(len(indices), *shape), strict=True):
                tables[i] = Batch(self._schemas[i], shape[0], [column])
        return {name: tables[place] for name, place in self._nodes}


def _made(nodes: Nodes, schemas: Sequence[Schema], columns: Sequence[Any]) -> _Template | None:
    if not all(_is_plain(schema, column) for schema, column in zip(schemas, columns, strict=True)):
        return None
    message = apis_pb2.ExecuteResult()
    starts = []
    streams = {name: [encode_batch(table) for table in tables] for name, tables in nodes.items()}
    for name, of_node in streams.items():
        message.nodes.add(name=name).ios.add().datas.extend(of_node)
    data = message.SerializeToString()
    if len(data) > _LARGEST:
        return None
    end = 0
    for stream, column in zip((stream for of_node in streams.values() for stream in of_node), columns, strict=True):
        end = data.index(stream, end) + len(stream)
        starts.append(end - _END_OF_STREAM - (-column.nbytes % 8) - column.nbytes)
    return _Template({name: len(tables) for name, tables in nodes.items()}, schemas, columns, data, starts)


def _is_plain(schema: Schema, column: Any) -> bool:
    """Whether a stream ends with the values, zeros up to a multiple of eight bytes, and the end-of-stream marker."""
    if len(schema) != 1 or not len(column):
        return False
    return schema.all_float64 if column.ndim == 1 else bool(schema.types[0] == pa.binary())
