"""Two connections joined: what arrives at one leaves at the other, no faster than it is taken."""

from __future__ import annotations

import asyncio
from typing import cast

__all__ = ["GrpcEnd", "SpliceEnd"]


class SpliceEnd(asyncio.Protocol):
    """One of the two connections. What arrives before it is joined is held, and no more is read meanwhile.

    The end of what one side sends is passed on (a half-close), where the transport can say it; a connection that is
    gone takes the other with it, after what has been written to it has left.
    """

    transport: asyncio.Transport | None = None
    _other: SpliceEnd | None = None
    _held: bytes = b""
    _ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        super().connection_made(transport)

    def join(self, other: SpliceEnd) -> None:
        """Let the bytes flow. Where one of them is gone already, the other is closed."""
        self._other, other._other = other, self
        self._let_flow()
        other._let_flow()

    def _let_flow(self) -> None:
        assert self._other is not None
        held, self._held = self._held, b""
        if held:
            self._other.put(held)
        if self._ended:
            self._other.put_end()
        if self.transport is None:
            self._other.finish()
        else:
            self.let_read(True)

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.put(data)
        else:
            self._held += data
            self.let_read(False)

    def eof_received(self) -> bool:
        self._ended = True
        if self._other is not None:
            self._other.put_end()
        both_ended = self._other is not None and self._other._ended
        return self.transport is not None and self.transport.can_write_eof() and not both_ended

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.transport = None
        if self._other is not None:
            self._other.finish()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.let_read(False)

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.let_read(True)

    def part(self) -> None:
        """Let go of the other connection, which is closed."""
        other, self._other = self._other, None
        if other is not None:
            other._other = None
            other.finish()

    # ------------------------------------------------------------ for the other end
    def put(self, data: bytes) -> None:
        """Send."""
        if self.transport is not None:
            self.transport.write(data)

    def put_end(self) -> None:
        """Say that nothing more comes."""
        if self.transport is not None and self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def let_read(self, wanted: bool) -> None:
        """Read on, or stop reading."""
        transport = self.transport
        if transport is None or transport.is_closing() or transport.is_reading() == wanted:
            return
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def finish(self) -> None:
        """Close, once everything written has left."""
        if self.transport is not None:
            self.transport.close()


class GrpcEnd(SpliceEnd):
    """The end at gRPC in this process, which closes a connection as a whole, also when the other side has ended."""

    def eof_received(self) -> bool:
        return False
