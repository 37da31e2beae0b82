"""Addresses of servers, as callers write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sfs_core.errors import ConfigError

__all__ = ["Target", "parse_target"]

_PLAIN: Final = {
    "http": "http:proto",
    "http+json": "http",
    "grpc": "h2:grpc",
    "baidu_std": "baidu_std",
}
_TLS: Final = ("https", "https+json", "grpcs", "baidu_stds")


@dataclass(frozen=True, slots=True)
class Target:
    """A server's port and how it is spoken to.

    Args:
        address: `host:port`.
        protocol: as `sfs_core.link.channel` names it.
    """

    address: str
    protocol: str

    @property
    def host(self) -> str:
        """The host alone, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port alone."""
        return int(self.address.rpartition(":")[2])


def parse_target(url: str) -> Target:
    """The target of `SCHEME://HOST:PORT`.

    Schemes: `http` (protobuf bodies), `http+json`, `grpc`, `baidu_std`.

    Raises:
        ConfigError: it is no such address, or asks for TLS.
    """
    scheme, mark, rest = url.strip().partition("://")
    protocol = _PLAIN.get(scheme.lower())
    if scheme.lower() in _TLS:
        raise ConfigError(f"{scheme.lower()} is not spoken by this version's client", hint="ask through a TLS proxy")
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not mark or protocol is None:
        raise ConfigError(f"{url!r} is no address of a server", hint=f"begin with one of {', '.join(_PLAIN)}://")
    if not (colon and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"{url!r} is no address of a server", hint=f"{scheme}://HOST:PORT is expected")
    if any(c in host for c in "/?#@ ") or (":" in host and not host.startswith("[")):
        raise ConfigError(f"{url!r} is no address of a server", hint="a host and a port are expected and nothing else")
    return Target(f"{host}:{port}", protocol)
