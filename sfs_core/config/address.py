"""Addresses of parties, as configs write them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sfs_core.errors import ConfigError

__all__ = ["Address", "parse_address", "read_address"]


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
    """The address of a party, as `read_address` reads it.

    Raises:
        ConfigError: it is no address.
    """
    try:
        return read_address(text)
    except ValueError as error:
        raise ConfigError(f"address of party {party!r}: {error}") from None


def read_address(text: str) -> Address:
    """The address in `host:port`, `[::1]:port` or `http://host[:port]`; the port is 80 where it may be left out.

    Raises:
        ValueError: it is none of these, or wants TLS; the message says what is expected, and not what was given.
    """
    scheme, mark, rest = text.strip().rpartition("://")
    if scheme.lower() == "https":
        raise ValueError("https is not served by this version; write http:// or no prefix, inside a protected network")
    try:
        parts = urlsplit("//" + rest)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if (
        not host
        or port == 0
        or (port is None and (not mark or parts.netloc.endswith(":")))
        or scheme.lower() not in ("", "http")
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or parts.username is not None
        or not rest.isprintable()
        or " " in rest
    ):
        raise ValueError("a host and a port are expected and nothing else, as in 10.0.0.2:9110")
    return Address(host, port or 80, parts.netloc)
