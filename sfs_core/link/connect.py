"""Opening connections to peers, with errors that say what is wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from sfs_core.config.address import Address
from sfs_core.link.outgoing import TransportError
from sfs_core.link.retry import FailureKind

__all__ = ["connect"]

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(party: str, address: Address, seconds: float, protocol: Callable[[], P]) -> P:
    """Open a connection.

    Raises:
        TransportError: it cannot be opened, or not within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            _, made = await loop.create_connection(protocol, address.host, address.port)
            return made
    except TimeoutError:
        text = f"did not accept a connection within {seconds:g} s"
    except ConnectionRefusedError:
        text = "refused the connection"
    except socket.gaierror:
        text = "cannot be found: its host name is unknown"
    except OSError as error:
        text = f"cannot be reached: {error.strerror or type(error).__name__}"
    raise TransportError(f"peer {party!r} {text}", FailureKind.NOT_RUN)
