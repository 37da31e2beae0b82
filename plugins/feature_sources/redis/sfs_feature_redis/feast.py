"""How Feast keeps the rows of a feature view in Redis: keys, fields, values (its entity key serialization 3)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from sfs_core import Batch, FeatureError, Schema

from .layouts import Command, Layout
from .options import FeastView
from .values import decoded_values, to_batch

__all__ = ["FeastLayout", "feast_field", "feast_key"]

_STRING: Final = 2
_INTEGERS: Final = {"int32": (3, struct.Struct("<i")), "int64": (4, struct.Struct("<q"))}
"""Their numbers among Feast's types, and how they are written."""
_NULLS: Final = (b"", b"\x98\x01\x00")
_UTF8, _BYTES, _DOUBLE, _FLOAT, _BOOL = 0x12, 0x0A, 0x29, 0x35, 0x38
_VARINTS: Final = (0x18, 0x20, 0x40)  # int32, int64, a Unix timestamp


def feast_key(view: FeastView) -> Callable[[str], bytes]:
    """What makes the keys of ids."""
    name = view.entity.encode()
    head = struct.pack("<III", 1, _STRING, len(name)) + name
    project = view.project.encode()

    def key_of(id_: str) -> bytes:
        number, value = _STRING, id_.encode("utf-8", "surrogatepass")
        if view.entity_type != "string" and id_.lstrip("-").isdecimal() and len(id_) <= 20 and str(int(id_)) == id_:
            integer_number, layout = _INTEGERS[view.entity_type]
            if -(1 << (8 * layout.size - 1)) <= int(id_) < 1 << (8 * layout.size - 1):
                number, value = integer_number, layout.pack(int(id_))
        # Else the key is that of a text, which nobody has where entities are integers.
        return head + struct.pack("<II", number, len(value)) + value + project

    return key_of


def feast_field(view: str, feature: str) -> bytes:
    """The field of a feature: the 32 bits of MurmurHash3, without a seed."""
    data, mask = f"{view}:{feature}".encode(), 0xFFFFFFFF

    def mixed(block: int) -> int:
        block = block * 0xCC9E2D51 & mask
        return (block << 15 | block >> 17) * 0x1B873593 & mask

    state, whole = 0, len(data) // 4 * 4
    for at in range(0, whole, 4):
        state ^= mixed(int.from_bytes(data[at : at + 4], "little"))
        state = ((state << 13 | state >> 19) & mask) * 5 + 0xE6546B64 & mask
    if data[whole:]:
        state ^= mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    return (state ^ state >> 16).to_bytes(4, "little")


class FeastLayout(Layout):
    """A hash per entity, with the features of all views on it; each view's rows have a time.

    Args:
        view: whose features are read.
    """

    answer_types = frozenset({list})

    def __init__(self, schema: Schema, fields: Sequence[str], view: FeastView, *, keep_nulls: bool) -> None:
        super().__init__(schema, fields, "", keep_nulls=keep_nulls)
        self._encoded = [*(feast_field(view.view, field) for field in fields), f"_ts:{view.view}".encode()]

    def commands(self, keys: Sequence[bytes]) -> list[Command]:
        """One HMGET per key."""
        return [("HMGET", key, *self._encoded) for key in keys]

    def is_missing(self, answer: Any) -> bool:
        """Whether this view has no row, others may have one."""
        return not answer or answer[-1] is None

    def batch(self, answers: Sequence[Any], ids: Sequence[str], extra: Sequence[Any]) -> Batch:
        """Values with types of their own, checked."""
        rows = []
        for i, (*values, _) in enumerate(answers):
            if len(values) != len(self.fields):
                raise FeatureError("what Redis answers has not as many values as fields were asked for")
            rows.append([self._value(value, i, j) for j, value in enumerate(values)])
        return to_batch(self.schema, rows, decoded_values, keep_nulls=self.keep_nulls)

    def _value(self, data: bytes | None, row: int, column: int) -> Any:
        if data is None or data in _NULLS:
            return None
        try:
            return _decoded(data)
        except (ValueError, IndexError, struct.error):
            name, type_ = self.schema.names[column], self.schema.types[column]
            raise FeatureError(f"column {name!r}, row {row}: the value is no {type_} of Feast's") from None


def _decoded(data: bytes) -> Any:
    """The value of a serialized message with one scalar.

    Raises:
        ValueError, IndexError, struct.error: it is something else.
    """
    tag, rest = data[0], data[1:]
    if tag == _DOUBLE:
        return struct.unpack("<d", rest)[0]
    if tag == _FLOAT:
        return struct.unpack("<f", rest)[0]
    if tag == _BOOL and rest in (b"\0", b"\1"):
        return rest == b"\1"
    number, size = _varint(rest)
    if tag in _VARINTS and size == len(rest):
        return number - (1 << 64) if number >> 63 else number
    if tag in (_UTF8, _BYTES) and number == len(rest) - size:
        return rest[size:].decode() if tag == _UTF8 else rest[size:]
    raise ValueError


def _varint(data: bytes) -> tuple[int, int]:
    """A number of up to 64 bits, and how many bytes it takes."""
    number = 0
    for i in range(10):
        number |= (data[i] & 0x7F) << (7 * i)
        if data[i] < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, i + 1
    raise ValueError
