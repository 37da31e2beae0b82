"""Running servers in a process: event loop, signals, and the end."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from sfs_core.server.app import Server, quiet_numpy

__all__ = ["follow_certificates", "run_loop", "serve_until_stopped"]

CERTIFICATE_SECONDS: Final = 2.0
"""Between two looks at the files of certificates."""


def run_loop(main: Any) -> Any:
    """Run a coroutine on the fastest event loop there is (uvloop, else asyncio's own)."""
    quiet_numpy()
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def serve_until_stopped(
    servers: Sequence[Server], started: Callable[[Server], None], until: Sequence[asyncio.Future[Any]] = ()
) -> None:
    """Start servers, several parties of one model among them, and serve until SIGINT or SIGTERM.

    Certificates are read again when their files change, and on SIGHUP.
    A helper of bulk scoring also ends when its requester says so.

    Args:
        servers: to be started all at once.
        started: called with each server that has become ready.
        until: what ends them as well, as soon as one of these is done.

    Raises:
        SfsError: a server could not start; all are stopped.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, partial(_refresh, servers, force=True))
    following = asyncio.ensure_future(follow_certificates(servers))
    starting = [asyncio.ensure_future(_start(server, started)) for server in servers]
    waiting = asyncio.ensure_future(stopped.wait())
    try:
        await _until_first_failure([asyncio.ensure_future(_gather(starting)), waiting, *until])
        if not any(each.done() for each in (waiting, *until)):
            gc.collect()
            gc.freeze()  # what lives now lives as long as the process
            await _until_first_failure(
                [waiting, *until, *(server.control.finished for server in servers if server.control)]
            )
    finally:
        ending = [waiting, following, *starting]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.gather(*(server.stop() for server in servers))


async def _start(server: Server, started: Callable[[Server], None]) -> None:
    await server.start()
    started(server)


def _refresh(servers: Sequence[Server], *, force: bool = False) -> None:
    for server in servers:
        server.refresh_certificates(force=force)


async def follow_certificates(servers: Sequence[Server]) -> None:
    """Look at the files of certificates every `CERTIFICATE_SECONDS`, until it is cancelled."""
    while True:
        await asyncio.sleep(CERTIFICATE_SECONDS)
        _refresh(servers)


async def _gather(tasks: Sequence[asyncio.Future[None]]) -> None:
    await asyncio.gather(*tasks)


async def _until_first_failure(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for the first of them to end; raise what it raised."""
    done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for future in done:
        future.result()
