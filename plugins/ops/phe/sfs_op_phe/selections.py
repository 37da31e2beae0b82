"""A party's own selection of leaves, sealed while it travels through the party that was asked for scores."""

from __future__ import annotations

import json
from typing import Final

from .keyring import Keyring
from .wire import WireError

__all__ = ["open_selections", "seal_selections"]

_COUNT_BYTES: Final = 4


def seal_selections(selections: list[int], num_leaves: int, node: str, keyring: Keyring) -> bytes:
    """The sets of leaves of all rows as a token that opens for this tree and this pair of parties."""
    width = _width(num_leaves)
    rows = b"".join(selection.to_bytes(width, "little") for selection in selections)
    return keyring.tokens.seal(len(selections).to_bytes(_COUNT_BYTES, "little") + rows, _place(node, keyring))


def open_selections(token: bytes, num_leaves: int, node: str, keyring: Keyring) -> list[int]:
    """The sets of leaves of all rows.

    Raises:
        WireError: this party did not seal them, or for something else.
    """
    content = keyring.tokens.open(token, _place(node, keyring))
    width, count = _width(num_leaves), int.from_bytes(content[:_COUNT_BYTES], "little")
    rows = content[_COUNT_BYTES:]
    if len(rows) != count * width:
        raise WireError("this party's selection is of another tree")
    return [int.from_bytes(rows[start : start + width], "little") for start in range(0, len(rows), width)]


def _width(num_leaves: int) -> int:
    return -(-num_leaves // 8)


def _place(node: str, keyring: Keyring) -> str:
    return json.dumps([keyring.party, keyring.peer, node])
