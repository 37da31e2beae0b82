"""TLS of ports and channels: contexts that follow their files, who the other end is, and why a handshake failed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sfs_core.config.certificates import CertificateError, TlsFiles

__all__ = ["ChannelTls", "FollowedContext", "failure_text", "loss_text", "words"]

_log = logging.getLogger("sfs.tls")

_REASONS: Final = {
    "HTTP_REQUEST": "it speaks plain HTTP on a port that is for TLS",
    "WRONG_VERSION_NUMBER": "what came is not TLS",
    "UNKNOWN_PROTOCOL": "what came is not TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "UNSUPPORTED_PROTOCOL": "its TLS is older than version 1.2",
    "NO_SHARED_CIPHER": "it knows no cipher that is allowed here",
    "UNEXPECTED_EOF_WHILE_READING": "the connection ended in the middle of the handshake",
}
"""What OpenSSL's reasons mean."""


class FollowedContext:
    """A TLS context made from files, and made again when they change; connections keep the one they began with.

    Args:
        name: of the port or channels, for the log.
        files: what it is made from.
        make: makes it.

    Raises:
        CertificateError: a file cannot be used.
    """

    def __init__(self, name: str, files: TlsFiles, make: Callable[[TlsFiles], ssl.SSLContext]) -> None:
        self._name = name
        self._files = files
        self._make = make
        self._seen = self._state()
        self.current = make(files)

    def refresh(self, *, force: bool = False) -> None:
        """Make the context again if a file changed; what cannot be used is logged, and the old context stays.

        Args:
            force: also when no file seems to have changed.
        """
        state = self._state()
        if state == self._seen and not force:
            return
        self._seen = state
        try:
            self.current = self._make(self._files)
        except CertificateError as error:
            _log.error("TLS of %s goes on with the certificates it has: %s", self._name, error.message)
        else:
            _log.info("TLS of %s: certificates were read again, new connections use them", self._name)

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_file_state, self._files.paths))


def _file_state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


@dataclass(frozen=True, slots=True)
class ChannelTls:
    """How a peer is spoken to.

    Args:
        context: the client's side.
        server_name: what the peer's certificate must be made out to, beside the party.
        identities: names (see `certificate_names`) of which the peer's certificate must have one; None where
            `server_name` says enough.
    """

    context: FollowedContext
    server_name: str
    identities: frozenset[str] | None


def failure_text(error: BaseException) -> str:
    """Why a handshake with a client failed, for this party's log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if "ALERT" in reason:
            return f"it refuses this party's certificate or TLS settings ({words(error)})"
        return _REASONS.get(reason, words(error))
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return "it took too long"
    return "it closed the connection"


def loss_text(error: BaseException | None, *, unused_tls: bool) -> str:
    """What to say of a connection to a peer that ended before the answer, to follow the peer's name.

    Args:
        error: what it ended with, if anything.
        unused_tls: it was over TLS, and the peer had not sent anything yet: with TLS 1.3 it may refuse this party's
            certificate only now.
    """
    if isinstance(error, ssl.SSLError):
        return f"ended the TLS connection ({words(error)}); it may not accept this party's certificate"
    if unused_tls:
        return "closed the connection before it answered; it may not accept this party's certificate, its log says"
    return "closed the connection before it answered"


def words(error: ssl.SSLError) -> str:
    """OpenSSL's reason, in words."""
    return (error.reason or "TLS failed").replace("_", " ").lower()
