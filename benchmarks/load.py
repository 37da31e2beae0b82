"""Closed-loop load: callers that each wait for an answer before they ask again.

Callers are protocols on uvloop, not streams: a generator that takes longer per request than the server measures itself.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import uvloop


class Load(ABC):
    """Requests against one port of this machine."""

    def __init__(self, port: int, messages: Sequence[bytes]) -> None:
        self._port = port
        self._messages = itertools.cycle(messages)

    def run(self, callers: int, seconds: float) -> list[float]:
        """Latencies in seconds of all requests that `callers` made in about `seconds`."""
        return uvloop.run(self._run(callers, seconds))

    async def _run(self, callers: int, seconds: float) -> list[float]:
        loop = asyncio.get_running_loop()
        deadline = time.perf_counter() + seconds
        made = [_Caller(self, self._messages, deadline, loop.create_future()) for _ in range(callers)]
        for caller in made:
            await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", self._port)  # type: ignore[misc]
        each = await asyncio.gather(*(caller.done for caller in made))
        return [latency for latencies in each for latency in latencies]

    @abstractmethod
    def size(self, data: bytes) -> int | None:
        """How long the answer is that `data` begins with, None while that cannot be said."""

    def check(self, answer: bytes) -> None:
        """Raise RuntimeError for an answer that is not the expected one."""


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, load: Load, messages: Iterator[bytes], deadline: float, done: asyncio.Future[list[float]]
    ) -> None:
        self.done = done
        self._load = load
        self._messages = messages
        self._deadline = deadline
        self._latencies: list[float] = []
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask(time.perf_counter())

    def _ask(self, now: float) -> None:
        self._begin = now
        self._transport.write(next(self._messages))

    def data_received(self, data: bytes) -> None:
        self._answer += data
        size = self._load.size(self._answer)
        if size is None or len(self._answer) < size:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._begin)
        try:
            self._load.check(self._answer)
        except RuntimeError as error:
            self.done.set_exception(error)
            self._transport.close()
            return
        self._answer = b""
        if now < self._deadline:
            self._ask(now)
        else:
            self.done.set_result(self._latencies)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError("the server closed the connection"))


class HttpLoad(Load):
    """HTTP/1.1 POST requests; every answer must contain `expected`."""

    def __init__(self, port: int, path: str, bodies: Sequence[bytes], expected: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
        super().__init__(port, [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
        self._expected = expected

    def size(self, data: bytes) -> int | None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = data[:end].lower() + b"\r"
        at = head.index(b"content-length:") + len(b"content-length:")
        return end + 4 + int(head[at : head.index(b"\r", at)])

    def check(self, answer: bytes) -> None:
        if self._expected not in answer:
            raise RuntimeError(f"unexpected answer: {answer[:300]!r}")


class PrpcLoad(Load):
    """`baidu_std` frames that come back as they went."""

    def __init__(self, port: int, bodies: Sequence[bytes]) -> None:
        super().__init__(port, [struct.pack(">4sII", b"PRPC", len(body), 0) + body for body in bodies])

    def size(self, data: bytes) -> int | None:
        return 12 + int.from_bytes(data[4:8], "big") if len(data) >= 12 else None
