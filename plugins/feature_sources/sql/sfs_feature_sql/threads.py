"""Work with blocking drivers, in threads: none of them waits for ever for a server that has stopped to answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

import sqlalchemy as sa

__all__ = ["Threads"]

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


class Threads:
    """Runs work in a pool of threads.

    Not every driver can limit how long it reads. What nobody waits for any longer is therefore ended by shutting its
    socket down: the driver then fails, and thread and connection are free again.

    Args:
        executor: the pool.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._connections: set[sa.Connection] = set()

    async def run(self, engine: sa.Engine, work: Work[T], seconds: float) -> T:
        """Do `work` with a connection of `engine`; if cancelled, it goes on at most until `seconds` are over."""
        loop = asyncio.get_running_loop()
        end, held = loop.time() + seconds, set[sa.Connection]()
        try:
            return await loop.run_in_executor(self._executor, self._do, engine, work, held)
        except asyncio.CancelledError:
            loop.call_at(end, _cut, held)
            raise

    def close(self) -> None:
        """End all work."""
        _cut(self._connections)

    def _do(self, engine: sa.Engine, work: Work[T], held: set[sa.Connection]) -> T:
        with engine.connect() as connection:
            held.add(connection)
            self._connections.add(connection)
            try:
                return work(connection)
            finally:
                held.clear()
                self._connections.discard(connection)


def _cut(connections: set[sa.Connection]) -> None:
    for connection in connections.copy():
        # SQLite's have no socket; one that is closed at this very moment fails in a driver's own way, and is as good.
        with contextlib.suppress(Exception):
            driver: Any = connection.connection.dbapi_connection
            with socket.socket(fileno=os.dup(driver.fileno())) as its_socket:
                its_socket.shutdown(socket.SHUT_RDWR)
