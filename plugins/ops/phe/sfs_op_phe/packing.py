"""Several numbers in one plaintext, where both parties have that switched on: one encryption, transfer and decryption
for all of them.

A plaintext is a number in a base of 2^bits; its digits are *slots*. What is added up in a slot must not reach the next.
Nothing can check that under the encryption, so bounds are chosen such that it does not, and what comes out is checked.

Linear models. A number holds the scores of some rows. Both parties mask the number as a whole, not slot by slot: with Y
the packed number, |Y| < 2^(rows * bits), and E uniform below 2^(rows * bits + MARGIN), the distribution of Y + E is
within 2^-MARGIN of that of E, whatever Y is. Masks are added and taken off as integers, so it does not matter
that slots of Y + E carry into each other: they are read from the sum without masks, which is unique as long as scores
are shorter than slots. Masked numbers stay SECRET_GAP bits below half of the plaintext space, or what is decrypted for
the peer could tell the secret key (see `PheDecryptPeerY`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, TypeVar

from .numbers import are_short, out_of_range
from .wire import Reader, WireError, write_array, write_text, write_unsigned

__all__ = ["EXTENSION", "PackedCell", "ScoreSlots", "masks_place", "read_packed", "write_packed"]

Item = TypeVar("Item")

EXTENSION: Final = "sfs-op-phe/packed-1"
"""What parties tell each other that pack."""

MARGIN: Final = 42
"""Masks are so many bits longer than what they hide."""
SECRET_GAP: Final = 80
"""A number that is longer than plaintexts can be, for the decrypted rest to tell of the key, decrypts to something that
passes for a masked number with a probability of about 2^-SECRET_GAP."""
_SCORE_SLOT_BITS: Final = 138
"""Scaled features have 84 bits, so that weights whose scaled sum is below 2^53 do not reach the next slot with any."""
_SCORE_BITS: Final = 120
"""Scores are shorter; with what is left of the slot, one that is too long is noticed."""
_MOST_ROWS: Final = 8
"""Each further row costs as much memory for tables, and saves less than the one before."""


class PackedCell(NamedTuple):
    """A cell of a table in packed form.

    Args:
        rows: of the request.
        parts: what it consists of.
    """

    rows: int
    parts: Sequence[bytes]


def masks_place(party: str, peer: str) -> str:
    """Where masks of a party are at home while they travel through its peer."""
    return json.dumps([party, peer, "masks"])


_HEAD: Final = write_array(3)
"""Begins cells in packed form, and no others: matrices are arrays of four, ciphertexts of one."""


def write_packed(rows: int, bits: int, *parts: bytes) -> bytes:
    """A cell.

    Args:
        rows: of the request.
        bits: of a slot.
        parts: what it consists of.
    """
    return (
        _HEAD + write_unsigned(rows) + write_unsigned(bits) + write_array(len(parts)) + b"".join(map(write_text, parts))
    )


def read_packed(cell: bytes, bits: int, parts: int) -> PackedCell:
    """What `write_packed` wrote.

    Raises:
        WireError: it is something else, or the peer's slots have other bits.
    """
    if not cell.startswith(_HEAD):
        raise WireError("it is not packed, as the parties agreed")
    reader = Reader(cell)
    reader.array()
    rows, found = reader.unsigned(), reader.unsigned()
    if found != bits:
        raise WireError(f"it is packed in slots of {found} bits, here they have {bits}: the parties' scales differ")
    if reader.array() != parts:
        raise WireError("it is not packed as the parties agreed")
    texts = reader.texts(parts)
    reader.end()
    return PackedCell(rows, texts)


@dataclass(frozen=True)
class ScoreSlots:
    """How the scores of a request's rows are packed.

    Args:
        capacity: bits of the shorter plaintext space of the two parties' keys, without the sign.
    """

    capacity: int
    bits = _SCORE_SLOT_BITS
    value_bits = _SCORE_BITS

    @cached_property
    def count(self) -> int:
        """How many rows one number holds."""
        return min(_MOST_ROWS, (self.capacity - SECRET_GAP - MARGIN - 1) // self.bits)

    @cached_property
    def shifts(self) -> list[int]:
        """What moves a value to its slot, by slot."""
        return [1 << (self.bits * slot) for slot in range(self.count)]

    @property
    def mask_bits(self) -> int:
        """Length of the masks."""
        return self.count * self.bits + MARGIN

    @property
    def masked_bits(self) -> int:
        """No masked number is longer."""
        return self.mask_bits + 1

    @property
    def used(self) -> bool:
        """Whether rows are packed: if the parties agreed, and their keys have room for more than one."""
        return self.count > 1

    def numbers(self, num_rows: int) -> int:
        """How many numbers hold the rows."""
        return -(-num_rows // self.count)

    def groups(self, rows: Sequence[Item]) -> list[Sequence[Item]]:
        """The rows of each number."""
        return [rows[start : start + self.count] for start in range(0, len(rows), self.count)]

    def pack(self, values: Sequence[int]) -> int:
        """A number with the values in its slots."""
        return sum(value * shift for value, shift in zip(values, self.shifts, strict=False))

    def unpack(self, numbers: Sequence[int], num_rows: int, what: str) -> list[int]:
        """The rows' scores.

        Args:
            numbers: without masks.
            num_rows: how many are in them.
            what: names them in an error.

        Raises:
            SfsError: one is too long for its slot, which is so when masks do not cancel (code 3).
        """
        scores = []
        half, whole = 1 << (self.bits - 1), 1 << self.bits
        for number, group in zip(numbers, self.groups(range(num_rows)), strict=True):
            rest = number
            for _ in group:
                scores.append((rest + half) % whole - half)
                rest = (rest - scores[-1]) >> self.bits
            if rest:
                raise out_of_range(what)
        if not are_short(scores, self.value_bits):
            raise out_of_range(what)
        return scores
