"""Clusters inside the process of the tests: quicker than processes, and their servers can be looked into."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

from sfs_core.config.loader import load
from sfs_core.server.app import Server, quiet_numpy
from tests.support.clusters import ClusterFiles

T = TypeVar("T")
SECONDS = 120.0


@dataclass(frozen=True)
class ServersHere:
    """Servers that run in a thread, on one event loop."""

    servers: Mapping[str, Server]
    loop: asyncio.AbstractEventLoop

    def __getitem__(self, party: str) -> Server:
        return self.servers[party]

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call something where the servers run; what it returns."""

        async def called() -> Any:
            return function(*arguments)

        return self.run(called())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the servers run, to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SECONDS)


@contextmanager
def serving_here(files: ClusterFiles) -> Iterator[ServersHere]:
    """All parties of a cluster, ready; stopped at the end."""
    loop = uvloop.new_event_loop()

    def work() -> None:
        quiet_numpy()
        loop.run_forever()

    thread = threading.Thread(target=work, name="servers")
    thread.start()
    loaded = {party: load(files.write(party)) for party in files.configs}

    async def make() -> dict[str, Server]:
        return {party: Server(each) for party, each in loaded.items()}

    async def start(servers: Mapping[str, Server]) -> None:
        await asyncio.gather(*(server.start() for server in servers.values()))

    async def stop(servers: Mapping[str, Server]) -> None:
        await asyncio.gather(*(server.stop(0.5) for server in servers.values()))

    here = ServersHere({}, loop)
    try:
        here = ServersHere(here.run(make()), loop)
        here.run(start(here.servers))
        yield here
    finally:
        here.run(stop(here.servers))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
