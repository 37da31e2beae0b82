"""Opening connections to peers, with errors that say what is wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from sfs_core.config.address import Address
from sfs_core.config.certificates import certificate_names
from sfs_core.link.outgoing import TransportError
from sfs_core.link.retry import FailureKind
from sfs_core.link.text import short_text
from sfs_core.link.tls import ChannelTls, words

__all__ = ["connect"]

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(
    party: str, address: Address, seconds: float, protocol: Callable[[], P], tls: ChannelTls | None = None
) -> P:
    """Open a connection; with `tls` to nobody but the party.

    Raises:
        TransportError: it cannot be opened, not within `seconds`, or the other end is not the party.
    """
    context = tls.context.current if tls else None
    name = tls.server_name if tls else None
    kind = FailureKind.NOT_RUN
    try:
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            transport, made = await loop.create_connection(
                protocol, address.host, address.port, ssl=context, server_hostname=name
            )
        if tls is not None and tls.identities is not None:
            _check_identity(party, address, transport, tls.identities)
        return made
    except TimeoutError:
        text = f"did not accept a connection within {seconds:g} s"
    except ssl.SSLCertVerificationError as error:
        text, kind = f"is refused: certificate verify failed: {error.verify_message}", FailureKind.UNTRUSTED
    except ssl.SSLError as error:
        text, kind = f"cannot be spoken to over TLS: {words(error)}", FailureKind.UNTRUSTED
    except ConnectionRefusedError:
        text = "refused the connection"
    except (socket.gaierror, UnicodeError):  # the latter of what cannot be a name
        text = "cannot be found: its host name is unknown"
    except ConnectionResetError:
        text = "closed the connection at once" + ("; does it serve TLS there?" if tls else "")
    except OSError as error:
        text = f"cannot be reached: {error.strerror or type(error).__name__}"
    raise TransportError(f"peer {party!r} {text}", kind, f"at {address.authority}")


def _check_identity(party: str, address: Address, transport: asyncio.Transport, identities: frozenset[str]) -> None:
    """A certificate of the right authority may be another party's."""
    names = certificate_names(transport.get_extra_info("peercert") or {})
    if not names & identities:
        transport.abort()
        text = (
            f"peer {party!r} is refused: its certificate is made out to {_listed(names)}, "
            f"and not to {' or '.join(sorted(identities))}"
        )
        raise TransportError(text, FailureKind.UNTRUSTED, f"at {address.authority}")


def _listed(names: frozenset[str]) -> str:
    shown = sorted(names)[:5]
    return short_text(", ".join(shown)) if shown else "nobody"
