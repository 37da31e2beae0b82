"""Socket options that let the kernel find dead connections, and others know of them."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

__all__ = ["guard", "reset_on_close"]

_KEEPALIVE_IDLE: Final = 30
_KEEPALIVE_INTERVAL: Final = 10
_UNACKNOWLEDGED_MS: Final = 20_000


def guard(transport: asyncio.BaseTransport) -> None:
    """Have the connection end when the other side vanishes, or takes nothing of what is sent for 20 seconds."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Have the other side see at once that nobody reads its answer, and not only that nothing more is sent to it."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
