"""Choosing the transport to a peer by its configured protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sfs_core.config.address import parse_address, read_replicas
from sfs_core.errors import ConfigError
from sfs_core.link.baidu_std_channel import BaiduStdChannel
from sfs_core.link.balancing import BalancedChannel
from sfs_core.link.http_channel import HttpChannel
from sfs_core.link.outgoing import Channel
from sfs_core.link.replicas import DnsReplicas, FileReplicas, ListedReplicas, Replicas
from sfs_core.link.retry import RetryPolicy
from sfs_core.link.rpc import Encoding
from sfs_core.link.tls import ChannelTls

__all__ = ["PROTOCOLS", "Channel", "open_channel", "open_replicas"]

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


def open_replicas(
    party: str,
    address: str | Sequence[str],
    protocol: str = "",
    *,
    base_directory: Path,
    connect_timeout: float = 0.5,
    retry: RetryPolicy | None = None,
    tls: Callable[[str], ChannelTls] | None = None,
    connections: int = 1,
) -> Channel:
    """A channel to a party that may have several replicas.

    Args:
        party: as of `open_channel`.
        address: a single one, a list, `dns:` and an address, or `file:` and a file's name.
        protocol: as of `open_channel`.
        base_directory: what a file's name is relative to.
        connect_timeout: as of `open_channel`.
        retry: what to try again once every replica was tried.
        tls: how a replica is spoken to over TLS, by its host; None for plain connections.
        connections: channels to each address.

    Raises:
        ConfigError: as of `open_channel`.
    """
    retry = retry or RetryPolicy()
    how, what = read_replicas(address) if isinstance(address, str) else ("", "")

    def open_one(each: str, policy: RetryPolicy, host: str = "") -> Channel:
        channel_tls = tls(host or parse_address(party, each).host) if tls else None
        return open_channel(party, each, protocol, connect_timeout=connect_timeout, retry=policy, tls=channel_tls)

    replicas: Replicas
    host = ""
    if how == "dns":
        replicas, host = DnsReplicas(party, what), parse_address(party, what).host
    elif how == "file":
        replicas = FileReplicas(party, base_directory / what)
    else:
        listed = [address] if isinstance(address, str) else address
        channels = [open_one(each, retry) for each in listed]  # which says what is wrong with an address
        if len(channels) == connections == 1:
            return channels[0]
        replicas = ListedReplicas(listed)
    once = replace(retry, retries=0)
    return BalancedChannel(party, replicas, lambda each: open_one(each, once, host), retry, connections)
