"""Batches as Arrow IPC streams of exactly one record batch: the form in which tables cross the wire.

What arrives is hostile until proven otherwise: compressed bodies, dictionaries, several batches, lengths that do not
fit the buffers and row counts without data behind them are refused.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc

from sfs_core.batch import Batch
from sfs_core.codec.arrow_one_row import OneRowStreams
from sfs_core.codec.arrow_templates import StreamTemplates
from sfs_core.errors import ErrorCode, SfsError

__all__ = ["MAX_ROWS", "decode_batch", "encode_batch"]

MAX_ROWS: Final = 10_000_000
"""More rows than this in one table are refused."""

_ENDIANNESS_FIELD: Final = 0  # of flatbuffer table Schema (Arrow format, Schema.fbs)
_COMPRESSION_FIELD: Final = 3  # of flatbuffer table RecordBatch (Arrow format, Message.fbs)
_HEADER_FIELD: Final = 2  # of flatbuffer table Message


def encode_batch(batch: Batch) -> bytes:
    """The IPC stream of a batch: schema message, one record batch, end-of-stream marker; uncompressed."""
    return _TEMPLATES.write(batch) or _ONE_ROW.write(batch) or _encode(batch)


def _encode(batch: Batch) -> bytes:
    sink = pa.BufferOutputStream()
    record_batch = batch.to_arrow()
    with pa.ipc.new_stream(sink, record_batch.schema) as writer:
        writer.write_batch(record_batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


_TEMPLATES: Final = StreamTemplates(_encode)
_ONE_ROW: Final = OneRowStreams(_encode)


def decode_batch(data: bytes, what: str = "table") -> Batch:
    """The batch in an IPC stream.

    Args:
        data: the stream; the batch may share its memory.
        what: names the table in errors.

    Raises:
        SfsError: code 2 where the bytes are no such stream, 7 where they hold no batch or more than one.
    """
    known = _TEMPLATES.read(data) or _ONE_ROW.read(data)
    if known is not None:
        return known
    try:
        batch = Batch.from_arrow(_read_only_batch(data, what))
        _ONE_ROW.learn(data, batch)
        return _TEMPLATES.learn(data, batch)
    except (pa.ArrowException, OSError, ValueError, struct.error, StopIteration, OverflowError):
        raise _refused(what, "the bytes are no valid Arrow IPC stream") from None


def _read_only_batch(data: bytes, what: str) -> Any:
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    head = reader.read_next_message()
    if head.type != "schema":  # pyarrow would read it as one all the same, and crash
        raise _refused(what, f"a {head.type} stands where a schema is expected")
    if _is_big_endian(head.metadata.to_pybytes()):  # pyarrow would not swap the bytes of this one
        raise _refused(what, "big-endian values are not accepted")
    schema = pa.ipc.read_schema(head)
    if any(pa.types.is_dictionary(field.type) or pa.types.is_nested(field.type) for field in schema):
        raise _refused(what, "dictionary and nested columns are not accepted")
    try:
        message = reader.read_next_message()
    except StopIteration:
        raise _refused(what, "it holds no record batch", ErrorCode.LOGIC_ERROR) from None
    if message.type != "record batch":
        raise _refused(what, f"a {message.type} stands where a record batch is expected")
    if _is_compressed(message.metadata.to_pybytes()):
        raise _refused(what, "compressed bodies are not accepted")
    batch = pa.ipc.read_record_batch(message, schema)
    if batch.num_rows > MAX_ROWS:
        raise _refused(what, f"it claims {batch.num_rows} rows, at most {MAX_ROWS} are accepted")
    batch.validate(full=True)
    try:
        reader.read_next_message()
    except StopIteration:
        return batch
    raise _refused(what, "it holds more than one record batch", ErrorCode.LOGIC_ERROR)


def _refused(what: str, why: str, code: ErrorCode = ErrorCode.UNEXPECTED_ERROR) -> SfsError:
    return SfsError(f"{what} cannot be read: {why}", code=code)


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch message has the `compression` field; pyarrow does not tell before it has expanded."""
    return bool(_header_field(metadata, _COMPRESSION_FIELD))


def _is_big_endian(metadata: bytes) -> bool:
    at = _header_field(metadata, _ENDIANNESS_FIELD)
    return bool(at) and struct.unpack_from("<h", metadata, at) != (0,)


def _header_field(metadata: bytes, field: int) -> int:
    """Where a field of a message's header lies, 0 if it is absent."""
    (root,) = struct.unpack_from("<I", metadata, 0)
    header = _table_field(metadata, root, _HEADER_FIELD)
    if not header:
        return 0
    (offset,) = struct.unpack_from("<I", metadata, header)
    return _table_field(metadata, header + offset, field)


def _table_field(data: bytes, table: int, field: int) -> int:
    """Where a flatbuffer table's field lies, 0 if it is absent (FlatBuffers internals, `vtable`)."""
    (to_vtable,) = struct.unpack_from("<i", data, table)
    vtable = table - to_vtable
    (size,) = struct.unpack_from("<H", data, vtable)
    entry = 4 + 2 * field
    if entry + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + entry)
    return table + offset if offset else 0
