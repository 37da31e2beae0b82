"""A stock of random encryptions of zero, each used once, made while the party is idle."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import Final

from gmpy2 import mpz

from .keys import PublicKey

__all__ = ["NoiseStock"]

_IDLE_SECONDS: Final = 0.02
_PORTION: Final = 8


class NoiseStock:
    """Gives random encryptions of zero under one key: from stock while that lasts, else made on the spot.

    A thread fills the stock whenever nothing has been taken for some milliseconds; it ends with the stock.

    Args:
        key: what encrypts.
        size: how many to hold; 0 makes each on the spot.
    """

    def __init__(self, key: PublicKey, size: int) -> None:
        self._key = key
        self._size = size
        self._stock: deque[mpz] = deque()
        self._last_use = 0.0
        self._wanted = threading.Event()
        key.noise()  # builds its table
        if size:
            weakref.finalize(self, self._wanted.set)
            self._wanted.set()
            thread = threading.Thread(
                target=_keep_filled, args=(weakref.ref(self), self._wanted), name="sfs-phe-noise", daemon=True
            )
            thread.start()

    def __len__(self) -> int:
        return len(self._stock)

    def take(self, count: int) -> list[mpz]:
        """`count` representatives that nobody has seen."""
        taken = []
        try:
            for _ in range(count):
                taken.append(self._stock.popleft())  # noqa: PERF401 - what was taken counts when the stock runs out
        except IndexError:
            taken += [self._key.noise() for _ in range(count - len(taken))]
        if self._size:
            self._last_use = time.monotonic()
            self._wanted.set()
        return taken

    def fill(self) -> bool:
        """Add a portion if nothing was taken lately; whether more is wanted."""
        if time.monotonic() - self._last_use > _IDLE_SECONDS:
            self._stock.extend(self._key.noise() for _ in range(min(_PORTION, self._size - len(self._stock))))
        return len(self._stock) < self._size


def _keep_filled(stock: weakref.ref[NoiseStock], wanted: threading.Event) -> None:
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
        if not idle:
            time.sleep(_IDLE_SECONDS)
