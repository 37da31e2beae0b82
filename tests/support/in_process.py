"""Parties inside the test's process, in a thread of their own: to look at what they do from within."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from sfs_core.server.app import Server


class RunningServers:
    """Servers that answer; `close` ends them."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(120)
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
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
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)
        assert not self._thread.is_alive()
