"""HTTP/2 at a listener: its connections are spliced to a gRPC server inside this process.

The server starts with the first such connection. It listens in a private folder; the unix sockets that connect to it
have names, so that a call leads back to the connection it came by.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import logging
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from sfs_core.link.connection import NEVER, Connection, ListenerState
from sfs_core.link.http2_frames import GO, Frames
from sfs_core.link.plain_http2 import FirstRequest, refusal
from sfs_core.link.splice import GrpcEnd, SpliceEnd

if TYPE_CHECKING:
    from sfs_core.link.grpc_server import GrpcServer

__all__ = ["GrpcBackend", "SplicedConnection"]

_log = logging.getLogger("sfs.link")
_LEAVING_SECONDS: Final = 2.0
"""How long clients that were told to go may take to do so before the gRPC server stops, which cancels what arrives."""
_ANSWER_SECONDS: Final = 1.0
"""How long the last answers may take to leave when the server stops, and a refusal otherwise."""


class GrpcBackend:
    """The gRPC server of a listener, and the way to it.

    Args:
        state: of the listener.
        serving: what the health service says.
    """

    def __init__(self, state: ListenerState, *, serving: bool) -> None:
        self._state = state
        self._serving = serving
        self._starting: asyncio.Task[GrpcServer] | None = None
        self._ending = False
        self._leaving: asyncio.Task[None] | None = None
        self._folder: Path | None = None
        self._names = itertools.count(1)
        self._connections: dict[str, SplicedConnection] = {}

    async def start(self) -> GrpcServer:
        """The server, which is started unless it has been."""
        if self._starting is None or (self._starting.done() and self._starting.exception() is not None):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> GrpcServer:
        loop = self._state.loop
        module = await loop.run_in_executor(None, importlib.import_module, "sfs_core.link.grpc_server")
        library = importlib.import_module("sfs_core.link.grpc_library")
        if self._folder is None:
            self._folder = library.private_folder()
        target = f"unix:{quote(str(self._folder / 'server'))}"
        server: GrpcServer = module.GrpcServer(self._state, target, self._connection_at, self._serving)
        await server.start()
        return server

    def _connection_at(self, peer: str) -> Connection | None:
        return self._connections.get(peer.rpartition("/")[2])

    async def splice(self, connection: SplicedConnection) -> None:
        """Connect to the server and let bytes flow; when it is about to stop, the connection is closed."""
        if self._ending:
            connection.close()
            return
        await self.start()
        assert self._folder is not None
        name = str(next(self._names))
        inner = socket.socket(socket.AF_UNIX)
        try:
            inner.setblocking(False)
            inner.bind(str(self._folder / name))
            (self._folder / name).unlink()  # the name alone is of use
            inner.connect(str(self._folder / "server"))
            _, end = await self._state.loop.create_unix_connection(GrpcEnd, sock=inner)
        except BaseException:
            inner.close()
            raise
        connection.name = name
        self._connections[name] = connection
        connection.join(end)
        if self._ending:
            connection.send_away()

    def forget(self, connection: SplicedConnection) -> None:
        """A connection is gone."""
        self._connections.pop(connection.name, None)

    async def set_serving(self, serving: bool) -> None:
        """What the health service says from now on."""
        self._serving = serving
        if self._starting is not None:
            server = await self.start()
            await server.set_serving(serving)

    async def begin_stop(self, grace: float) -> None:
        """Tell clients to go, and end the watches that would keep them; they have a part of `grace` seconds for it."""
        self._ending = True
        if self._starting is None:
            return
        server = await self.start()
        server.end_watches()
        connections = list(self._connections.values())
        for connection in connections:
            connection.send_away()
        self._leaving = asyncio.create_task(_gone(connections, within=min(grace, _LEAVING_SECONDS)))

    async def stop(self) -> None:
        """End: the answers of all calls have been given, or never will be."""
        if self._starting is not None and self._leaving is not None:
            await self._leaving
            server = await self.start()
            await server.stop(_ANSWER_SECONDS)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


async def _gone(connections: Iterable[Connection], within: float) -> None:
    """Wait until they are closed, at most so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            for connection in connections:
                await connection.gone.wait()


class SplicedConnection(SpliceEnd, Connection):
    """A connection that speaks HTTP/2."""

    def __init__(self, state: ListenerState, backend: GrpcBackend) -> None:
        super().__init__(state)
        self._backend = backend
        self._connecting: asyncio.Task[None] | None = None
        self._first: FirstRequest | None = FirstRequest()
        self._refused = False
        self._sent = Frames()
        self._sends_away = False
        self.name = ""
        """Of the unix socket that it is spliced with."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_writing()

    def resume_writing(self) -> None:
        self._write_deadline = NEVER
        super().resume_writing()

    @property
    def busy(self) -> bool:
        """The gRPC server closes it when its last answer has left."""
        return self._other is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._backend.splice(self)
        except Exception as error:  # noqa: BLE001  whatever it is, this connection cannot be served
            _log.error("gRPC cannot be served: %s: %s", type(error).__name__, error)
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        first = self._first
        if first is not None:
            begins = first.is_empty
            stream = first.feed(data)
            if stream is not None:
                self._refuse(refusal(stream, acknowledge=begins))
                return
            if first.known:
                self._first = None
        super().data_received(data)

    def put(self, data: bytes) -> None:
        place = self._sent.feed(data)
        if self._sends_away and place is not None:
            self._sends_away = False
            data = data[:place] + GO + data[place:]
        super().put(data)

    def send_away(self) -> None:
        """Tell the client to begin no more calls here, as soon as that can be put between two frames.

        The gRPC server says so too when it stops, but from then on cancels calls that were sent before that was read:
        clients take such calls for lost, and do not make them again.
        """
        if self._sent.complete:
            self.write(GO)
        else:
            self._sends_away = True

    def _refuse(self, answer: bytes) -> None:
        """Answer what is not gRPC; the client has a moment to read it, since closing at once could take it away."""
        _log.warning("%s speaks HTTP/2 without gRPC (the protocol h2), which is not served; it is told so", self.peer)
        self._refused = True
        self._give_up()
        self.part()
        self.write(answer)
        self.let_read(True)
        self.set_deadline(_ANSWER_SECONDS)

    def _give_up(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        self._backend.forget(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._give_up()
