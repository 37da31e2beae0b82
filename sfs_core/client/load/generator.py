"""Requests at the moments at which they are due, and what became of them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sfs_core.client.load.transport import Call, Transport

__all__ = ["Arrivals", "Callers", "Generator", "Samples", "even_arrivals", "random_arrivals"]

Arrivals = npt.NDArray[np.float64]
"""When requests are due, in seconds from the beginning, ascending."""
Check = Callable[[int, bytes], str]
"""Says what is wrong with the answer to a message, by the message's index; empty for nothing."""

_SWEEP_SECONDS: Final = 0.1
_LEAST_SECONDS_BETWEEN_LOOKS: Final = 0.0003
"""At the clock: at high rates several requests leave together, so that looking does not cost more than sending."""
_PAUSE_SECONDS: Final = 0.02
"""Of a caller whose request did not get through, so that a server that is down is not hammered."""
_NOT_SENT: Final = "not sent: too many under way"


@dataclass(frozen=True)
class Callers:
    """Load from callers that wait for an answer before they ask again.

    Args:
        count: how many.
        seconds: for how long they begin new requests, unless `Generator.stop` ends it; may be infinite.
    """

    count: int
    seconds: float


def even_arrivals(rate: float, seconds: float) -> Arrivals:
    """`rate` requests per second, all the same time apart."""
    return np.arange(int(rate * seconds)) / rate


def random_arrivals(rate: float, seconds: float, seed: int) -> Arrivals:
    """`rate` requests per second on average, as independent callers make them (a Poisson process)."""
    chance = np.random.default_rng(seed)
    return np.sort(chance.uniform(0.0, seconds, int(chance.poisson(rate * seconds))))


@dataclass
class Samples:
    """What was measured.

    Attributes:
        latencies: seconds from when a request was due to its right answer, of each one.
        lateness: seconds by which each request was sent too late: the tool's own fault, and part of the latency.
        problems: numbers of requests without a right answer, by what was wrong.
        seconds: how long requests were begun.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    lateness: array[float] = field(default_factory=lambda: array("d"))
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, other: Samples) -> None:
        """Count those of another slice in."""
        self.latencies.extend(other.latencies)
        self.lateness.extend(other.lateness)
        self.problems.update(other.problems)
        self.seconds += other.seconds


class Generator:
    """Sends messages over a transport, in turn.

    Args:
        transport: the way to the server.
        messages: request bodies.
        check: judges the answers.
        timeout: seconds after which a request counts as unanswered.
        most_under_way: requests that are due while so many are under way are not sent, but counted as failed.
    """

    def __init__(
        self,
        transport: Transport,
        messages: Sequence[bytes],
        check: Check,
        *,
        timeout: float = 10.0,
        most_under_way: int = 10_000,
    ) -> None:
        self._transport = transport
        self._messages = messages
        self._check = check
        self._timeout = timeout
        self._most_under_way = most_under_way
        self._order = itertools.cycle(range(len(messages)))
        self._under_way: dict[Call, None] = {}
        self._samples = Samples()
        self._end = 0.0
        self._next: Callable[[bool], None] | None = None
        self._idle: asyncio.Event | None = None
        transport.finished = self._finished

    async def run(self, load: Callers | Arrivals) -> Samples:
        """Put one slice of load on the server; returns when every request is answered or has taken too long."""
        self._samples = Samples()
        sweeping = asyncio.ensure_future(self._sweep())
        begin = time.perf_counter()
        try:
            if isinstance(load, Callers):
                await self._run_callers(load, begin)
            else:
                await self._run_arrivals(load, begin)
            self._samples.seconds = time.perf_counter() - begin
            self._next = None
            if self._under_way:
                self._idle = asyncio.Event()
                await self._idle.wait()
        finally:
            self._next = self._idle = None
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
        return self._samples

    @property
    def samples(self) -> Samples:
        """What was measured so far in the slice that is under way, or in the last one."""
        return self._samples

    def stop(self) -> None:
        """Have callers begin no further requests in this slice."""
        self._end = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    # --------------------------------------------------------------- closed loop
    async def _run_callers(self, load: Callers, begin: float) -> None:
        loop = asyncio.get_running_loop()
        self._end = begin + load.seconds
        over = asyncio.Event()

        def ask() -> None:
            now = time.perf_counter()
            if now < self._end:
                self._begin(now)
            else:
                over.set()

        def ask_again(got_through: bool) -> None:
            if got_through:
                ask()
            else:
                loop.call_later(_PAUSE_SECONDS, ask)

        self._next = ask_again
        for _ in range(load.count):
            ask()
        await over.wait()

    # ----------------------------------------------------------------- open loop
    async def _run_arrivals(self, arrivals: Arrivals, begin: float) -> None:
        """A thread watches the clock: the event loop's own timers are a millisecond coarse."""
        loop = asyncio.get_running_loop()
        due = (arrivals + begin).tolist()
        over = asyncio.Event()
        woken = threading.Event()
        sent = 0

        def send_due() -> None:
            nonlocal sent
            woken.clear()
            while sent < len(due) and due[sent] <= time.perf_counter():
                self._begin(due[sent])
                sent += 1
            if sent == len(due):
                over.set()

        def watch() -> None:
            at = 0
            earliest = begin
            while at < len(due) and not stopped.is_set():
                now = time.perf_counter()
                wait = max(due[at], earliest) - now
                if wait > 0:
                    time.sleep(min(wait, 1.0))
                    continue
                if not woken.is_set():
                    woken.set()
                    loop.call_soon_threadsafe(send_due)
                at = bisect_right(due, now, at)
                earliest = now + _LEAST_SECONDS_BETWEEN_LOOKS

        stopped = threading.Event()
        watching = loop.run_in_executor(None, watch)
        try:
            if due:
                await over.wait()
        finally:
            stopped.set()
            await watching

    # --------------------------------------------------------------------- calls
    def _begin(self, intended: float) -> None:
        if len(self._under_way) >= self._most_under_way:
            self._samples.problems[_NOT_SENT] += 1
            return
        now = time.perf_counter()
        call = Call(next(self._order), intended, now)
        self._samples.lateness.append(now - intended)
        self._under_way[call] = None
        self._transport.send(call, self._messages[call.index])

    def _finished(self, call: Call, body: bytes, problem: str) -> None:
        latency = time.perf_counter() - call.intended
        call.over = True
        del self._under_way[call]
        got_through = not problem
        problem = problem or self._check(call.index, body)
        if problem:
            self._samples.problems[problem] += 1
        else:
            self._samples.latencies.append(latency)
        if self._next is not None:
            self._next(got_through)
        elif self._idle is not None and not self._under_way:
            self._idle.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for call in self._older_than(time.perf_counter() - self._timeout):
                call.over = True
                self._transport.drop(call)
                self._finished(call, b"", "timeout")

    def _older_than(self, moment: float) -> list[Call]:
        return list(itertools.takewhile(lambda call: call.sent < moment, self._under_way))
