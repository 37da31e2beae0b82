"""TLS of a party's server: what ports and channels are served with, who may ask as whom, and what is not protected."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from sfs_core.config.certificates import client_context, server_context
from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.schema import ServerConfig
from sfs_core.config.tls import ServerTls as TlsOptions
from sfs_core.config.tls import tls_files
from sfs_core.errors import RequestError
from sfs_core.link.rpc import CallInfo
from sfs_core.link.tls import ChannelTls, FollowedContext

__all__ = ["PartyIdentities", "ServerTls", "unprotected"]


class ServerTls:
    """The TLS contexts of one party's ports and channels.

    Raises:
        CertificateError: a file cannot be used.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        self._config = loaded.config
        self._base = loaded.base_directory
        self._contexts: list[FollowedContext] = []

    def of_port(self, port: str) -> FollowedContext | None:
        """What a port (`service`, `communication`, …) serves connections with; None for plain ones."""
        return self.of(self._config.listen.tls_of(port), f"the {port} port")

    def of(self, tls: TlsOptions | None, name: str) -> FollowedContext | None:
        """What a port with these options serves connections with; None for plain ones."""
        if tls is None:
            return None
        wanted = ssl.CERT_REQUIRED if tls.client_certificates == "required" else ssl.CERT_OPTIONAL
        make = partial(server_context, client_certificates=wanted)
        return self._followed(FollowedContext(name, tls_files(tls, self._base), make))

    def with_peer(self, party: str) -> Callable[[str], ChannelTls] | None:
        """How a party is called over TLS, by the host at which it is; None for plain calls."""
        tls = self._config.tls_with(party)
        if tls is None:
            return None
        make = partial(client_context, alpn=["h2"] if self._config.link.protocol == "h2:grpc" else ())
        context = self._followed(FollowedContext(f"calls to {party}", tls_files(tls, self._base), make))
        names = self._config.identity_names(party)
        return lambda host: ChannelTls(context, tls.server_name or host, names)

    def _followed(self, context: FollowedContext) -> FollowedContext:
        self._contexts.append(context)
        return context

    def refresh(self, *, force: bool = False) -> None:
        """Read certificates again where files changed, or all (`force`)."""
        for context in self._contexts:
            context.refresh(force=force)


class PartyIdentities:
    """Who may ask as which party.

    Args:
        names: per party the names of which its certificate has at least one; None where peers show no certificates, and
            everybody is believed.
    """

    def __init__(self, names: Mapping[str, frozenset[str]] | None) -> None:
        self._names = names

    @classmethod
    def of(cls, config: ServerConfig) -> PartyIdentities:
        """Those of a config: peers are known by their certificates where its communication port asks for them."""
        tls = config.listen.tls_of("communication")
        if tls is None or tls.ca_file is None:
            return cls(None)
        return cls({party: config.identity_names(party) for party in config.parties})

    def check(self, party: str, info: CallInfo) -> None:
        """Nothing, where the client that called is this party.

        Raises:
            RequestError: it is not, as far as its certificate says.
        """
        if self._names is None:
            return
        if info.names is None:
            raise RequestError("a certificate of a party is needed, none was shown")
        if info.names.isdisjoint(self._names.get(party, ())):
            raise RequestError("the certificate that was shown is not that of the party that the request names")

    def check_any(self, info: CallInfo) -> None:
        """Nothing, where the client that called is any party of the cluster.

        Raises:
            RequestError: it is not, as far as its certificate says.
        """
        if self._names is None:
            return
        if info.names is None:
            raise RequestError("a certificate of a party is needed, none was shown")
        if all(info.names.isdisjoint(names) for names in self._names.values()):
            raise RequestError("the certificate that was shown is that of no party of this cluster")


def unprotected(config: ServerConfig, ports: Sequence[str]) -> Iterator[str]:
    """What anybody on the network could do, in sentences; nothing where TLS protects everything."""
    for port in ports:
        tls = config.listen.tls_of(port)
        whom = "callers" if port in ("service", "grpc") else "peers" if port == "communication" else "readers"
        if tls is None:
            yield f"the {port} port has no TLS: what {whom} send and get can be read and changed on the way"
        if port == "communication" and (tls is None or tls.ca_file is None):
            yield "peers show no certificates: whoever reaches the communication port can ask as any party"
    if config.callers is None and ("service" in ports or "grpc" in ports):
        yield "callers are not asked who they are: whoever reaches their port can ask for any row (config `callers`)"
    if config.admin is not None and config.admin.http is not None and config.admin.http.tls is None:
        yield "the admin port has no TLS: what administrators send can be read and changed on the way"
    plain = [party for party in config.parties if party != config.party and config.tls_with(party) is None]
    if plain:
        yield f"calls to {', '.join(plain)} are without TLS: whoever answers there is believed"
