"""The requester's leaves of one tree, packed: see `leaf_slots`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from struct import Struct
from typing import Final

from gmpy2 import mpz

from .keyring import Keyring
from .leaf_slots import LeafShape
from .matrices import add_to_text
from .packing import write_packed
from .trees import leaves_of
from .wire import WireError, join_matrix

__all__ = ["PackedLeaves", "read_columns"]

_INDEX: Final = Struct("<I")


class PackedLeaves:
    """Makes the cells of one tree.

    Args:
        keyring: the parties' keys.
        shares: this party's, by leaf.
        unlike: leaves that this party's splits tell from each other.
        alike: for each leaf the one of these that stands for it; empty where this party knows nothing of the tree.
    """

    def __init__(self, keyring: Keyring, shares: Sequence[int], unlike: Sequence[int], alike: Sequence[int]) -> None:
        self._keyring = keyring
        key, slots = keyring.own, keyring.leaves
        shifts = [slots.bits * slot for slot in range(slots.count)]
        ones = [key.power(1 << shift) for shift in shifts]
        columns = {leaf: column for column, leaf in enumerate(unlike)}
        self._columns = b"".join(_INDEX.pack(columns[leaf]) for leaf in alike)
        self._bits = {leaf: (column, ones) for leaf, column in columns.items()}
        self._shares = {
            leaf: (leaf, [key.power(share % slots.modulus << shift) for shift in shifts])
            for leaf, share in enumerate(shares)
        }

    def noises(self, num_rows: int) -> int:
        """How many random encryptions of zero the cells take."""
        shape = self._keyring.leaves.shape(num_rows)
        return shape.packs * (shape.columns(len(self._bits)) + shape.columns(len(self._shares)))

    def cells(self, selections: Sequence[int], noises: Iterator[bytes]) -> tuple[bytes, bytes]:
        """Bits and shares of the selected leaves.

        Args:
            selections: of each row the set of leaves that are left.
            noises: random encryptions of zero, as texts; what is returned is made of them.
        """
        shape = self._keyring.leaves.shape(len(selections))
        shares = self._matrix(shape, self._shares, selections, noises)
        bits = shape.slots.bits
        selects = b""
        if self._bits:
            matrix = self._matrix(shape, self._bits, selections, noises)
            selects = write_packed(shape.num_rows, bits, matrix, self._columns)
        return selects, write_packed(shape.num_rows, bits, shares)

    def _matrix(
        self,
        shape: LeafShape,
        powers: Mapping[int, tuple[int, Sequence[mpz]]],
        selections: Sequence[int],
        noises: Iterator[bytes],
    ) -> bytes:
        """A matrix with a row per group of rows, and a column per group of leaves.

        Args:
            powers: by leaf its number in the matrix, and what stands for it in each slot.
        """
        key = self._keyring.own
        products: dict[int, mpz] = {}
        for row, selection in enumerate(selections):
            for leaf in leaves_of(selection):
                if leaf in powers:
                    number, by_slot = powers[leaf]
                    place, power = shape.place(number, row), by_slot[shape.slot(number, row)]
                    before = products.get(place)
                    products[place] = power if before is None else before * power % key.modulus
        columns = shape.columns(len(powers))
        texts = list(islice(noises, shape.packs * columns))
        for place, product in products.items():
            texts[place] = add_to_text(texts[place], product, key)
        return join_matrix(shape.packs, columns, 2, texts)


def read_columns(data: bytes, num_leaves: int) -> list[int]:
    """Of each leaf the number under which its bit is in the matrix.

    Raises:
        WireError: there is not one for each.
    """
    if len(data) != _INDEX.size * num_leaves:
        raise WireError("it does not tell where each leaf is")
    return [number for (number,) in _INDEX.iter_unpack(data)]
