"""Addresses of parties, as configs write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sfs_core.errors import ConfigError

__all__ = ["Address", "parse_address", "read_address", "read_replicas"]

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a party listens.

    Args:
        host: name, IPv4 or IPv6 address (without brackets).
        port: 1 to 65535.
        authority: host and port as they were written, for HTTP's Host header.
        scheme: `http`, `https`, or empty where none was written.
    """

    host: str
    port: int
    authority: str
    scheme: str = ""


def parse_address(party: str, text: str) -> Address:
    """The address of a party, as `read_address` reads it.

    Raises:
        ConfigError: it is no address.
    """
    try:
        return read_address(text)
    except ValueError as error:
        raise ConfigError(f"address of party {party!r}: {error}") from None


def read_replicas(text: str) -> tuple[str, str]:
    """How a party's replicas are found, `dns` or `file`, and the name's address or the file; `""` and an address for
    what is one address itself.

    Raises:
        ValueError: there is no address where one must be.
    """
    how, _, what = text.strip().partition(":")
    if how == "file" and what:
        return how, what
    how, what = ("dns", what) if how == "dns" else ("", text)
    read_address(what)
    return how, what


def read_address(text: str) -> Address:
    """The address in `host:port`, `[::1]:port`, `http://host[:port]` or `https://host[:port]`.

    The port may be left out after a scheme, and is that scheme's then.

    Raises:
        ValueError: it is none of these; the message says what is expected, and not what was given.
    """
    scheme, _, rest = text.strip().rpartition("://")
    scheme = scheme.lower()
    try:
        parts = urlsplit("//" + rest)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if (
        not host
        or port == 0
        or (port is None and (not scheme or parts.netloc.endswith(":")))
        or scheme not in ("", *_PORTS)
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or parts.username is not None
        or not rest.isprintable()
        or " " in rest
    ):
        raise ValueError("a host and a port are expected and nothing else, as in 10.0.0.2:9110")
    return Address(host, port or _PORTS[scheme], parts.netloc, scheme)
