"""Choosing the transport to a peer by its configured protocol."""

from __future__ import annotations

from typing import Final

from sfs_core.config.address import parse_address
from sfs_core.errors import ConfigError
from sfs_core.link.baidu_std_channel import BaiduStdChannel
from sfs_core.link.http_channel import HttpChannel
from sfs_core.link.outgoing import Channel
from sfs_core.link.retry import RetryPolicy
from sfs_core.link.rpc import Encoding
from sfs_core.link.tls import ChannelTls

__all__ = ["PROTOCOLS", "Channel", "open_channel"]

PROTOCOLS: Final = ("baidu_std", "http", "http:proto", "h2:grpc")


def open_channel(
    party: str,
    address: str,
    protocol: str = "",
    *,
    connect_timeout: float = 0.5,
    retry: RetryPolicy | None = None,
    tls: ChannelTls | None = None,
) -> Channel:
    """A channel to a party; it connects when it is first used.

    Args:
        party: the peer's id, named in errors.
        address: `host:port`, with or without `http://`, or with `https://`, which needs `tls`.
        protocol: one of `PROTOCOLS`; empty for `baidu_std`.
        connect_timeout: seconds.
        retry: what to try again; by default up to three times what cannot have run.
        tls: how the party is spoken to over TLS; None for plain connections.

    Raises:
        ConfigError: the address cannot be read, or the protocol is unknown.
    """
    place = parse_address(party, address)
    if place.scheme == "https" and tls is None:
        raise ConfigError(f"the address of party {party!r} begins with https://, but nothing is said of TLS")
    retry = retry or RetryPolicy()
    if protocol in ("", "baidu_std"):
        return BaiduStdChannel(party, place, connect_timeout, retry, tls)
    if protocol == "http":
        return HttpChannel(party, place, Encoding.JSON, connect_timeout, retry, tls)
    if protocol == "http:proto":
        return HttpChannel(party, place, Encoding.PROTO, connect_timeout, retry, tls)
    if protocol == "h2:grpc":
        from sfs_core.link.grpc_channel import GrpcChannel  # noqa: PLC0415  slow to import

        return GrpcChannel(party, place, connect_timeout, retry, tls)
    raise ConfigError(f"protocol {protocol!r} of party {party!r} is unknown", hint=f"use {', '.join(PROTOCOLS)}")
