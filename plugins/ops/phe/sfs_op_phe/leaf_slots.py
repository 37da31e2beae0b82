"""Leaves and rows of tree ensembles that share a plaintext.

The requester encrypts a bit per leaf and a share of the leaf's weight. The other party raises the bits of the leaves
that it leaves itself to its own shares, and multiplies everything. Both take their shares modulo 2^MODULUS: their sum
is the weight modulo 2^MODULUS, and the exponents are shorter.

Several rows: each has a slot of the numbers of every leaf. For one row, the other party raises whole numbers to what
that row wants, so that the row's sum comes out in its slot, and the slots of other rows hold sums of the wrong leaves.

Several leaves of one row: they have slots 0 … m - 1, and the other party moves the sum of slot i to slot m - 1, where
all meet. The slots around that one hold sums that nobody wants.

What nobody wants is hidden before the requester sees it. Below the wanted slot, an integer is added that is uniform
and MARGIN bits longer than the garbage there; another one from bit MODULUS of the wanted slot on, where the multiples
of the modulus and further slots are. With L the bits of the number of leaves, T those of the number of trees, and
L + T <= SIZE:

    garbage in a slot        < 2^(MODULUS + 1 + L)            each leaf adds at most two numbers below 2^MODULUS
    bits of a slot           = MODULUS + 1 + SIZE + MARGIN
    length of a mask         = end of the slots that it hides - T

Garbage and the masks of all trees, if each has its own, together stay below the wanted slot; nothing carries into it.
Everything but the wanted MODULUS bits is within 2^-MARGIN of a distribution that depends on nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from .numbers import are_short, out_of_range

__all__ = ["LeafShape", "LeafSlots"]

_MARGIN: Final = 40
_SIZE: Final = 23
"""Bits of the numbers of leaves and of trees, added up; larger ensembles are not packed."""
_VALUE: Final = 26
"""Sums of leaf weights have so many bits before the point, with sign."""
_GAP: Final = 19
"""Shares of leaves that do not belong together pass for a sum with a probability of 2^-_GAP."""
_MOST_SLOTS: Final = 8
"""Each further slot costs as much memory, and saves less than the one before."""


class LeafSlots:
    """How leaves of a model are packed.

    Args:
        capacity: bits of the shorter plaintext space of the two parties' keys, without the sign.
        scale: fixed-point scale of leaf weights.

    Attributes:
        modulus: of shares.
        bits: of a slot.
        count: of slots in a plaintext.
    """

    def __init__(self, capacity: int, scale: int) -> None:
        self.value_bits = scale.bit_length() + _VALUE
        self.modulus_bits = self.value_bits + _GAP
        self.modulus = 1 << self.modulus_bits
        self.bits = self.modulus_bits + 1 + _SIZE + _MARGIN
        self.count = min(_MOST_SLOTS, capacity // self.bits)
        self._leaves = self._trees = 0

    @property
    def possible(self) -> bool:
        """Whether the keys have room for more than one slot."""
        return self.count > 1

    def add_tree(self, num_leaves: int) -> None:
        """Note that the model has one more tree."""
        self._trees += 1
        self._leaves += num_leaves

    def apply(self) -> bool:
        """Whether this model's leaves are packed."""
        return self.possible and self._trees.bit_length() + self._leaves.bit_length() <= _SIZE

    def shape(self, num_rows: int) -> LeafShape:
        """The shape with the fewest ciphertexts; of those, the one with the fewest leaves in one."""
        return _best_shape(self, num_rows)

    def read_sums(self, numbers: Sequence[int], what: str) -> list[int]:
        """The wanted sum of each row's number.

        Raises:
            SfsError: one is too long, which is so when selections or shares do not belong together (code 3).
        """
        shape, half = self.shape(len(numbers)), self.modulus >> 1
        if min(numbers) < 0:
            raise out_of_range(what)
        sums = [
            ((number >> self.bits * shape.wanted(row)) + half) % self.modulus - half
            for row, number in enumerate(numbers)
        ]
        if not are_short(sums, self.value_bits):
            raise out_of_range(what)
        return sums

    @property
    def spare_bits(self) -> int:
        """What masks are shorter by, so that those of all trees can be added."""
        return self._trees.bit_length()


@dataclass(frozen=True)
class LeafShape:
    """How a request's leaves are packed.

    Args:
        slots: of the model.
        num_rows: of the request.
        rows: that share a number.
        leaves: of a row that share a number.
    """

    slots: LeafSlots
    num_rows: int
    rows: int
    leaves: int

    @cached_property
    def packs(self) -> int:
        """How many groups of rows there are."""
        return -(-self.num_rows // self.rows)

    @property
    def step_bits(self) -> int:
        """How far it is from one leaf of a row to the next."""
        return self.slots.bits * self.rows

    def columns(self, num_leaves: int) -> int:
        """How many numbers hold so many leaves of a row."""
        return -(-num_leaves // self.leaves)

    def slot(self, leaf: int, row: int) -> int:
        """Where a row's leaf is in its number."""
        return leaf % self.leaves * self.rows + row % self.rows

    def place(self, leaf: int, row: int) -> int:
        """Which number of the matrix it is in."""
        return row // self.rows + leaf // self.leaves * self.packs

    def wanted(self, row: int) -> int:
        """The slot in which a row's sum comes out."""
        return (self.leaves - 1) * self.rows + row % self.rows

    def mask(self, row: int) -> int:
        """A random number that hides everything but a row's sum."""
        slots, wanted = self.slots, self.wanted(row)
        used = (2 * self.leaves - 1) * self.rows
        below = slots.bits * wanted - slots.spare_bits if wanted else 0
        begin = slots.bits * wanted + slots.modulus_bits
        above = slots.bits * used - slots.spare_bits - begin
        return secrets.randbits(below) + (secrets.randbits(above) << begin)


@lru_cache(256)
def _best_shape(slots: LeafSlots, num_rows: int) -> LeafShape:
    """Asked for several times per tree."""
    shapes = [
        LeafShape(slots, num_rows, rows, (slots.count // rows + 1) // 2)
        for rows in range(1, min(num_rows, slots.count) + 1)
    ]
    return min(shapes, key=lambda shape: (shape.packs / shape.leaves, shape.leaves))
