"""TLS of a client: whom it believes, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sfs_core.client.target import Target
from sfs_core.config.certificates import TlsFiles, client_context
from sfs_core.errors import ConfigError
from sfs_core.link.tls import ChannelTls, FollowedContext

__all__ = ["Tls", "channel_tls"]


@dataclass(frozen=True)
class Tls:
    """How a server is spoken to over TLS. Its certificate is always checked, and the name in it.

    Args:
        ca_file: CA certificates (PEM) that the server's certificate must come from; by default those that this machine
            trusts.
        certificate_file: own certificate (PEM), intermediate ones after it, for servers that ask for one.
        key_file: its private key (PEM), where that is not in `certificate_file`.
        key_password: of an encrypted key.
        server_name: host name or address that the server's certificate must be made out to, where it is not the one in
            the URL.
    """

    ca_file: Path | str | None = None
    certificate_file: Path | str | None = None
    key_file: Path | str | None = None
    key_password: str | None = field(default=None, repr=False)
    server_name: str | None = None

    @property
    def files(self) -> TlsFiles:
        """The files, as contexts are made from them."""
        if self.certificate_file is None and (self.key_file or self.key_password):
            raise ConfigError("a key needs its certificate_file")
        paths = (self.certificate_file, self.key_file, self.ca_file)
        certificate, key, authorities = (Path(path) if path is not None else None for path in paths)
        return TlsFiles(certificate, key, self.key_password, authorities)


def channel_tls(target: Target, tls: Tls | None) -> ChannelTls | None:
    """How channels to a server are opened; None for plain connections.

    Args:
        target: the server.
        tls: None for what this machine trusts, and no certificate of one's own.

    Raises:
        ConfigError: a file cannot be used, or the server is not spoken to over TLS.
    """
    if not target.tls:
        if tls is not None:
            raise ConfigError("options of TLS are given, but the address asks for none", hint="begin with https://")
        return None
    tls = tls or Tls()
    alpn = ["h2"] if target.protocol == "h2:grpc" else []
    context = FollowedContext(f"calls to {target.address}", tls.files, partial(client_context, alpn=alpn))
    return ChannelTls(context, tls.server_name or target.host, None)
