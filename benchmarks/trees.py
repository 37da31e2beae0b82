"""Trees to measure with."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sfs_core.model.split import Tree


def complete_tree(depth: int, chance: random.Random, names: Sequence[str]) -> Tree:
    """A tree of which every branch has that depth, of random splits and weights."""
    inner = 2**depth - 1
    size = 2 * inner + 1
    left = [2 * i + 1 if i < inner else -1 for i in range(size)]
    right = [2 * i + 2 if i < inner else -1 for i in range(size)]
    draw = [chance.gauss(0, 1) for _ in range(size)]
    return Tree(left, right, [chance.choice(names) for _ in range(size)], draw, draw)
