"""One port, several protocols: the first bytes of a connection tell which one it speaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final

from sfs_core.link.connection import Connection, ListenerState
from sfs_core.link.framing import MAGIC

__all__ = ["Sniffer", "WireProtocol", "recognise"]

_log = logging.getLogger("sfs.link")


class WireProtocol(Enum):
    """What a connection may begin with."""

    BAIDU_STD = auto()
    HTTP1 = auto()
    HTTP2 = auto()
    TLS = auto()
    UNKNOWN = auto()


_METHODS: Final = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
_BEGINNINGS: Final[Mapping[bytes, WireProtocol]] = {
    MAGIC: WireProtocol.BAIDU_STD,
    b"PRI * HTTP/2.0": WireProtocol.HTTP2,
    b"\x16\x03": WireProtocol.TLS,
    **{method.encode() + b" ": WireProtocol.HTTP1 for method in _METHODS},
}
_LONGEST: Final = max(map(len, _BEGINNINGS))


def recognise(data: bytes) -> WireProtocol | None:
    """The protocol of a connection that begins with `data`; None as long as it could still be several."""
    for beginning, protocol in _BEGINNINGS.items():
        if data.startswith(beginning):
            return protocol
    if len(data) < _LONGEST and any(beginning.startswith(data) for beginning in _BEGINNINGS):
        return None
    return WireProtocol.UNKNOWN


class Sniffer(Connection):
    """Holds a connection until its protocol is known, then hands it over.

    Args:
        state: of the listener.
        speakers: who takes a connection of which protocol; the others are closed.
    """

    def __init__(
        self, state: ListenerState, speakers: Mapping[WireProtocol, Callable[[ListenerState], Connection]]
    ) -> None:
        super().__init__(state)
        self._speakers = speakers
        self._seen = b""
        self.set_deadline(state.limits.header_timeout)

    @property
    def lingers(self) -> bool:
        return True  # its first request may be under way

    def data_received(self, data: bytes) -> None:
        self._seen = (self._seen + data).lstrip(b"\r\n")  # HTTP ignores empty lines before a request
        protocol = recognise(self._seen)
        if protocol is None or self.transport is None:
            return
        speaker = self._speakers.get(protocol)
        if speaker is None:
            level = logging.WARNING if protocol is WireProtocol.TLS else logging.DEBUG
            _log.log(level, "closing the connection of %s: %s is not spoken on this port", self.peer, protocol.name)
            self.close()
            return
        self._hand_over(speaker(self.state))

    def _hand_over(self, connection: Connection) -> None:
        assert self.transport is not None
        transport = self.transport
        self.state.connections.discard(self)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(self._seen)
