"""Selections: sets of leaves as the bytes that parties exchange.

Byte 0 is the number of padding bits in the last byte; leaf i is bit i mod 8, counted from the least significant, of
byte 1 + i // 8. Read as one little-endian integer, a selection is `leaves << 8 | padding`, so an AND of selections of
one tree is the selection of the leaves they share. A zero-length value, from a party that knows nothing of the tree,
stands for all leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Block", "SelectionFormat", "as_block"]

Block = npt.NDArray[np.uint8]
"""Selections of equal length: rows x bytes."""


class SelectionFormat:
    """The form of the selections of a tree with `num_leaves` leaves.

    Attributes:
        padding: what byte 0 holds.
        width: number of bytes.
        leaves: the integer whose set bits are exactly those of leaves.
        all_leaves: the selection of all leaves as one integer.
    """

    def __init__(self, num_leaves: int) -> None:
        self.padding = -num_leaves % 8
        self.width = 1 + (num_leaves + self.padding) // 8
        self.leaves = ((1 << num_leaves) - 1) << 8
        self.all_leaves = self.leaves | self.padding

    def block(self, selections: Sequence[int]) -> Block:
        """Selections given as integers, as a block."""
        return as_block(selections, self.width)


def as_block(selections: Sequence[int], width: int) -> Block:
    """Integers as the rows of a block, little-endian."""
    data = b"".join(selection.to_bytes(width, "little") for selection in selections)
    return np.frombuffer(data, np.uint8).reshape(len(selections), width)
