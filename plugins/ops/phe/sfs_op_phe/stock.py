"""Stocks of random numbers that cost time to make, each used once, made while there is time."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from .workers import WorkersClosedError

__all__ = ["Stock"]

_IDLE_SECONDS: Final = 0.05
# After a portion the thread sleeps: whoever waits for Python's lock would else wait for a whole switch interval, 5 ms.
_PAUSE_SECONDS: Final = 0.0001
_LEAST: Final = 2048
_ROWS: Final = 32

Item = TypeVar("Item")


class Stock(Generic[Item]):
    """Gives items that nobody has seen: from stock while that lasts, else made on the spot.

    A thread fills the stock, and ends with it.

    Args:
        make: makes some items.
        limit: how many to hold at most; 0 makes each on the spot.
        portion: how many are made at once ahead of need.
        make_ahead: makes some items where nobody waits for them, and takes little time from others: a stock that is
            half empty is filled while items are taken. By default `make` fills it, when nothing has been taken for some
            milliseconds.

    Attributes:
        missed: how many items were not in stock when they were needed.
    """

    def __init__(
        self,
        make: Callable[[int], Sequence[Item]],
        limit: int,
        portion: int = 4,
        make_ahead: Callable[[int], Sequence[Item]] | None = None,
    ) -> None:
        self._make = make
        self._make_ahead = make_ahead or make
        self._least_share = 0.5 if make_ahead else 0.0
        self._limit = limit
        self._portion = portion
        self._per_row = 0
        self.missed = 0
        self._stock: deque[Item] = deque()
        self._last_use = 0.0
        self._wanted = threading.Event()
        make(1)  # builds the tables that it needs
        if limit:
            weakref.finalize(self, self._wanted.set)
            self._wanted.set()
            arguments = (weakref.ref(self), self._wanted)
            threading.Thread(target=_keep_filled, args=arguments, name="sfs-phe-stock", daemon=True).start()

    def __len__(self) -> int:
        return len(self._stock)

    @property
    def size(self) -> int:
        """How many items are held when the stock is full: enough for some rows of the model."""
        return min(self._limit, max(_LEAST, _ROWS * self._per_row))

    def reserve(self, per_row: int) -> None:
        """Note that a row of the model takes so many items more."""
        self._per_row += per_row
        self._wanted.set()

    def take(self, count: int) -> list[Item]:
        """`count` items."""
        taken: list[Item] = []
        try:
            for _ in range(count):
                taken.append(self._stock.popleft())  # noqa: PERF401 - what was taken counts when the stock runs out
        except IndexError:
            self.missed += count - len(taken)
            taken += self._make(count - len(taken))
        if self._limit:
            self._last_use = time.monotonic()
            self._wanted.set()
        return taken

    @property
    def may_fill(self) -> bool:
        """Whether this is the time for making items ahead of need."""
        idle = time.monotonic() - self._last_use > _IDLE_SECONDS
        return idle or len(self._stock) < self._least_share * self.size

    def fill(self) -> bool:
        """Add a portion, if it is time for that; whether more is wanted."""
        missing = self.size - len(self._stock)
        if missing > 0 and self.may_fill:
            self._stock.extend(self._make_ahead(min(self._portion, missing)))
        return len(self._stock) < self.size


def _keep_filled(stock: weakref.ref[Stock[Item]], wanted: threading.Event) -> None:
    while True:
        wanted.wait()
        held = stock()
        if held is None:
            return
        wanted.clear()
        try:
            if held.fill():
                wanted.set()
        except WorkersClosedError:
            return
        pause = _PAUSE_SECONDS if held.may_fill else _IDLE_SECONDS
        del held
        time.sleep(pause)
