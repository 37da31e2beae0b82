"""The Redis feature source."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sfs_core import (
    Batch,
    ErrorCode,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
    Schema,
    SfsError,
)
from sfs_core.spi import ClientTls

from .clients import connections_of
from .connections import Connections
from .feast import FeastLayout, feast_key
from .layouts import Layout, OtherRowError, layout_of
from .options import ID, RedisConfig, without_account
from .values import require_known_types

__all__ = ["RedisConfig", "RedisFeatureSource"]

_CLOSING_SECONDS: Final = 5.0
_SHOWN: Final = 5
_DENIED: Final = re.compile("NOAUTH|WRONGPASS|NOPERM|invalid username-password", re.IGNORECASE)
_NO_CLUSTER: Final = "cluster support disabled"
T = TypeVar("T")


class RedisFeatureSource(FeatureSource):
    """Rows kept in Redis, fetched with one round trip per batch."""

    Config = RedisConfig

    config: RedisConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self.keeps_nulls = self.config.nulls == "keep"
        self._layout = _layout(self.config, self.schema, keep_nulls=self.keeps_nulls or context.report_missing)
        self._key_of = _key_maker(self.config)
        self._connections: Connections | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def validate(self) -> None:
        """See that the URL and the certificates can be used.

        Raises:
            SfsError: they cannot, or features have types that this source does not read.
        """
        require_known_types(self.schema)
        self._made_connections()

    def open(self) -> None:
        """See that the server is there and takes the account.

        Raises:
            SfsError: it cannot be reached, or refuses.
        """
        self.check()
        self._connections = self._made_connections()

    def close(self) -> None:
        """Close all connections, on the event loop that they belong to."""
        connections, self._connections = self._connections, None
        loop, self._loop = self._loop, None
        if connections is None or loop is None or loop.is_closed():
            return
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(connections.close(), loop).result(_CLOSING_SECONDS)
        else:
            loop.run_until_complete(connections.close())

    def check(self) -> None:
        """Ask the server, over a new connection, for nothing but an answer.

        Raises:
            SfsError: it cannot be reached, or refuses.
        """
        # A thread of its own: the calling one may have a running event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._limited(self._look)).result()

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids.

        Raises:
            FeatureError: ids without a row and missing fields, where these are not to be reported; values that do not
                fit (code 3).
            SfsError: the server cannot be reached (4), refuses the account (100), is too slow (102) or fails (104).
        """
        connections = self._connections
        if connections is None:
            raise SfsError("the Redis feature source is not open", code=ErrorCode.NOT_READY)
        self._loop = asyncio.get_running_loop()
        known = list(dict.fromkeys(query.ids))
        keys = list(map(self._key_of, known))
        commands = self._layout.commands(keys) if keys else []
        answers = await self._limited(lambda: connections.ask(commands)) if commands else []
        found = dict(zip(known, answers, strict=False))
        ids, rows = query.ids, [found[id_] for id_ in query.ids]
        missing = self._missing(rows)
        if any(missing):
            ids, rows = ([each for each, gone in zip(all_, missing, strict=True) if not gone] for all_ in (ids, rows))
        if not rows:
            return FeatureResult(Batch.from_rows(self.schema, []), missing=missing)
        try:
            return FeatureResult(self._layout.batch(rows, ids, answers[len(keys) :]), missing=missing)
        except OtherRowError:
            await self._limited(connections.drop)  # it may be the answer to another command
            raise

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
    def _made_connections(self) -> Connections:
        is_tls = self.config.url.get_secret_value().startswith("rediss://")
        return connections_of(self.config, ClientTls("Redis", self.config, self.context) if is_tls else None)

    async def _look(self) -> None:
        connections = self._made_connections()
        try:
            await connections.look()
        finally:
            await connections.close()

    async def _limited(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.config.connect_timeout + self.config.timeout):
                return await work()
        except (RedisError, OSError) as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> SfsError:
        place = ", ".join(self.config.sentinels) or without_account(self.config.url.get_secret_value())
        return _translated(error, place, self._way_there)

    @property
    def _way_there(self) -> str:
        """What to look at where the server cannot be reached."""
        if self.config.sentinels:
            return "see whether the sentinels run, and know a server by the name in `sentinel_master`"
        if self.config.url.get_secret_value().startswith("rediss://"):
            return "see whether it runs at the address in `url`, speaks TLS there, and whether `ca_file` vouches for it"
        return "see whether it runs at the address in `url`"


def _layout(config: RedisConfig, schema: Schema, *, keep_nulls: bool) -> Layout:
    fields = [config.fields.get(name, name) for name in schema.names]
    if config.feast is not None:
        return FeastLayout(schema, fields, config.feast, keep_nulls=keep_nulls)
    return layout_of(config, schema, fields, keep_nulls=keep_nulls)


def _key_maker(config: RedisConfig) -> Callable[[str], bytes]:
    if config.feast is not None:
        return feast_key(config.feast)
    prefix, suffix = config.key.split(ID)
    return lambda id_: (prefix + id_ + suffix).encode("utf-8", "surrogatepass")


def _translated(error: Exception, place: str, way_there: str) -> SfsError:
    """What went wrong, without what the server says of it, as that may quote keys; the place is for the own log."""
    code, what, hint = ErrorCode.FS_INTERNAL_ERROR, "Redis does not do what it is asked", "look at the server's log"
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError) or _DENIED.match(str(error)):
        code, what = ErrorCode.FS_UNAUTHENTICATED, "Redis refuses the account"
        hint = "look at user and password in `url`, and at what the account may do"
    elif _NO_CLUSTER in str(error):
        code, what = ErrorCode.INVALID_ARGUMENT, "the server is no node of a Redis Cluster"
        hint = "leave `cluster` away"
    elif isinstance(error, InvalidResponse):
        what, hint = (
            "what Redis answers cannot be right",
            "see whether something between here and Redis damages answers",
        )
    elif isinstance(error, RedisTimeoutError | TimeoutError):
        code, what = ErrorCode.FS_DEADLINE_EXCEEDED, "Redis did not answer in time"
        hint = "a longer `timeout` or a larger `pool_size` may help"
    elif isinstance(error, RedisConnectionError | OSError):
        code, what, hint = ErrorCode.NETWORK_ERROR, "Redis cannot be reached", way_there
    return SfsError(f"{what} ({type(error).__name__})", code=code, hint=hint, detail=place)
