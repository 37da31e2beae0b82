"""A port that is listened on."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

from sfs_core.errors import ConfigError, ErrorCode
from sfs_core.link.baidu_std import BaiduStdConnection
from sfs_core.link.calls import Calls
from sfs_core.link.connection import Connection, ListenerState
from sfs_core.link.grpc_backend import GrpcBackend, SplicedConnection
from sfs_core.link.http1 import HttpConnection
from sfs_core.link.rpc import Limits, Routes
from sfs_core.link.sniff import Sniffer, WireProtocol
from sfs_core.link.tls import FollowedContext
from sfs_core.link.tls_acceptor import TlsAcceptor

__all__ = ["Limits", "Listener"]

_log = logging.getLogger("sfs.link")

LINGER_SECONDS: Final = 0.2
"""How long those that keep a connection are told that further calls were not run, before it is closed."""


class Listener:
    """Serves routes on one port, over `baidu_std`, HTTP/1.1 and gRPC.

    Args:
        routes: what can be called.
        limits: what is put up with.
        name: of the port, in logs and errors: `service`, `communication`.
        protocols: what is spoken; who speaks anything else is hung up on.
        serving: what gRPC's health service says, see `set_serving`.
        tls: what connections are served with over TLS; None for plain ones.
    """

    def __init__(
        self,
        routes: Routes,
        *,
        limits: Limits | None = None,
        name: str = "port",
        protocols: Collection[WireProtocol] = frozenset(WireProtocol),
        serving: bool = True,
        tls: FollowedContext | None = None,
    ) -> None:
        self._routes = routes
        self._limits = limits or Limits()
        self._name = name
        self._protocols = protocols
        self._serving = serving
        self._speakers: Mapping[WireProtocol, Callable[[ListenerState], Connection]] = {}
        self._grpc: GrpcBackend | None = None
        self._tls = tls
        self._acceptor: TlsAcceptor | None = None
        self._server: asyncio.Server | None = None
        self._state: ListenerState | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int, *, share_port: bool = False) -> None:
        """Listen.

        Args:
            host: name or address.
            port: 0 for any free one, see `port`.
            share_port: let other processes listen on the same port (SO_REUSEPORT).

        Raises:
            ConfigError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        limits = self._limits
        calls = Calls(limits.max_calls, limits.max_bytes, limits.target_seconds)
        self._state = ListenerState(self._routes, limits, calls, loop)
        self._grpc = GrpcBackend(self._state, serving=self._serving)
        speakers: dict[WireProtocol, Callable[[ListenerState], Connection]] = {
            WireProtocol.BAIDU_STD: BaiduStdConnection,
            WireProtocol.HTTP1: HttpConnection,
            WireProtocol.HTTP2: partial(SplicedConnection, backend=self._grpc),
        }
        self._speakers = {protocol: speaker for protocol, speaker in speakers.items() if protocol in self._protocols}
        try:
            self._server = await loop.create_server(
                self._accept,
                host,
                port,
                backlog=1024,
                reuse_port=share_port or None,
                start_serving=self._tls is None,
            )
            if self._tls is not None:
                self._acceptor = self._accept_tls(self._server, self._tls)
        except OSError as error:  # whose own text repeats the address
            reason = os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__
            raise ConfigError(
                f"the {self._name} port cannot listen on {host}:{port}: {reason}",
                code=ErrorCode.IO_ERROR,
                hint="choose a free port and an address of this machine",
            ) from None
        self._sweep()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def calls_under_way(self) -> int:
        """How many calls are being answered now."""
        return self._state.calls.under_way if self._state is not None else 0

    @property
    def calls_refused(self) -> Mapping[str, int]:
        """How many calls were refused so far, by reason."""
        return self._state.calls.refused if self._state is not None else {}

    async def set_serving(self, serving: bool) -> None:
        """What gRPC's health service says from now on: whether calls are answered as they should be."""
        self._serving = serving
        if self._grpc is not None:
            await self._grpc.set_serving(serving)

    async def retire(self) -> None:
        """Answer calls as before, but have clients over HTTP connect anew, and gRPC's health service say no."""
        if self._state is not None:
            self._state.retiring = True
            await self.set_serving(False)

    async def stop(self, grace: float) -> None:
        """Accept nothing more, finish running calls within `grace` seconds, close all connections.

        Clients that keep a connection and call once more are told that it was not run: closed at once, a connection
        would take calls along that are on their way, and nobody would know whether they ran.
        """
        if self._server is None or self._state is None or self._grpc is None:
            return
        self._server.close()
        if self._acceptor is not None:
            await self._acceptor.close()
        for connection in list(self._state.connections):
            if not connection.busy and not connection.lingers:
                connection.close()
        await self._grpc.begin_stop(grace)
        await self._state.calls.drain(grace)
        await self._grpc.stop()
        if grace and any(connection.lingers for connection in self._state.connections):
            await asyncio.sleep(min(LINGER_SECONDS, grace))
        for connection in list(self._state.connections):
            connection.close()
        await self._closed(within=1.0)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._server = None

    async def _closed(self, within: float) -> None:
        """Wait until everything written has left; who does not read it is cut off."""
        assert self._state is not None
        connections = list(self._state.connections)
        timer = self._state.loop.call_later(within, _abort, connections)
        for connection in connections:
            await connection.gone.wait()
        timer.cancel()

    def _accept_tls(self, server: asyncio.Server, tls: FollowedContext) -> TlsAcceptor:
        return TlsAcceptor(
            [each.dup() for each in server.sockets],
            tls,
            self._sniffer,
            handshake_timeout=self._limits.header_timeout,
            has_room=self._has_room,
            name=self._name,
        )

    def _accept(self) -> asyncio.Protocol:
        return self._sniffer() if self._has_room() else _Refusal()

    def _has_room(self, handshakes: int = 0) -> bool:
        assert self._state is not None
        has_room = len(self._state.connections) + handshakes < self._limits.max_connections
        if not has_room:
            _log.warning("%s port: a connection is refused, %d are open", self._name, self._limits.max_connections)
        return has_room

    def _sniffer(self) -> Sniffer:
        assert self._state is not None
        return Sniffer(self._state, self._speakers)

    def _sweep(self) -> None:
        """Close connections whose time is up."""
        assert self._state is not None
        now = self._state.loop.time()
        for connection in [c for c in self._state.connections if c.is_overdue(now)]:
            _log.debug("%s port: closing the connection of %s, its time is up", self._name, connection.peer)
            connection.abort()
        limits = self._limits
        interval = min(limits.header_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout, 4.0) / 4
        self._sweep_timer = self._state.loop.call_later(interval, self._sweep)


def _abort(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.abort()


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
