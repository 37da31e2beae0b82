"""A feature service that misbehaves as each test says, and sources that ask it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sfs_feature_http.source import HttpConfig, HttpFeatureSource

from sfs_core import FeatureContext, Schema

MakeSource = Callable[..., HttpFeatureSource]
RESET = b""
"""Instead of an answer: the connection is reset."""


def http(body: Any, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP answer; what is not bytes becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


@dataclass
class Asked:
    """One request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """Answers with what `answers` holds in turn, its last entry for ever; an entry may be a function.

    An answer that is shorter than its Content-Length is followed by a reset.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.answers: list[Any] = []
        self.asked: list[Asked] = []
        self.release = asyncio.Event()
        self.connections = 0
        self.serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def start(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.server = await asyncio.start_server(self._serve, self.host, port, ssl=tls)
        self.port = self.server.sockets[0].getsockname()[1]
        self.endpoint = f"http{'s' if tls else ''}://{self.host}:{self.port}/features"

    async def stop(self) -> None:
        self.release.set()
        for _ in range(10):  # asyncio leaks connections that it is accepting when it closes
            await asyncio.sleep(0)
        self.server.close()
        for writer in self.serving.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self.serving), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.serving[asyncio.current_task()] = writer
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer, number):
                pass
            writer.close()
            await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.asked.append(Asked(line, headers, body, number))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        raw = answer(self.asked[-1]) if callable(answer) else answer
        if asyncio.iscoroutine(raw):
            raw = await raw
        writer.write(raw)
        await writer.drain()
        head, _, sent = raw.partition(b"\r\n\r\n")
        if raw == RESET or len(sent) < int(head.rpartition(b"Content-Length: ")[2]):
            writer.transport.abort()
            return False
        return True


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeSource]:
    """Makes an opened source for a schema; takes a service or the endpoint."""
    made = []
    with ThreadPoolExecutor(1) as pool:

        def make_source(schema: Schema, service: Service | str, **options: Any) -> HttpFeatureSource:
            endpoint = service if isinstance(service, str) else service.endpoint
            context = FeatureContext("svc-demo", "left", logging.getLogger("sfs.source.test"), tmp_path, schema, pool)
            source = HttpFeatureSource(HttpConfig(**{"endpoint": endpoint, "timeout": 10.0} | options), context)
            source.open()
            made.append(source)
            return source

        yield make_source
        for source in made:
            await asyncio.to_thread(source.close)
