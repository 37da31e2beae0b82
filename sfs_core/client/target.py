"""Addresses of servers, as callers write them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from sfs_core.errors import ConfigError

__all__ = ["Target", "parse_target"]

_PROTOCOLS: Final = {
    "http": "http:proto",
    "http+json": "http",
    "grpc": "h2:grpc",
    "baidu_std": "baidu_std",
    "https": "http:proto",
    "https+json": "http",
    "grpcs": "h2:grpc",
    "baidu_stds": "baidu_std",
}
_OVER_TLS: Final = ("https", "https+json", "grpcs", "baidu_stds")


@dataclass(frozen=True, slots=True)
class Target:
    """A server's port and how it is spoken to.

    Args:
        address: `host:port`.
        protocol: as `sfs_core.link.channel` names it.
        tls: whether it is spoken to over TLS.
    """

    address: str
    protocol: str
    tls: bool = False

    @property
    def host(self) -> str:
        """The host alone, without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port alone."""
        return int(self.address.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether what is sent stays on this machine, by the address itself: no name but localhost is looked up."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def parse_target(url: str) -> Target:
    """The target of `SCHEME://HOST:PORT`.

    Schemes: `http` (protobuf bodies), `http+json`, `grpc`, `baidu_std`; over TLS `https`, `https+json`, `grpcs`,
    `baidu_stds`.

    Raises:
        ConfigError: it is no such address.
    """
    shown = repr(("…@" if "@" in url else "") + url.rpartition("@")[2])  # what stands before may be a password
    scheme, mark, rest = url.strip().partition("://")
    scheme = scheme.lower()
    protocol = _PROTOCOLS.get(scheme)
    host, colon, port = rest.rstrip("/").rpartition(":")
    if not mark or protocol is None:
        known = ", ".join(f"{each}://" for each in _PROTOCOLS)
        raise ConfigError(f"{shown} is no address of a server", hint=f"begin with one of {known}")
    if not (colon and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"{shown} is no address of a server", hint=f"{scheme}://HOST:PORT is expected")
    if any(c in host for c in "/?#@ ") or (":" in host and not host.startswith("[")):
        raise ConfigError(f"{shown} is no address of a server", hint="a host and a port are expected and nothing else")
    return Target(f"{host}:{port}", protocol, scheme in _OVER_TLS)
