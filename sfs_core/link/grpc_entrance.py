"""The way from gRPC's library to a peer.

gRPC's own connections end at a unix socket of this process, from where each is spliced to a connection to the peer
that is opened as those of the other protocols are: with their time limit, their errors, their options.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from urllib.parse import quote

from sfs_core.config.address import Address
from sfs_core.link.connect import connect
from sfs_core.link.grpc_library import private_folder
from sfs_core.link.outgoing import TransportError
from sfs_core.link.sockets import guard
from sfs_core.link.splice import GrpcEnd, SpliceEnd
from sfs_core.link.tls import ChannelTls

__all__ = ["GrpcEntrance"]


class GrpcEntrance:
    """Where gRPC connects to; each connection leads on to the peer.

    Args:
        party: the peer's id.
        address: where it listens.
        connect_timeout: seconds.
        tls: how the peer is spoken to over TLS; None for plain connections.

    Attributes:
        target: what gRPC calls it.
        failure: why the peer was not reached when last tried; None if it was.
    """

    def __init__(self, party: str, address: Address, connect_timeout: float, tls: ChannelTls | None) -> None:
        self._party = party
        self._tls = tls
        self._address = address
        self._connect_timeout = connect_timeout
        self._folder = private_folder()
        self.target = f"unix:{quote(str(self._folder / 'peer'))}"
        self.failure: TransportError | None = None
        self._connections: dict[asyncio.Task[None], _Inner] = {}
        self._closing = False
        listening = socket.socket(socket.AF_UNIX)
        listening.setblocking(False)
        listening.bind(str(self._folder / "peer"))
        listening.listen()
        loop = asyncio.get_running_loop()
        self._server = loop.create_task(loop.create_unix_server(lambda: _Inner(self), sock=listening))

    def accept(self, inner: _Inner) -> None:
        """Lead a connection of gRPC's on."""
        if self._closing:
            inner.finish()
            return
        task = asyncio.ensure_future(self._lead_on(inner))
        self._connections[task] = inner
        task.add_done_callback(self._connections.pop)

    async def _lead_on(self, inner: _Inner) -> None:
        try:
            outer = await connect(self._party, self._address, self._connect_timeout, _Outer, self._tls)
        except TransportError as error:
            self.failure = error
        else:
            self.failure = None
            inner.join(outer)
            try:
                await inner.gone.wait()
                await outer.gone.wait()
            except asyncio.CancelledError:
                outer.abort()
                await outer.gone.wait()
                raise
        inner.finish()

    def close(self) -> None:
        """Close all connections, and accept no more."""
        if self._closing:
            return
        self._closing = True
        for task, inner in self._connections.items():
            task.cancel()
            inner.finish()

    async def closed(self) -> None:
        """Close all, and wait until they are."""
        server = await self._server
        server.close()
        self.close()
        if self._connections:
            await asyncio.wait(self._connections)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Inner(GrpcEnd):
    """A connection of gRPC's."""

    def __init__(self, entrance: GrpcEntrance) -> None:
        self._entrance = entrance
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._entrance.accept(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.gone.set()


class _Outer(SpliceEnd):
    """A connection to the peer."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        guard(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.gone.set()

    def abort(self) -> None:
        """Close it at once, without a word."""
        if self.transport is not None:
            self.transport.abort()
