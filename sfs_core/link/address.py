"""Addresses of parties, as configs write them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sfs_core.errors import ConfigError

__all__ = ["Address", "parse_address"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a party listens.

    Args:
        host: name, IPv4 or IPv6 address (without brackets).
        port: 1 to 65535.
        authority: host and port as they were written, for HTTP's Host header.
    """

    host: str
    port: int
    authority: str


def parse_address(party: str, text: str) -> Address:
    """The address in `host:port`, `[::1]:port` or `http://host[:port]`; the port is 80 where it may be left out.

    Raises:
        ConfigError: it is none of these, or wants TLS.
    """
    scheme, mark, rest = text.strip().rpartition("://")
    if scheme.lower() == "https":
        raise ConfigError(
            f"address of party {party!r}: https is not served yet by this version",
            hint="use http:// or no prefix, inside a network that is protected otherwise",
        )
    if scheme.lower() not in ("", "http"):
        raise _unreadable(party, f"the prefix {scheme!r} is unknown")
    try:
        parts = urlsplit("//" + rest)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _unreadable(party, str(error)) from None
    if not host or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise _unreadable(party, "a host and a port are expected, nothing else")
    if port is None and not mark:
        raise _unreadable(party, "the port is missing")
    return Address(host, port or 80, parts.netloc)


def _unreadable(party: str, why: str) -> ConfigError:
    return ConfigError(
        f"address of party {party!r} cannot be read: {why}",
        hint="write it as host:port, for example 10.0.0.2:9110",
    )
