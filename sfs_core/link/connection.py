"""What all connections to a listener have in common: deadlines, back-pressure, an orderly end."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Final, cast

from sfs_core.config.certificates import certificate_names
from sfs_core.link.calls import Calls
from sfs_core.link.rpc import Limits, Routes
from sfs_core.link.sockets import guard

__all__ = ["NEVER", "Connection", "ListenerState"]

NEVER: Final = math.inf
LEAST_PROGRESS: Final = 64 << 10
"""Bytes of a pile that a client has to take within `write_timeout`."""


@dataclass
class ListenerState:
    """What the connections of one listener share."""

    routes: Routes
    limits: Limits
    calls: Calls
    loop: asyncio.AbstractEventLoop
    retiring: bool = False
    """Calls are answered as ever, but clients are to connect elsewhere for the next."""
    connections: set[Connection] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """A connection to a listener.

    `deadline` is the loop time at which the listener closes it, moved on by the protocol: one sweep over all
    connections is much cheaper than a timer per request.
    """

    def __init__(self, state: ListenerState) -> None:
        self.state = state
        self.deadline = NEVER
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.names: frozenset[str] | None = None
        """Whom the client's verified certificate is made out to; None where it showed none."""
        self._write_deadline = NEVER
        self._unwritten = 0
        self._receiving = 0
        self._half_closed = False
        self.gone = asyncio.Event()
        """Set when the connection is closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        guard(transport)
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else ""
        certificate = transport.get_extra_info("peercert")
        self.names = certificate_names(certificate) if certificate else None
        self.state.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.state.connections.discard(self)
        self.receive(0)
        self.transport = None
        self.gone.set()

    def eof_received(self) -> bool:
        """The client sends nothing more; it still gets the answers it is owed (TLS ends as a whole)."""
        self._half_closed = True
        return self.busy and self.transport is not None and self.transport.can_write_eof()

    def close_if_done(self) -> None:
        """Close when no answer is owed and nothing more can come."""
        if not self.busy and (self._half_closed or (self.state.calls.stopping and not self.lingers)):
            self.close()

    def pause_writing(self) -> None:
        self._expect_writing()
        self.regulate_reading()

    def resume_writing(self) -> None:
        self._write_deadline = NEVER
        self.regulate_reading()

    def _expect_writing(self) -> None:
        assert self.transport is not None
        self._unwritten = self.transport.get_write_buffer_size()
        self._write_deadline = self.state.loop.time() + self.state.limits.write_timeout

    def is_overdue(self, now: float) -> bool:
        """Whether its time is up: for what it was to send, or for taking what was written to it."""
        if self._write_deadline <= now and self.transport is not None:
            if self._unwritten - self.transport.get_write_buffer_size() < LEAST_PROGRESS:
                return True
            self._expect_writing()
        return self.deadline <= now

    def receive(self, size: int) -> bool:
        """Count a body that is not complete yet, of so many bytes so far; 0 when there is none any more.

        Returns:
            False where all bodies at the port together are too large.
        """
        more, self._receiving = size - self._receiving, size
        return self.state.calls.receive(more) if more else True

    def regulate_reading(self) -> None:
        """Who does not read answers, or has asked too much already, gets no more questions in."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        wanted = self.takes_more and self._write_deadline == NEVER
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()

    @property
    def takes_more(self) -> bool:
        """Whether further requests may be read."""
        return True

    @property
    def lingers(self) -> bool:
        """Whether a client may send on it until it is closed, and can be told that the listener is stopping."""
        return False

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return False

    def close(self) -> None:
        """Send what has been written, then close."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close now, whatever has not been sent yet."""
        if self.transport is not None:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        """Send; nothing happens when the connection is gone."""
        if self.transport is not None:
            self.transport.write(data)

    def set_deadline(self, seconds: float) -> None:
        """Close the connection in so many seconds, unless something moves the deadline before."""
        self.deadline = self.state.loop.time() + seconds
