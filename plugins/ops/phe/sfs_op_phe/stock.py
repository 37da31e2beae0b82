"""Stocks of random numbers that cost time to make, each used once, made while the party is idle."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["Stock"]

_IDLE_SECONDS: Final = 0.05
# After some items the thread sleeps: whoever waits for Python's lock would else wait for a whole switch interval, 5 ms.
_PORTION: Final = 4
_PAUSE_SECONDS: Final = 0.0001

Item = TypeVar("Item")


class Stock(Generic[Item]):
    """Gives items that nobody has seen: from stock while that lasts, else made on the spot.

    A thread fills the stock whenever nothing has been taken for some milliseconds; it ends with the stock.

    Args:
        make: makes one item.
        size: how many to hold; 0 makes each on the spot.
    """

    def __init__(self, make: Callable[[], Item], size: int) -> None:
        self._make = make
        self._size = size
        self._stock: deque[Item] = deque()
        self._last_use = 0.0
        self._wanted = threading.Event()
        make()  # builds the tables that it needs
        if size:
            weakref.finalize(self, self._wanted.set)
            self._wanted.set()
            arguments = (weakref.ref(self), self._wanted)
            threading.Thread(target=_keep_filled, args=arguments, name="sfs-phe-stock", daemon=True).start()

    def __len__(self) -> int:
        return len(self._stock)

    def take(self, count: int) -> list[Item]:
        """`count` items."""
        taken: list[Item] = []
        try:
            for _ in range(count):
                taken.append(self._stock.popleft())  # noqa: PERF401 - what was taken counts when the stock runs out
        except IndexError:
            taken += [self._make() for _ in range(count - len(taken))]
        if self._size:
            self._last_use = time.monotonic()
            self._wanted.set()
        return taken

    def fill(self) -> bool:
        """Add a portion if nothing was taken lately; whether more is wanted."""
        if time.monotonic() - self._last_use > _IDLE_SECONDS:
            self._stock.extend(self._make() for _ in range(min(_PORTION, self._size - len(self._stock))))
        return len(self._stock) < self._size


def _keep_filled(stock: weakref.ref[Stock[Item]], wanted: threading.Event) -> None:
    while True:
        wanted.wait()
        held = stock()
        if held is None:
            return
        wanted.clear()
        if held.fill():
            wanted.set()
        idle = time.monotonic() - held._last_use > _IDLE_SECONDS
        del held
        time.sleep(_PAUSE_SECONDS if idle else _IDLE_SECONDS)
