"""The fast way for the tables that cross the wire most: one float64 column, or one binary column of one width.

In the stream of such a table, everything before the values depends on schema, number of rows and width only. pyarrow
writes it once per combination, with zeros for values; from then on values are put behind the remembered bytes. What
comes out is byte for byte what pyarrow writes. Reading goes the other way round: a stream that pyarrow has read and
that equals what would be written here shows its beginning to be such bytes; later streams of that length that begin
with them are read without pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core.batch import Batch, Schema

__all__ = ["StreamTemplates"]

_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_MOST_ROWS: Final = 4096
"""Larger tables gain nothing from templates."""
_MOST_TEMPLATES: Final = 4096
_MOST_BEGINNINGS: Final = 8
"""Of one length; columns with names of equal length differ in nothing but the beginning."""
_FLOAT64: Final = pa.float64()
_BINARY: Final = pa.binary()

_Key = tuple[Schema, int, int]  # rows; width in bytes of a binary value, -1 for float64


class StreamTemplates:
    """Remembered beginnings of Arrow IPC streams, for writing and for reading.

    Args:
        encode: writes any batch, through pyarrow.
    """

    def __init__(self, encode: Callable[[Batch], bytes]) -> None:
        self._encode = encode
        self._beginnings: dict[_Key, bytes] = {}
        self._known: dict[int, list[tuple[bytes, _Key]]] = {}

    def write(self, batch: Batch) -> bytes | None:
        """The stream of a batch; None where no template fits."""
        schema = batch.schema
        if len(schema) != 1 or not 0 < batch.num_rows <= _MOST_ROWS:
            return None
        if schema.all_float64:
            if batch.form == "columns" and not isinstance(batch.column(0), np.ndarray):
                return None
            return self._beginning((schema, batch.num_rows, -1)) + batch.float64(0).tobytes() + _END
        if schema.types[0] != _BINARY or batch.form != "columns":
            return None
        block = batch.column(0)
        if not isinstance(block, np.ndarray):
            return None
        padding = bytes(-block.size % 8)
        return self._beginning((schema, *block.shape)) + block.tobytes() + padding + _END

    def read(self, data: bytes) -> Batch | None:
        """The batch in a stream; None where it must be read by pyarrow."""
        for beginning, (schema, rows, width) in self._known.get(len(data), ()):
            if data.startswith(beginning) and data.endswith(_END):
                if width < 0:
                    return Batch(schema, rows, [np.frombuffer(data, np.float64, rows, len(beginning))])
                values = np.frombuffer(data, np.uint8, rows * width, len(beginning))
                return Batch(schema, rows, [values.reshape(rows, width)])
        return None

    def learn(self, data: bytes, batch: Batch) -> Batch:
        """Remember the beginning of a stream that pyarrow read as `batch`; the batch in its best form."""
        plain = _plain(batch)
        if plain is None or self.write(plain) != data:
            return batch
        width = -1 if plain.schema.all_float64 else plain.column(0).shape[1]
        key = (plain.schema, plain.num_rows, width)
        if len(self._known) >= _MOST_TEMPLATES:  # lengths come from peers: do not grow for ever
            self._known.clear()
        beginnings = self._known.setdefault(len(data), [])
        del beginnings[_MOST_BEGINNINGS - 1 :]
        beginnings.insert(0, (self._beginning(key), key))
        return plain

    def _beginning(self, key: _Key) -> bytes:
        beginning = self._beginnings.get(key)
        if beginning is None:
            beginning = self._made_beginning(*key)
            if len(self._beginnings) >= _MOST_TEMPLATES:
                self._beginnings.clear()
            self._beginnings[key] = beginning
        return beginning

    def _made_beginning(self, schema: Schema, rows: int, width: int) -> bytes:
        shape = (rows,) if width < 0 else (rows, width)
        zeros = np.zeros(shape, np.float64 if width < 0 else np.uint8)
        stream = self._encode(Batch(schema, rows, [zeros]))
        size = zeros.nbytes + -zeros.nbytes % 8
        assert stream.endswith(bytes(size) + _END)
        return stream[: -size - len(_END)]


def _plain(batch: Batch) -> Batch | None:
    """The batch with a NumPy column, where it is of a kind that templates are for."""
    if len(batch.schema) != 1 or not 0 < batch.num_rows <= _MOST_ROWS:
        return None
    column: Any = batch.arrow(0)
    if column.null_count:
        return None
    if batch.schema.all_float64:
        return Batch(batch.schema, batch.num_rows, [column.to_numpy()])
    if batch.schema.types[0] != _BINARY:
        return None
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[column.offset : column.offset + len(column) + 1]
    width = int(offsets[1] - offsets[0])
    if not np.array_equal(np.diff(offsets), np.full(len(column), width)):
        return None
    values = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    return Batch(batch.schema, batch.num_rows, [values.reshape(len(column), width)])
