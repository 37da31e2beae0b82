"""How many calls are let in, found out by how long they take.

What takes calls slowly in is told by the quickest of them: when even that one waited, there is a standing queue
somewhere, on the processor, before threads, at a peer. Then fewer calls are let in, in proportion, and again more when
calls are quick again. Nothing is refused that way while calls are slow for another reason than their number.

A sudden load is seen earlier: calls under way, over those that end in a second, say how long the last of them will take
(J. D. C. Little, A Proof for the Queuing Formula L = lambda W, 1961). Calls that are slow by nature look the same while
they become more, so this counts only once even the quickest call has become much slower.

Where more calls are refused than let in, a queue is of no use: there are always calls enough. It is kept shorter then,
so that calls take about as long as they do otherwise.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Admission"]

WINDOW: Final = 0.05
"""Seconds over which the quickest call is looked for."""
BURST: Final = 1000
"""So many calls are let in before it is known how quick they are, twice as many as have been quick otherwise."""
LEAST: Final = 64
"""So many calls are let in however slow they are."""
SLOWER: Final = 2.0
"""Calls may take so many times what they take without load."""
MUCH_SLOWER: Final = 8.0
"""So many times what they take without load calls take only when they wait for each other."""
ENOUGH: Final = 8
"""So many calls that ended tell how many end in a second."""
HURRY: Final = 8.0
"""Where most calls are refused, the others may take the target divided by this."""
LEAST_IN_HURRY: Final = 32
"""So many are let in then however slow they are."""
FORGET: Final = 10.0
"""Seconds after which the time without load may be found to be longer than it was."""
FEW: Final = 16
"""Calls that hardly wait for each other. So many are let in, for a moment, to see how slow calls are by nature."""


class Admission:
    """A limit to calls under way.

    Args:
        most: never let in more.
        target: seconds that calls may take before fewer are let in; None keeps `most`.
        now: the loop's time.

    Attributes:
        limit: calls that may be under way now.
        refused: to be counted up when a call is refused for this limit.
    """

    def __init__(self, most: float, target: float | None, now: float) -> None:
        self.limit = most if target is None else min(most, BURST)
        self.refused = 0
        self._most = most
        self._target = target
        self._unloaded = math.inf
        self._slow_windows = 0
        self._least = math.inf
        self._peak = 0
        self._ended = 0
        self._window_begin = now
        self._least_lately = math.inf
        self._refused_lately = 0
        self._lately_end = now + FORGET
        self._looking = False

    def over(self, seconds: float, under_way: int, now: float) -> None:
        """A call ended after so long; so many were under way, itself included."""
        self._ended += 1
        self._least = min(self._least, seconds)
        self._peak = max(self._peak, under_way)
        if now >= self._window_begin + WINDOW and self._target is not None:
            if self._looking:
                self._look()
            else:
                self._adapt(self._target, under_way, now)
            self._least, self._peak, self._ended, self.refused, self._window_begin = math.inf, 0, 0, 0, now
            if now >= self._lately_end:
                self._forget(now)

    def _adapt(self, target: float, under_way: int, now: float) -> None:
        hurry = self.refused > self._ended
        self._unloaded = min(self._unloaded, self._least)
        natural = SLOWER * self._unloaded
        acceptable = max(target / HURRY if hurry else target, natural)
        least_limit = LEAST_IN_HURRY if hurry else LEAST
        to_come = self._to_come(under_way, now)
        sudden = to_come > 2 * max(target, natural)
        if self._least <= acceptable and not sudden:
            self._slow_windows = 0
            self.limit = self._grown(acceptable)
        else:
            self._slow_windows += 1  # one alone may be the machine's hiccup
            if (sudden or self._slow_windows > 1) and self._peak > least_limit:
                part = max(acceptable / max(self._least, to_come), 0.5)
                self.limit = max(least_limit, min(self.limit, self._peak) * part)
        self._least_lately = min(self._least_lately, self._least)
        self._refused_lately += self.refused

    def _to_come(self, under_way: int, now: float) -> float:
        """Seconds that the last of those under way will take, if they wait for each other; 0 where that isn't known."""
        if self._ended < ENOUGH or self._least <= MUCH_SLOWER * self._unloaded:
            return 0.0
        return (now - self._window_begin) * under_way / self._ended

    def _grown(self, acceptable: float) -> float:
        """A larger limit: much larger where it was cut down, which the first quick calls undo."""
        back = not self.refused or self._least <= acceptable / 4
        least = min(2 * self.limit, BURST) if back else 0.0
        return min(self._most, max(least, self.limit * (1.1 if self.refused else 1.2)), max(BURST, 2 * self._peak))

    def _forget(self, now: float) -> None:
        """Calls that were slow although none was refused are slow by nature; where few were let in, that is seen."""
        if not self._refused_lately:
            self._unloaded = self._least_lately
        elif self.limit <= LEAST:
            self._looking, self.limit = True, min(self._most, FEW)
        self._least_lately, self._refused_lately, self._lately_end = math.inf, 0, now + FORGET

    def _look(self) -> None:
        if self._peak <= FEW:
            self._looking, self._unloaded, self.limit = False, self._least, min(self._most, LEAST_IN_HURRY)
