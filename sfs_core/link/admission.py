"""How many calls are let in, found out by how long they take.

What takes calls slowly in is told by the quickest of them: when even that one waited, there is a standing queue
somewhere, on the processor, before threads, at a peer. Then fewer calls are let in, in proportion, and again more when
calls are quick again. Nothing is refused that way while calls are slow for another reason than their number.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Admission"]

WINDOW: Final = 0.05
"""Seconds over which the quickest call is looked for."""
LEAST: Final = 64
"""So many calls are always let in."""
SLOWER: Final = 2.0
"""Calls may take so many times what they take without load."""
FORGET: Final = 10.0
"""Seconds after which the time without load may be found to be longer than it was."""


class Admission:
    """A limit to calls under way.

    Args:
        most: never let in more.
        target: seconds that calls may take before fewer are let in; None keeps `most`.
        now: the loop's time.

    Attributes:
        limit: calls that may be under way now.
    """

    def __init__(self, most: float, target: float | None, now: float) -> None:
        self.limit = most
        self._most = most
        self._target = target
        self._unloaded = math.inf
        self._slow_windows = 0
        self._least = math.inf
        self._peak = 0
        self._window_end = now + WINDOW
        self._least_lately = math.inf
        self._lowest_limit = most
        self._lately_end = now + FORGET

    def over(self, seconds: float, under_way: int, now: float) -> None:
        """A call ended after so long; so many were under way, itself included."""
        self._least = min(self._least, seconds)
        self._peak = max(self._peak, under_way)
        if now >= self._window_end and self._target is not None:
            self._adapt(self._target, now)

    def _adapt(self, target: float, now: float) -> None:
        least, peak = self._least, self._peak
        self._least, self._peak, self._window_end = math.inf, 0, now + WINDOW
        self._unloaded = min(self._unloaded, least)
        self._least_lately = min(self._least_lately, least)
        acceptable = max(target, SLOWER * self._unloaded)
        if least <= acceptable:
            self._slow_windows = 0
            self.limit = min(self._most, self.limit + max(1.0, self.limit / 10))
        else:
            self._slow_windows += 1  # one alone may be the machine's hiccup
            if self._slow_windows > 1 and peak > LEAST:
                self.limit = max(LEAST, min(self.limit, peak) * max(acceptable / least, 0.5))
        self._lowest_limit = min(self._lowest_limit, self.limit)
        if now >= self._lately_end:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Calls that were slow although there were few of them, or although none was refused, are slow by nature."""
        if self._lowest_limit in (LEAST, self._most):
            self._unloaded = self._least_lately
        self._least_lately, self._lowest_limit, self._lately_end = math.inf, self.limit, now + FORGET
