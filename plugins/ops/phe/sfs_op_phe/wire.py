"""HEU's bytes: big integers, msgpack's few forms that occur, tagged objects and matrices of them.

    integer   sign and magnitude, little-endian; the top bit of the last byte is the sign
    tagged    payload || u64: a key or ciphertext with the number of its scheme, a plaintext with 1
    matrix    msgpack [rows, columns, dimensions, [item, …]]; items are tagged objects, column by column

Nothing is reserved on the word of a length that is read: counts are compared with the bytes that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from gmpy2 import mpz

from sfs_core import ErrorCode, SfsError

__all__ = [
    "PLAINTEXT_TAG",
    "TAG_BYTES",
    "Matrix",
    "Reader",
    "WireError",
    "integer_from_bytes",
    "integer_to_bytes",
    "join_matrix",
    "read_ciphertext",
    "read_ciphertext_text",
    "read_matrix",
    "read_plaintext",
    "split_tag",
    "tagged",
    "write_array",
    "write_ciphertext",
    "write_ciphertext_text",
    "write_matrix",
    "write_plaintext",
    "write_text",
    "write_unsigned",
]

PLAINTEXT_TAG: Final = 1
"""Tag of a plaintext: the number of the big-integer type among HEU's."""
TAG_BYTES: Final = 8

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")
_TAG: Final = Struct("<Q")
_SMALLEST_ITEM: Final = 1 + 1 + TAG_BYTES  # text header, one byte of payload, tag


class WireError(SfsError):
    """Bytes are not what HEU writes."""

    default_code = ErrorCode.DESERIALIZE_FAILED


# -------------------------------------------------------------------- integers
def integer_to_bytes(value: int | mpz) -> bytes:
    """Sign and magnitude of an integer; a magnitude of 8k bits takes k + 1 bytes."""
    magnitude = abs(mpz(value))
    data: bytes = magnitude.to_bytes(magnitude.bit_length() // 8 + 1, "little")
    return data[:-1] + bytes([data[-1] | 0x80]) if value < 0 else data


def integer_from_bytes(data: bytes) -> mpz:
    """The integer; zero-padding and a negative zero are accepted.

    Raises:
        WireError: there are no bytes.
    """
    if not data:
        raise WireError("an integer without bytes")
    if data[-1] < 0x80:
        return mpz.from_bytes(data, "little")
    return -mpz.from_bytes(data[:-1] + bytes([data[-1] & 0x7F]), "little")


# --------------------------------------------------------------------- msgpack
class Reader:
    """Reads arrays, texts and unsigned integers of msgpack, one after the other."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def array(self) -> int:
        """Number of elements of an array, whose elements follow; never more than there are bytes left.

        Raises:
            WireError: here, and in the other methods: another type, or the bytes end.
        """
        head = self._take(1)[0]
        if head & 0xF0 == 0x90:
            count = head & 0x0F
        elif head == 0xDC:
            count = self._number(_U16)
        elif head == 0xDD:
            count = self._number(_U32)
        else:
            raise WireError("no array where one is expected")
        if count > self.left:
            raise WireError("an array claims more elements than there are bytes")
        return count

    def text(self) -> bytes:
        """A text's bytes."""
        head = self._take(1)[0]
        if head & 0xE0 == 0xA0:
            return self._take(head & 0x1F)
        if head == 0xDA:
            return self._take(self._number(_U16))
        if head == 0xD9:
            return self._take(self._take(1)[0])
        if head == 0xDB:
            return self._take(self._number(_U32))
        raise WireError("no text where one is expected")

    def texts(self, count: int) -> list[bytes]:
        """The bytes of several texts."""
        data, at, size = self._data, self._at, len(self._data)
        found = []
        for _ in range(count):
            start = at + 3
            if start <= size and data[at] == 0xDA:  # ciphertexts: thousands of them, without detours
                end = start + (data[at + 1] << 8 | data[at + 2])
                if end <= size:
                    found.append(data[start:end])
                    at = end
                    continue
            self._at = at
            found.append(self.text())
            at = self._at
        self._at = at
        return found

    def unsigned(self) -> int:
        """A non-negative integer."""
        head = self._take(1)[0]
        if head < 0x80:
            return head
        if head == 0xCC:
            return self._take(1)[0]
        if head == 0xCD:
            return self._number(_U16)
        if head == 0xCE:
            return self._number(_U32)
        if head == 0xCF:
            return self._number(_U64)
        raise WireError("no unsigned integer where one is expected")

    def end(self) -> None:
        """Nothing may follow."""
        if self.left:
            raise WireError(f"{self.left} bytes too many")

    def _number(self, form: Struct) -> int:
        number: int = form.unpack(self._take(form.size))[0]
        return number

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._data):
            self._at = start
            raise WireError("the bytes end too early")
        return self._data[start : self._at]


def write_array(count: int) -> bytes:
    """Head of an array of `count` elements."""
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + _U16.pack(count) if count < 1 << 16 else b"\xdd" + _U32.pack(count)


def write_text(data: bytes) -> bytes:
    """A text with the given bytes."""
    return _text_head(len(data)) + data


def _text_head(size: int) -> bytes:
    if size < 32:
        return bytes([0xA0 | size])
    if size < 1 << 8:
        return bytes([0xD9, size])
    return b"\xda" + _U16.pack(size) if size < 1 << 16 else b"\xdb" + _U32.pack(size)


def write_unsigned(number: int) -> bytes:
    """A non-negative integer below 2^64 in its shortest form."""
    if number < 0x80:
        return bytes([number])
    if number < 1 << 8:
        return bytes([0xCC, number])
    if number < 1 << 16:
        return b"\xcd" + _U16.pack(number)
    return b"\xce" + _U32.pack(number) if number < 1 << 32 else b"\xcf" + _U64.pack(number)


# -------------------------------------------------------------- tagged objects
def tagged(payload: bytes, tag: int) -> bytes:
    """A payload with its tag."""
    return payload + _TAG.pack(tag)


def split_tag(data: bytes) -> tuple[bytes, int]:
    """Payload and tag.

    Raises:
        WireError: there is no payload before the tag.
    """
    if len(data) <= TAG_BYTES:
        raise WireError("too short for a tagged object")
    return data[:-TAG_BYTES], _TAG.unpack(data[-TAG_BYTES:])[0]


def write_plaintext(value: int | mpz) -> bytes:
    """A tagged plaintext."""
    return tagged(integer_to_bytes(value), PLAINTEXT_TAG)


def read_plaintext(data: bytes) -> mpz:
    """The value of a tagged plaintext.

    Raises:
        WireError: it is none.
    """
    payload, tag = split_tag(data)
    if tag != PLAINTEXT_TAG:
        raise WireError(f"tag {tag} is not that of a plaintext")
    return integer_from_bytes(payload)


def write_ciphertext(value: mpz, scheme: int) -> bytes:
    """A tagged ciphertext of a scheme whose ciphertexts are one non-negative integer."""
    size = value.bit_length() // 8 + 1
    _, head, tail = _ciphertext_frame(size, scheme)
    content: bytes = value.to_bytes(size, "little")
    return head + content + tail


def write_ciphertext_text(value: mpz, scheme: int) -> bytes:
    """A tagged ciphertext as it stands in a matrix: as a text."""
    size = value.bit_length() // 8 + 1
    text_head, head, tail = _ciphertext_frame(size, scheme)
    content: bytes = value.to_bytes(size, "little")
    return text_head + head + content + tail


@lru_cache(1024)
def _ciphertext_frame(size: int, scheme: int) -> tuple[bytes, bytes, bytes]:
    """The head of the text, and what stands before and behind a ciphertext's integer of `size` bytes."""
    head, tail = b"\x91" + _text_head(size), _TAG.pack(scheme)
    return _text_head(len(head) + size + len(tail)), head, tail


def read_ciphertext(data: bytes, scheme: int) -> mpz:
    """The integer of a tagged ciphertext; may still lie outside the key's range.

    Raises:
        WireError: it is none, or of another scheme.
    """
    size = len(data) - 4 - TAG_BYTES  # the form of every key size in use; others take the long way
    if size >= 1 << 8 and size < 1 << 16:
        _, head, tail = _ciphertext_frame(size, scheme)
        if data.startswith(head) and data.endswith(tail) and data[-TAG_BYTES - 1] < 0x80:
            return mpz.from_bytes(data[4:-TAG_BYTES], "little")
    payload, tag = split_tag(data)
    if tag != scheme:
        raise WireError(f"a ciphertext of scheme {tag}, the key is of scheme {scheme}")
    reader = Reader(payload)
    if reader.array() != 1:
        raise WireError("a ciphertext is one integer")
    value = integer_from_bytes(reader.text())
    reader.end()
    if value < 0:
        raise WireError("a ciphertext is never negative")
    return value


def read_ciphertext_text(data: bytes, scheme: int) -> mpz:
    """The integer of a tagged ciphertext that is a text; raises like `read_ciphertext`."""
    return read_ciphertext(data[3:] if data[:1] == b"\xda" else Reader(data).text(), scheme)


# -------------------------------------------------------------------- matrices
@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix of tagged objects, as yet unread.

    Args:
        rows: number of rows.
        columns: number of columns.
        dimensions: 0 for a single item, 1 for a vector (one column), 2.
        items: the tagged objects, column by column.
    """

    rows: int
    columns: int
    dimensions: int
    items: Sequence[bytes]


def read_matrix(data: bytes) -> Matrix:
    """The matrix in `data`.

    Raises:
        WireError: it is none: the lengths do not agree, it has no items, or bytes are left over.
    """
    reader = Reader(data)
    if reader.array() != 4:
        raise WireError("no matrix: four parts are expected")
    rows, columns, dimensions = reader.unsigned(), reader.unsigned(), reader.unsigned()
    count = reader.array()
    if not count or rows * columns != count:
        raise WireError(f"a matrix of {rows} x {columns} with {count} items")
    if dimensions > 2 or (dimensions < 2 and columns != 1) or (dimensions == 0 and rows != 1):
        raise WireError(f"a matrix of {rows} x {columns} with {dimensions} dimensions")
    if count * _SMALLEST_ITEM > reader.left:
        raise WireError("a matrix claims more items than there are bytes")
    items = reader.texts(count)
    reader.end()
    return Matrix(rows, columns, dimensions, items)


def write_matrix(rows: int, columns: int, dimensions: int, items: Iterable[bytes]) -> bytes:
    """A matrix of tagged objects, which come column by column."""
    return join_matrix(rows, columns, dimensions, map(write_text, items))


def join_matrix(rows: int, columns: int, dimensions: int, texts: Iterable[bytes]) -> bytes:
    """A matrix of tagged objects that are written as texts already."""
    head = (write_array(4), write_unsigned(rows), write_unsigned(columns), write_unsigned(dimensions))
    return b"".join((*head, write_array(rows * columns), *texts))
