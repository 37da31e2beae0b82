"""Parties inside the test's process, in a thread of their own: to look at what they do from within."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO

import uvloop

from sfs_core.config.loader import load
from sfs_core.server.app import Server, quiet_numpy
from tests.support.clusters import ClusterFiles


class RunningServers:
    """Servers that answer; `close` ends them.

    Attributes:
        loop: what they run on, in a thread of its own.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(120)
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    async def _serve(self) -> None:
        quiet_numpy()
        self.loop = asyncio.get_running_loop()
        try:
            await asyncio.gather(*(server.start() for server in self._servers))
        except BaseException as error:  # noqa: BLE001 - it is raised where the servers are started
            self._failure = error
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await asyncio.gather(*(server.stop(grace=0) for server in self._servers))

    def close(self) -> None:
        """Stop them all."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)
        assert not self._thread.is_alive()


@dataclass(frozen=True)
class ServersHere:
    """The servers of a cluster by party, and the loop that they run on."""

    servers: Mapping[str, Server]
    loop: asyncio.AbstractEventLoop

    def __getitem__(self, party: str) -> Server:
        return self.servers[party]


@contextmanager
def serving_here(files: ClusterFiles) -> Iterator[ServersHere]:
    """All parties of a cluster in this process, ready; stopped at the end. Much quicker than a process for each."""
    servers = {party: Server(load(files.write(party))) for party in files.configs}
    running = RunningServers(list(servers.values()))
    try:
        yield ServersHere(servers, running.loop)
    finally:
        running.close()


@contextmanager
def logged() -> Iterator[StringIO]:
    """All that is logged meanwhile, at every level."""
    log = StringIO()
    handler, logger = logging.StreamHandler(log), logging.getLogger("sfs")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
