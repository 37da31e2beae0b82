"""Closed-loop load: callers that each wait for an answer before they ask again."""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence


class Load(ABC):
    """Requests against one port of this machine."""

    def __init__(self, port: int, messages: Sequence[bytes]) -> None:
        self._port = port
        self._messages = messages

    async def run(self, callers: int, seconds: float) -> list[float]:
        """Latencies in seconds of all requests that `callers` made in about `seconds`."""
        messages = itertools.cycle(self._messages)
        deadline = time.perf_counter() + seconds
        each = await asyncio.gather(*(self._caller(messages, deadline) for _ in range(callers)))
        return [latency for latencies in each for latency in latencies]

    async def _caller(self, messages: Iterator[bytes], deadline: float) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        latencies = []
        try:
            while (begin := time.perf_counter()) < deadline:
                writer.write(next(messages))
                await self._read_answer(reader)
                latencies.append(time.perf_counter() - begin)
        finally:
            writer.close()
        return latencies

    @abstractmethod
    async def _read_answer(self, reader: asyncio.StreamReader) -> None:
        """Read one answer, and fail when it is not the expected one."""


class HttpLoad(Load):
    """HTTP/1.1 POST requests; every answer must contain `expected`."""

    def __init__(self, port: int, path: str, bodies: Sequence[bytes], expected: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
        super().__init__(port, [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
        self._expected = expected

    async def _read_answer(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + len(b"content-length:")
        body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        if self._expected not in body:
            raise RuntimeError(f"unexpected answer: {body[:300]!r}")


class PrpcLoad(Load):
    """`baidu_std` frames that come back as they went."""

    def __init__(self, port: int, bodies: Sequence[bytes]) -> None:
        super().__init__(port, [struct.pack(">4sII", b"PRPC", len(body), 0) + body for body in bodies])

    async def _read_answer(self, reader: asyncio.StreamReader) -> None:
        header = await reader.readexactly(12)
        await reader.readexactly(int.from_bytes(header[4:8], "big"))
