"""Accepting TLS connections: asyncio's own servers are silent about handshakes that fail, and keep one context."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from sfs_core.link.tls import FollowedContext, failure_text

__all__ = ["TlsAcceptor"]

_log = logging.getLogger("sfs.tls")

_PAUSE: Final = 1.0
"""Seconds until the next try when a connection cannot be accepted, for want of file descriptors as a rule."""


class TlsAcceptor:
    """Hands connections over once their TLS handshake is done; those that fail are logged.

    Args:
        sockets: bound; owned from here on.
        context: what new connections are served with.
        protocol: makes the protocol of a connection.
        handshake_timeout: seconds.
        has_room: whether one more connection may be begun, given how many handshakes are under way.
        name: of the port, in logs.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        context: FollowedContext,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        handshake_timeout: float,
        has_room: Callable[[int], bool],
        name: str,
    ) -> None:
        self._sockets = list(sockets)
        self._context = context
        self._protocol = protocol
        self._handshake_timeout = handshake_timeout
        self._has_room = has_room
        self._name = name
        self._handshakes: set[asyncio.Task[None]] = set()
        for each in self._sockets:
            each.setblocking(False)
            each.listen(1024)
        self._accepting = [asyncio.ensure_future(self._accept_all(each)) for each in self._sockets]

    async def close(self) -> None:
        """Accept nothing more, give up handshakes under way."""
        tasks: list[asyncio.Task[Any]] = [*self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    async def _accept_all(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("%s port: cannot accept connections: %s", self._name, error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            if not self._has_room(len(self._handshakes)):
                accepted.close()
                continue
            task = asyncio.ensure_future(self._shake_hands(accepted))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        peer = _peer_name(accepted)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, accepted, ssl=self._context.current, ssl_handshake_timeout=self._handshake_timeout
            )
        except ConnectionResetError:  # as probes do that only look whether somebody listens
            _log.debug("%s port: %s closed its connection during the TLS handshake", self._name, peer)
        except OSError as error:
            _log.warning("%s port: no TLS connection with %s: %s", self._name, peer, failure_text(error))


def _peer_name(accepted: socket.socket) -> str:
    try:
        name = accepted.getpeername()
    except OSError:
        return "somebody who has gone"
    return f"{name[0]}:{name[1]}"
