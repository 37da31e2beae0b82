"""The fast way for tables of one row and several binary or text columns, which is how encrypted values travel.

In the stream of such a table, everything but the values, their lengths and what follows from these depends on the
schema only. pyarrow writes it once per schema; from then on numbers are put into a copy. What comes out is byte for
byte what pyarrow writes. A stream is read without pyarrow if its schema has been seen before and writing the values
that are found in it gives the same stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error
from typing import Final

import pyarrow as pa

from sfs_core.batch import Batch, Row, Schema

__all__ = ["OneRowStreams"]

_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_MOST_SCHEMAS: Final = 1024
_MOST_COLUMNS: Final = 16
_BINARY: Final = pa.binary()
_TYPES: Final = (_BINARY, pa.utf8())
_HEAD: Final = Struct("<ii")  # continuation marker, length of the metadata that follow
_LENGTH: Final = Struct("<q")
_ENDS: Final = Struct("<ii")  # of a value


class OneRowStreams:
    """Remembered streams without values, for writing and for reading.

    Args:
        encode: writes any batch, through pyarrow.
    """

    def __init__(self, encode: Callable[[Batch], bytes]) -> None:
        self._encode = encode
        self._forms: dict[Schema, _Form] = {}
        self._schemas: dict[bytes, Schema] = {}

    def write(self, batch: Batch) -> bytes | None:
        """The stream of a batch; None where it is no such table."""
        if batch.num_rows != 1 or not batch.has_rows or not _fits(batch.schema):
            return None
        values = [value.encode() if type(value) is str else value for value in batch.rows()[0]]
        if any(type(value) is not bytes for value in values):
            return None
        return self._form(batch.schema).write(values)

    def read(self, data: bytes) -> Batch | None:
        """The batch in a stream; None where it must be read by pyarrow."""
        try:
            _, length = _HEAD.unpack_from(data)
            schema = self._schemas.get(data[: _HEAD.size + length])
            row = self._form(schema).read(data) if schema is not None else None
        except (error, UnicodeDecodeError):
            return None
        return None if row is None or schema is None else Batch(schema, 1, rows=[row])

    def learn(self, data: bytes, batch: Batch) -> None:
        """Remember the schema of a stream that pyarrow read as `batch`."""
        if batch.num_rows == 1 and _fits(batch.schema):
            _, length = _HEAD.unpack_from(data)
            if len(self._schemas) >= _MOST_SCHEMAS:  # names come from peers: do not grow for ever
                self._schemas.clear()
            self._schemas[data[: _HEAD.size + length]] = batch.schema

    def _form(self, schema: Schema) -> _Form:
        form = self._forms.get(schema)
        if form is None:
            if len(self._forms) >= _MOST_SCHEMAS:
                self._forms.clear()
            form = self._forms[schema] = _Form(schema, self._encode)
        return form


def _fits(schema: Schema) -> bool:
    return 1 < len(schema) <= _MOST_COLUMNS and all(type_ in _TYPES for type_ in schema.types)


class _Form:
    """The stream of a schema's tables of one row, but for what depends on the values.

    Of each column, the metadata name three buffers, by offset and length: which values are null (no bytes, as none
    is), where values begin and end (two 32-bit numbers), and the values. They name the length of all of them, too.
    """

    def __init__(self, schema: Schema, encode: Callable[[Batch], bytes]) -> None:
        self._texts = [type_ != _BINARY for type_ in schema.types]
        self._buffers = Struct(f"<{6 * len(schema)}q")
        samples = [[b"a" * (length + 16 * i) for i in range(len(schema))] for length in (3, 1003)]
        streams = [encode(Batch(schema, 1, rows=[self._row(sample)])) for sample in samples]
        places = self._places([len(value) for value in samples[0]])
        body = places[-2] + _padded(places[-1])
        self._metadata = streams[0][: -body - len(_END)]
        self._at = self._metadata.index(self._buffers.pack(*places))
        self._at_body = self._metadata.index(_LENGTH.pack(body))
        assert [self.write(sample) for sample in samples] == streams

    def write(self, values: Sequence[bytes]) -> bytes:
        """The stream of a row."""
        parts = [self._beginning([len(value) for value in values])]
        for value in values:
            parts += (_ENDS.pack(0, len(value)), value, bytes(-len(value) % 8))
        parts.append(_END)
        return b"".join(parts)

    def read(self, data: bytes) -> Row | None:
        """The row in a stream of this schema; None unless `write` would make that stream of it.

        Raises:
            struct.error: the stream is shorter than its metadata, or names lengths that cannot be.
            UnicodeDecodeError: a text is none.
        """
        lengths = self._buffers.unpack_from(data, self._at)[5::6]
        if min(lengths) < 0 or not data.startswith(self._beginning(lengths)):
            return None
        at, values = len(self._metadata), []
        for length in lengths:
            start = at + _ENDS.size
            end, at = start + length, start + _padded(length)
            if data[start - _ENDS.size : start] != _ENDS.pack(0, length) or any(data[end:at]):
                return None
            values.append(data[start:end])
        return self._row(values) if data[at:] == _END else None

    def _beginning(self, lengths: Sequence[int]) -> bytes:
        """The schema and the metadata of a row whose values have these lengths."""
        metadata, places = bytearray(self._metadata), self._places(lengths)
        self._buffers.pack_into(metadata, self._at, *places)
        _LENGTH.pack_into(metadata, self._at_body, places[-2] + _padded(places[-1]))
        return bytes(metadata)

    def _row(self, values: Sequence[bytes]) -> Row:
        return tuple(value.decode() if is_text else value for value, is_text in zip(values, self._texts, strict=True))

    def _places(self, lengths: Sequence[int]) -> list[int]:
        """Offset and length of each buffer."""
        places: list[int] = []
        at = 0
        for length in lengths:
            start = at + _ENDS.size
            places += (at, 0, at, _ENDS.size, start, length)
            at = start + _padded(length)
        return places


def _padded(length: int) -> int:
    """A multiple of 8: where the next buffer starts."""
    return length + -length % 8
