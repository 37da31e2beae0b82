"""From the options to connections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from redis.asyncio import ConnectionPool, Sentinel
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import NoBackoff

from sfs_core import ConfigError
from sfs_core.spi import ClientTls

from .connections import Cluster, Connections, Place, Server
from .options import RedisConfig

__all__ = ["connections_of"]

_PORT = 6379


def connections_of(config: RedisConfig, tls: ClientTls | None) -> Connections:
    """Connections that are made when they are used, on the event loop where that happens.

    Args:
        config: says to whom.
        tls: for a URL rediss://….

    Raises:
        ConfigError: `url` cannot be used.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": config.connect_timeout,
        "socket_timeout": config.timeout,
        "max_connections": config.pool_size,
        "retry": Retry(NoBackoff(), 0),  # `Server` does it
    }
    try:
        options |= parse_url(config.url.get_secret_value())
    except ValueError:
        raise ConfigError(
            "`url` cannot be used", hint="redis://user:password@host:port/database, special characters quoted with %"
        ) from None
    if config.user:
        options["username"] = config.user
    if config.password is not None:
        options["password"] = config.password.get_secret_value()
    if config.sentinels:
        return Server(_found_by_sentinels(config, options, tls), config.pool_size)
    if tls is not None:
        options["connection_class"] = _over(tls, SSLConnection)
    if not config.cluster:
        return Server(ConnectionPool(**options), config.pool_size)

    def server_at(place: Place) -> Server:
        host, port = place
        return Server(ConnectionPool(**options | {"host": host, "port": port}), config.pool_size)

    return Cluster((options.get("host", "localhost"), options.get("port", _PORT)), server_at)


def _found_by_sentinels(config: RedisConfig, options: dict[str, Any], tls: ClientTls | None) -> ConnectionPool:
    sentinels = [(host, int(port)) for host, _, port in (each.rpartition(":") for each in config.sentinels)]
    limits = {name: options[name] for name in ("socket_connect_timeout", "socket_timeout", "retry")}
    manager: Any = Sentinel(sentinels, sentinel_kwargs=limits)  # type: ignore[no-untyped-call]
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    kind = SentinelManagedConnection if tls is None else _over(tls, SentinelManagedSSLConnection)
    make: Any = SentinelConnectionPool
    pool: ConnectionPool = make(config.sentinel_master, manager, connection_class=kind, **options)
    return pool


def _over(tls: ClientTls, kind: type[SSLConnection]) -> type[SSLConnection]:
    """Connections of a kind that use the TLS context of the moment, where redis-py's would keep their first one."""

    class Connection(kind):  # type: ignore[valid-type,misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.ssl_context = SimpleNamespace(get=tls.current)

    return Connection
