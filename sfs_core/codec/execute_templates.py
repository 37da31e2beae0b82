"""The fast way for the `Execute` messages that cross the wire most: calls for ids, and answers with one column of
numbers or with one block of tables.

In such a call, everything but the ids and its trace is the same from call to call; in such an answer, everything but
the values depends on names, schemas and the number of rows. The rest is written by protobuf once and remembered; what
comes out is byte for byte what protobuf writes. Reading goes the other way round: a message is read here only if it
differs from one that protobuf has read, or would write, in these places alone. Everything else is left to protobuf.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from itertools import chain
from struct import unpack_from
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from sfs_core.batch import Batch, Schema
from sfs_core.block import PartyBlocks, TableBlock
from sfs_core.codec.block_templates import BLOCKS
from sfs_core.codec.entries import TRACE_ENTRIES
from sfs_core.codec.execution import ExecuteCall, ExecuteReply, call_from_message, reply_to_message
from sfs_core.errors import SfsError
from sfs_core.proto import apis_pb2

__all__ = ["CallTemplates", "ReplyTemplates"]

_MOST_TEMPLATES: Final = 1024
"""Names come from peers: templates do not grow for ever."""
_MOST_ALIKE: Final = 16
"""Templates that are tried for one message."""
_LARGEST_LEARNT: Final = 64 << 10
"""A call is read several times to see what others like it have in common."""
_MOST_IN_VAIN: Final = 16
"""After so many calls in a row that none came like, none is remembered any more: each is another."""
_MOST_ROWS: Final = 64
"""Larger tables gain little from templates, of which there is one for each number of rows."""
_TRACE: Final = frozenset(TRACE_ENTRIES)
_STREAM_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_SOURCE: Final = bytes([apis_pb2.ExecuteRequest.FEATURE_SOURCE_FIELD_NUMBER << 3 | 2])
_RESULT: Final = bytes([apis_pb2.ExecuteResponse.RESULT_FIELD_NUMBER << 3 | 2])


class CallTemplates:
    """Remembered calls for ids whose header entries are those of their trace."""

    def __init__(self) -> None:
        self._templates: list[_CallTemplate] = []
        self._in_vain = 0

    def read(self, data: bytes) -> ExecuteCall | None:
        """The record of a message; None where protobuf must read it."""
        for template in self._templates:
            call = template.read(data)
            if call is not None:
                self._in_vain = 0
                return call
        return None

    def learn(self, data: bytes, call: ExecuteCall) -> None:
        """Remember a message that protobuf read as `call`, and that was answered as asked."""
        if not call.ids or call.headers.keys() != _TRACE:
            return
        if len(data) > _LARGEST_LEARNT or self._in_vain > _MOST_IN_VAIN:
            return
        self._in_vain += 1
        try:
            self._templates = [_CallTemplate(data), *self._templates][:_MOST_ALIKE]
        except (ValueError, DecodeError, SfsError):
            return


class _CallTemplate:
    """A call, but for the values of its trace and for what is looked up, which ends the message.

    Raises:
        ValueError, DecodeError, SfsError: the message is of another kind.
    """

    def __init__(self, data: bytes) -> None:
        call = _read(data)
        self._key = call.service, call.requester, call.per_row, call.model
        head = _before_source(data)
        self._size = len(head)
        places = sorted((_place(head, name, value), name) for name, value in call.headers.items())
        self._values = [(name, slice(*place)) for place, name in places]
        bounds = [0, *chain.from_iterable(place for place, _ in places), len(head)]
        self._fixed = [(slice(*place), head[slice(*place)]) for place in zip(bounds[::2], bounds[1::2], strict=True)]
        other = bytearray(data)
        for _, value in self._values:
            other[value] = bytes(byte ^ 1 for byte in other[value])
        if any(self.read(each) != _read(each) for each in (data, bytes(other))):
            raise ValueError

    def read(self, data: bytes) -> ExecuteCall | None:
        """The record of a message like it."""
        for place, fixed in self._fixed:
            if data[place] != fixed:
                return None
        start = _content(data, self._size)
        if start is None:
            return None
        try:
            headers = {name: data[place].decode("ascii") for name, place in self._values}
            source = apis_pb2.FeatureSource.FromString(data[start:])
        except (UnicodeDecodeError, DecodeError):
            return None
        ids = list(source.fs_param.query_datas)
        if source.type != apis_pb2.FS_SERVICE or not ids:
            return None
        context = source.fs_param.query_context
        service, requester, per_row, model = self._key
        return ExecuteCall(service, requester, 0, headers, per_row, model, ids, context)


def _read(data: bytes) -> ExecuteCall:
    """The record of a message, as protobuf reads it."""
    return call_from_message(apis_pb2.ExecuteRequest.FromString(data))


def _before_source(data: bytes) -> bytes:
    """A call up to the length of its feature source, which must end it."""
    source = apis_pb2.ExecuteRequest.FromString(data).feature_source.SerializeToString()
    head = data.removesuffix(_SOURCE + _varint(len(source)) + source)
    if apis_pb2.ExecuteRequest.FromString(head).HasField("feature_source"):
        raise ValueError
    return head + _SOURCE


def _place(head: bytes, name: str, value: str) -> tuple[int, int]:
    """Where the value of a header entry stands."""
    entry = apis_pb2.Header(data={name: value}).SerializeToString()
    end = head.index(entry) + len(entry)
    return end - len(value), end


_Key = tuple[str, str, Schema, int]  # service, node, rows


class ReplyTemplates:
    """Remembered answers with the table of one node, one column of float64, or with a block of tables."""

    def __init__(self) -> None:
        self._beginnings: dict[_Key, bytes] = {}
        self._known: dict[int, list[tuple[bytes, str, Schema, int]]] = {}
        self._services: list[bytes] = []

    def write(self, service: str, reply: ExecuteReply) -> bytes | None:
        """The message; None where protobuf must write it."""
        outputs = reply.outputs
        if reply.headers or reply.missing is not None:
            return None
        if type(outputs) is TableBlock:
            nodes = BLOCKS.write(PartyBlocks([outputs]))
            return None if nodes is None else b"".join((_before_result(service), _varint(len(nodes)), nodes))
        if len(outputs) != 1:
            return None
        ((node, table),) = outputs.items()
        values = _values(table)
        if values is None:
            return None
        return self._beginning((service, node, table.schema, table.num_rows)) + values + _STREAM_END

    def read(self, data: bytes) -> ExecuteReply | None:
        """The record of a message; None where protobuf must read it."""
        for beginning, node, schema, rows in self._known.get(len(data), ()):
            if data.startswith(beginning) and data.endswith(_STREAM_END):
                return ExecuteReply({node: _table(data, len(beginning), schema, rows)})
        for beginning in self._services:
            if data.startswith(beginning) and (start := _content(data, len(beginning))) is not None:
                tables = BLOCKS.read(data[start:])
                if tables is not None and len(tables.blocks) == 1:
                    return ExecuteReply(tables.blocks[0])
        return None

    def expect(self, service: str, reply: ExecuteReply) -> None:
        """Read further answers of this kind here; protobuf has read this one."""
        outputs = reply.outputs
        if type(outputs) is TableBlock:
            if (beginning := _before_result(service)) not in self._services:
                self._services = [beginning, *self._services][:_MOST_ALIKE]
            return
        message = self.write(service, reply)
        if message is None or self.read(message) is not None:
            return
        ((node, table),) = outputs.items()
        beginning = self._beginning((service, node, table.schema, table.num_rows))
        known = _bounded(self._known).setdefault(len(message), [])
        known[:] = [(beginning, node, table.schema, table.num_rows), *known[: _MOST_ALIKE - 1]]

    def _beginning(self, key: _Key) -> bytes:
        beginning = self._beginnings.get(key)
        if beginning is None:
            service, node, schema, rows = key
            zeros = ExecuteReply({node: Batch(schema, rows, [np.zeros(rows)])})
            message = reply_to_message(service, zeros).SerializeToString()
            end = bytes(8 * rows) + _STREAM_END
            assert message.endswith(end)
            beginning = _bounded(self._beginnings)[key] = message[: -len(end)]
        return beginning


@lru_cache(maxsize=64)
def _before_result(service: str) -> bytes:
    """An answer up to the length of its result."""
    return reply_to_message(service, ExecuteReply({})).SerializeToString() + _RESULT


def _values(table: Batch) -> bytes | None:
    """The values of a column as they stand in a message; None for any other table."""
    if len(table.schema) != 1 or not table.schema.all_float64 or not 0 < table.num_rows <= _MOST_ROWS:
        return None
    if table.has_rows:
        return array("d", [row[0] for row in table.rows()]).tobytes()
    if table.form == "columns" and not isinstance(table.column(0), np.ndarray):
        return None
    return table.float64(0).tobytes()


def _table(data: bytes, start: int, schema: Schema, rows: int) -> Batch:
    if rows == 1:
        return Batch(schema, 1, rows=[unpack_from("<d", data, start)])
    return Batch(schema, rows, [np.frombuffer(data, np.float64, rows, start)])


def _bounded(known: dict[Any, Any]) -> dict[Any, Any]:
    """Room for one more."""
    if len(known) >= _MOST_TEMPLATES:
        known.clear()
    return known


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _content(data: bytes, start: int) -> int | None:
    """Where the content of the field begins whose length stands at `start`; None unless it ends with the data."""
    size = shift = 0
    for place in range(start, min(start + 5, len(data))):
        size |= (data[place] & 0x7F) << shift
        shift += 7
        if data[place] < 0x80:
            return place + 1 if place + 1 + size == len(data) else None
    return None
