"""The Redis feature source."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sfs_core import (
    Batch,
    ConfigError,
    ErrorCode,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
    SfsError,
)

from .layouts import layout_of
from .options import ID, RedisConfig, without_account
from .values import require_known_types

__all__ = ["RedisConfig", "RedisFeatureSource"]

Client = Any  # Redis | RedisCluster: their common commands have no common type
_CLOSING_SECONDS: Final = 5.0
_SHOWN: Final = 5
_DENIED: Final = re.compile("NOAUTH|WRONGPASS|NOPERM|invalid username-password", re.IGNORECASE)
T = TypeVar("T")


class RedisFeatureSource(FeatureSource):
    """Rows kept in Redis, fetched with one round trip per batch."""

    Config = RedisConfig

    config: RedisConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self.keeps_nulls = self.config.nulls == "keep"
        self._layout = layout_of(self.config, self.schema, keep_nulls=self.keeps_nulls or context.report_missing)
        self._prefix, self._suffix = self.config.key.split(ID)
        self._client: Client = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """See that the server is there and takes the account.

        Raises:
            SfsError: it cannot be reached, or refuses.
        """
        require_known_types(self.schema)
        self.check()
        self._client = self._make_client()

    def close(self) -> None:
        """Close all connections, on the event loop that they belong to."""
        client, self._client = self._client, None
        loop, self._loop = self._loop, None
        if client is None or loop is None or loop.is_closed():
            return
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(_disconnect(client), loop).result(_CLOSING_SECONDS)
        else:
            loop.run_until_complete(_disconnect(client))

    def check(self) -> None:
        """Ask the server, over a new connection, for nothing but an answer.

        Raises:
            SfsError: it cannot be reached, or refuses.
        """
        # A thread of its own: the calling one may have a running event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._limited(self._ping)).result()

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids.

        Raises:
            FeatureError: ids without a row and missing fields, where these are not to be reported; values that do not
                fit (code 3).
            SfsError: the server cannot be reached (4), refuses the account (100), is too slow (102) or fails (104).
        """
        client = self._client
        if client is None:
            raise SfsError("the Redis feature source is not open", code=ErrorCode.NOT_READY)
        self._loop = asyncio.get_running_loop()
        known = list(dict.fromkeys(query.ids))
        keys = [(self._prefix + id_ + self._suffix).encode("utf-8", "surrogatepass") for id_ in known]
        commands = self._layout.commands(keys) if keys else []
        answers = await self._limited(lambda: self._ask(client, commands)) if commands else []
        found = dict(zip(known, answers, strict=False))
        rows = [found[id_] for id_ in query.ids]
        missing = self._missing(rows)
        if any(missing):
            rows = [answer for answer, is_missing in zip(rows, missing, strict=True) if not is_missing]
        batch = self._layout.batch(rows, answers[len(keys) :]) if rows else Batch.from_rows(self.schema, [])
        return FeatureResult(batch, missing=missing)

    def _missing(self, rows: Sequence[Any]) -> list[bool]:
        for row, answer in enumerate(rows):
            if isinstance(answer, Exception):
                if str(answer).startswith("WRONGTYPE"):
                    raise FeatureError(
                        f"row {row}: the key holds something else than layout {self.config.layout!r} says"
                    )
                raise self._translated(answer)
        if not self._layout.answer_types.issuperset(map(type, rows)):
            raise self._translated(InvalidResponse("an answer to another command"))
        missing = list(map(self._layout.is_missing, rows))
        if any(missing) and not self.context.report_missing:
            places = [row for row, is_missing in enumerate(missing) if is_missing]
            shown = ", ".join(map(str, places[:_SHOWN])) + (", …" if len(places) > _SHOWN else "")
            raise FeatureError(f"{len(places)} of {len(rows)} ids have no row in Redis (request rows {shown})")
        return missing

    # ---------------------------------------------------------------- the server
    async def _ask(self, client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """All answers, errors among them; asked once more if the connection turns out to be lost."""
        try:
            return await _pipelined(client, commands)
        except (AuthenticationError, AuthorizationError):
            raise
        except InvalidResponse:
            await _drop_connections(client)
            raise
        except (RedisConnectionError, OSError):
            return await _pipelined(client, commands)

    async def _ping(self) -> None:
        client = self._make_client()
        try:
            await client.ping()
        finally:
            await _disconnect(client)

    async def _limited(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.config.connect_timeout + self.config.timeout):
                return await work()
        except (RedisError, RedisClusterException, OSError) as error:
            raise self._translated(error) from None

    def _make_client(self) -> Client:
        """A client that connects when it is used, on the event loop where that happens."""
        config, url = self.config, self.config.url.get_secret_value()
        options: dict[str, Any] = {
            "socket_connect_timeout": config.connect_timeout,
            "socket_timeout": config.timeout,
            "max_connections": config.pool_size,
            **self._tls_options(),
        }
        try:
            if config.cluster:
                return RedisCluster.from_url(url, **options)
            options["retry"] = Retry(NoBackoff(), 0)  # `_ask` does it
            if not config.sentinels:
                pool = BlockingConnectionPool.from_url(url, timeout=config.connect_timeout, **options)
                return Redis.from_pool(pool)
            account = {key: value for key, value in parse_url(url).items() if key in {"username", "password", "db"}}
            sentinels = [(host, int(port)) for host, _, port in (each.rpartition(":") for each in config.sentinels)]
            limits = {name: options[name] for name in ("socket_connect_timeout", "socket_timeout", "retry")}
            manager: Any = Sentinel(sentinels, sentinel_kwargs=limits)  # type: ignore[no-untyped-call]
            tls = url.startswith("rediss://")
            return manager.master_for(config.sentinel_master, ssl=tls, **account, **options)
        except (ValueError, RedisClusterException):
            raise ConfigError(
                "`url` cannot be used",
                hint="redis://user:password@host:port/database, special characters quoted with %",
            ) from None

    def _translated(self, error: Exception) -> SfsError:
        return _translated(
            error, ", ".join(self.config.sentinels) or without_account(self.config.url.get_secret_value())
        )

    def _tls_options(self) -> dict[str, str]:
        files = {
            "ssl_ca_certs": self.config.ca_file,
            "ssl_certfile": self.config.certificate_file,
            "ssl_keyfile": self.config.key_file,
        }
        return {option: str(self.context.resolve(file)) for option, file in files.items() if file is not None}


async def _disconnect(client: Client) -> None:
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _as_it_is(answer: Any, **_: object) -> Any:
    return answer


async def _drop_connections(client: Client) -> None:
    """Close the connections that are not in use: nobody knows to which command the next answer on one belongs."""
    if isinstance(client, RedisCluster):
        await client.aclose()  # it begins anew when it is used
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


async def _pipelined(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The commands' answers.

    Answers do not say what they answer. A last command, whose answer nothing else equals, shows that the connection
    was not out of step: all rows would be other ids'. A cluster's client has no single last command.

    Raises:
        InvalidResponse: there are more or fewer answers than commands.
    """
    last = [] if isinstance(client, RedisCluster) else [secrets.token_bytes(8)]
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        for mark in last:
            pipeline.execute_command("PING", mark)
            pipeline.set_response_callback("PING", _as_it_is)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
    if answers[len(commands) :] != last:
        raise InvalidResponse("answers out of step")
    return answers[: len(commands)]


def _translated(error: Exception, place: str) -> SfsError:
    """What went wrong, without what the server says of it, as that may quote keys; the place is for the own log."""
    code, what, hint = ErrorCode.FS_INTERNAL_ERROR, "Redis does not do what it is asked", "look at the server's log"
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError) or _DENIED.match(str(error)):
        code, what = ErrorCode.FS_UNAUTHENTICATED, "Redis refuses the account"
        hint = "look at user and password in `url`, and at what the account may do"
    elif isinstance(error, InvalidResponse):
        what, hint = (
            "what Redis answers cannot be right",
            "see whether something between here and Redis damages answers",
        )
    elif isinstance(error, RedisTimeoutError | TimeoutError):
        code, what = ErrorCode.FS_DEADLINE_EXCEEDED, "Redis did not answer in time"
        hint = "a longer `timeout` or a larger `pool_size` may help"
    elif isinstance(error, RedisConnectionError | OSError | RedisClusterException):
        code, what, hint = (
            ErrorCode.NETWORK_ERROR,
            "Redis cannot be reached",
            "see whether it runs at the address in `url`",
        )
    return SfsError(f"{what} ({type(error).__name__})", code=code, hint=hint, detail=place)
