"""How load reaches a server: many calls at a time, with as little work per call as there can be."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import ClassVar, cast

from sfs_core.link.tls import ChannelTls, words

__all__ = ["Call", "Connection", "Finished", "Pool", "Transport"]


class Call:
    """A request on its way.

    Attributes:
        index: which of the load's messages it sends.
        intended: when it should have been sent, seconds of `time.perf_counter`.
        sent: when it was.
        over: whether it has been answered or given up.
        key: whatever the transport finds it by.
    """

    __slots__ = ("index", "intended", "key", "over", "sent")

    def __init__(self, index: int, intended: float, sent: float) -> None:
        self.index = index
        self.intended = intended
        self.sent = sent
        self.over = False
        self.key: object = None


Finished = Callable[[Call, bytes, str], None]
"""Gets a call with its answer's body, or with what went wrong instead, which is then not empty."""


class Transport(ABC):
    """Sends messages to one server and reports how each call ended, never before `send` has returned."""

    finished: Finished

    @abstractmethod
    def send(self, call: Call, message: bytes) -> None:
        """Begin a call."""

    @abstractmethod
    def drop(self, call: Call) -> None:
        """Nobody waits for this call any more; it is not reported."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections; calls under way are not reported."""


class Connection(asyncio.Protocol):
    """A connection of a pool."""

    exclusive: ClassVar[bool]
    """Whether it carries one call at a time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.pool.lost(self)

    @property
    def is_open(self) -> bool:
        """Whether anything can be sent."""
        return self.transport is not None and not self.transport.is_closing()

    def abort(self) -> None:
        """Close it at once."""
        if self.transport is not None:
            self.transport.abort()

    def calls(self) -> list[Call]:
        """Those under way."""
        raise NotImplementedError

    def send(self, call: Call, message: bytes) -> None:
        """Write a request."""
        raise NotImplementedError


class Pool(Transport):
    """Calls over up to `connections` connections, opened when they are needed; calls that find none free wait.

    Args:
        host, port: where to connect to.
        make: makes the protocol of a connection.
        connections: most of them.
        tls: how they are opened over TLS; None for plain ones.
    """

    def __init__(
        self,
        host: str,
        port: int,
        make: Callable[[Pool], Connection],
        *,
        connections: int,
        tls: ChannelTls | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._tls = tls
        self._make = make
        self._most = connections
        self._free: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[Call, bytes]] = deque()
        self._closed = False

    def send(self, call: Call, message: bytes) -> None:
        while self._free and not self._free[-1].is_open:
            self._free.pop()
        if self._free:
            self._send_over_last(call, message)
            return
        self._waiting.append((call, message))
        if len(self._open) + len(self._connecting) < self._most:
            task = asyncio.ensure_future(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _send_over_last(self, call: Call, message: bytes) -> None:
        connection = self._free[-1]
        if connection.exclusive:
            self._free.pop()
        call.key = connection
        connection.send(call, message)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        context, name = (self._tls.context.current, self._tls.server_name) if self._tls else (None, None)
        try:
            _, connection = await loop.create_connection(
                lambda: self._make(self), self._host, self._port, ssl=context, server_hostname=name
            )
        except ssl.SSLCertVerificationError as error:
            self._not_connected(f"no TLS connection: certificate verify failed: {error.verify_message}")
            return
        except ssl.SSLError as error:
            self._not_connected(f"no TLS connection: {words(error)}")
            return
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._not_connected("connection refused" if refused else "no connection")
            return
        if not connection.is_open:  # it was accepted and closed at once
            self._not_connected("connection lost")
            return
        self._open.add(connection)
        self.freed(connection)

    def _not_connected(self, problem: str) -> None:
        """Calls go on waiting as long as other connections may serve them."""
        if not self._open:
            waiting, self._waiting = self._waiting, deque()
            for call, _ in waiting:
                if not call.over:
                    self.finished(call, b"", problem)

    def freed(self, connection: Connection) -> None:
        """A connection may take another call."""
        self._free.append(connection)
        while self._waiting and self._free and self._free[-1] is connection:
            call, message = self._waiting.popleft()
            if not call.over:
                self._send_over_last(call, message)

    def lost(self, connection: Connection) -> None:
        """A connection is gone; so are its calls."""
        if connection in self._free:
            self._free.remove(connection)
        self._open.discard(connection)
        if self._closed:
            return
        for call in connection.calls():
            if not call.over:
                self.finished(call, b"", "connection lost")
        waiting, self._waiting = self._waiting, deque()
        for call, message in waiting:  # they find other connections, or open one
            if not call.over:
                self.send(call, message)

    def drop(self, call: Call) -> None:
        connection = call.key
        if isinstance(connection, Connection) and connection.exclusive:
            connection.abort()  # its answer would be taken for the next call's

    async def close(self) -> None:
        self._closed = True
        connecting = list(self._connecting)
        for task in connecting:
            task.cancel()
        if connecting:
            await asyncio.wait(connecting)
        for connection in list(self._open):
            connection.abort()
        while self._open:  # noqa: ASYNC110 - for as many turns of the loop as it takes
            await asyncio.sleep(0)
