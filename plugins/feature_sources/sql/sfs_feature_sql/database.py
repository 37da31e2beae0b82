"""Connections to the database: pooled, read-only, with time limits, renewed once when lost.

Work is written once, against SQLAlchemy's blocking `Connection`. With an asynchronous driver it runs on the event
loop (SQLAlchemy switches greenlets where it waits), with a blocking one in core's pool of threads.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, QueuePool

from sfs_core import ConfigError, ErrorCode, FeatureContext, SfsError

from .options import SqlConfig
from .threads import Threads

__all__ = ["Database"]

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

_CLOSING_SECONDS: Final = 5.0
_SQLITE_STEPS: Final = 10_000  # of its virtual machine between two looks at the clock: some 0.1 ms
_TIMED_OUT: Final = frozenset({"57014", "3024", "1969", "SQLITE_INTERRUPT", "SQLITE_BUSY"})
_DENIED: Final = frozenset({"28000", "28P01", "1044", "1045"})
_DENIED_TEXT: Final = re.compile(r"password authentication failed|no password supplied|access denied", re.IGNORECASE)
_LOST: Final = re.compile(r"08|57P|20\d\d$")  # connection exceptions, a server going or coming; MySQL's clients'


class Database:
    """One database; `open` before `run`.

    Args:
        config: its address, account and limits.
        context: where relative paths start, and the pool that blocking drivers run in.

    Raises:
        ConfigError: the URL cannot be used, or its driver is not installed.
    """

    def __init__(self, config: SqlConfig, context: FeatureContext) -> None:
        self._config = config
        self._threads = Threads(context.executor)
        self._url = _url(config, context)
        self._secrets = [secret for secret in (self._url.password, *_secret_options(self._url)) if secret]
        self.place = _place(self._url)
        self._seconds = config.connect_timeout + config.statement_timeout
        self._engine: sa.Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_async = False

    def validate(self) -> None:
        """See that connections could be made.

        Raises:
            ConfigError: the driver is not installed, or cannot be used.
        """
        self._make_engine(poolclass=NullPool)

    def open(self) -> None:
        """Make the pool; it connects when the first work comes."""
        dialect = self._dialect()
        self._is_async = bool(dialect.is_async)
        pool = AsyncAdaptedQueuePool if self._is_async else QueuePool
        limits = {"pool_size": self._config.pool_size, "max_overflow": 0, "pool_timeout": self._config.connect_timeout}
        self._engine = self._make_engine(poolclass=pool, pool_use_lifo=True, **limits)

    def close(self) -> None:
        """Close the pool's connections, those of an asynchronous driver on their own event loop."""
        engine, self._engine = self._engine, None
        loop, self._loop = self._loop, None
        if engine is None:
            return
        self._threads.close()
        if not self._is_async or loop is None or loop.is_closed():
            engine.dispose(close=not self._is_async)
        elif not loop.is_running():
            loop.run_until_complete(AsyncEngine(engine).dispose())
        else:
            asyncio.run_coroutine_threadsafe(AsyncEngine(engine).dispose(), loop).result(_CLOSING_SECONDS)

    def inspect(self, work: Work[T]) -> T:
        """Do `work` with a connection of its own; blocks, and needs no pool.

        Raises:
            SfsError: the database cannot be reached or refuses. The text has what the database says.
        """
        engine = self._make_engine(poolclass=NullPool)
        work = self._timed(engine, work)
        try:
            if not engine.dialect.is_async:
                with engine.connect() as connection:
                    return work(connection)
            # A thread of its own: the calling one may have a running event loop.
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(asyncio.run, self._do_async(engine, work)).result()
        except SfsError:
            raise
        except Exception as error:  # noqa: BLE001 - drivers also raise errors that SQLAlchemy knows nothing of
            raise self._translated(error, said=True) from None

    async def run(self, work: Work[T]) -> T:
        """Do `work` with a pooled connection; once more with a new one if the first turns out to be lost.

        Raises:
            SfsError: the database cannot be reached (code 4), refuses the account (100), is too slow (102) or
                fails (104). The text has none of what the database says, as that may quote values.
        """
        engine = self._engine
        if engine is None:
            raise SfsError("the database is not open", code=ErrorCode.NOT_READY)
        try:
            async with asyncio.timeout(self._seconds):
                try:
                    return await self._once(engine, work)
                except DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
                    return await self._once(engine, work)
        except SfsError:
            raise
        except Exception as error:  # noqa: BLE001 - drivers also raise errors that SQLAlchemy knows nothing of
            raise self._translated(error, said=False) from None

    async def _once(self, engine: sa.Engine, work: Work[T]) -> T:
        self._loop = asyncio.get_running_loop()
        work = self._timed(engine, work)
        if self._is_async:
            return await self._do_async(engine, work)
        return await self._threads.run(engine, work, self._seconds)

    @staticmethod
    async def _do_async(engine: sa.Engine, work: Work[T]) -> T:
        async with AsyncEngine(engine).connect() as connection:
            return await connection.run_sync(work)

    # ------------------------------------------------------------------ engines
    def _dialect(self) -> type[sa.Dialect]:
        try:
            return self._url.get_dialect()
        except (NoSuchModuleError, ModuleNotFoundError):
            raise ConfigError(
                f"there is no SQLAlchemy dialect for {self._url.drivername!r}",
                hint="for example sqlite, postgresql+psycopg, postgresql+asyncpg, mysql+pymysql, mysql+aiomysql",
            ) from None

    def _make_engine(self, **pool: Any) -> sa.Engine:
        driver = self._dialect().driver
        try:
            engine = sa.create_engine(
                self._url,
                isolation_level="AUTOCOMMIT",  # a transaction per statement, without the round trips for it
                pool_reset_on_return=None,
                hide_parameters=True,
                connect_args=_connect_options(driver, self._config),
                **pool,
            )
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the driver of {self._url.drivername!r} is not installed (no module {error.name!r})",
                hint=f"pip install {'psycopg[binary]' if driver == 'psycopg' else driver}",
            ) from None
        except (ArgumentError, NotImplementedError):
            raise ConfigError(
                f"`url` cannot be used with {self._url.drivername!r}: isolation level AUTOCOMMIT"
            ) from None
        sa.event.listen(engine, "connect", self._prepare_session(engine))
        sa.event.listen(engine, "invalidate", _end_at_once)
        return engine

    def _prepare_session(self, engine: sa.Engine) -> Callable[[Any, Any], None]:
        seconds = self._config.statement_timeout

        def prepare(connection: Any, record: Any) -> None:
            dialect = engine.dialect
            if dialect.name == "sqlite":
                _limit_sqlite(connection, record.info)
                return
            name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
            cursor = connection.cursor()
            for statement in _SESSION.get(name, ()):
                cursor.execute(statement.format(seconds=seconds, milliseconds=max(1, round(seconds * 1000))))
            cursor.close()
            connection.commit()

        return prepare

    def _timed(self, engine: sa.Engine, work: Work[T]) -> Work[T]:
        """The work within the time limit; only SQLite has no limit of its own."""
        return partial(_started, work, self._config.statement_timeout) if engine.dialect.name == "sqlite" else work

    # ------------------------------------------------------------------- errors
    def _translated(self, error: Exception, *, said: bool) -> SfsError:
        cause = (error.orig if isinstance(error, DBAPIError) else None) or error
        state, text = _state(cause), str(cause)
        lost = isinstance(cause, OSError) or bool(_LOST.match(state))
        lost = lost or (isinstance(error, DBAPIError) and error.connection_invalidated)
        code, what, advice = (
            ErrorCode.INVALID_ARGUMENT if said else ErrorCode.FS_INTERNAL_ERROR,
            "the database does not do what it is asked",
            "look at the options" if said else "`sfs check --connect` shows what the database says",
        )
        if state in _TIMED_OUT or isinstance(error, TimeoutError | PoolTimeoutError):
            code, what = ErrorCode.FS_DEADLINE_EXCEEDED, "the database did not answer in time"
            advice = "an index on the key, a longer `statement_timeout`, or a larger `pool_size` may help"
        elif state in _DENIED or _DENIED_TEXT.search(text):
            code, what = ErrorCode.FS_UNAUTHENTICATED, "the database refuses the account"
            advice = "look at user and password in `url`"
        elif lost or (not state and type(cause).__name__ == "OperationalError"):
            code, what = ErrorCode.NETWORK_ERROR, "the database cannot be reached"
            advice = "see whether it runs at the address in `url`"
        kind = f"{type(cause).__name__} {state}".strip()
        hint = f"{advice}; {self.place} says: {self._without_secrets(text)}" if said else advice
        return SfsError(f"{what} ({kind})", code=code, hint=hint, detail=self.place)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return re.sub(r"^<class '[\w.]+'>: ", "", " ".join(text.split()))


def _end_at_once(connection: Any, *_: object) -> None:
    """Have a driver say no goodbye, for seconds, to a server that answers no more."""
    terminate = getattr(getattr(connection, "driver_connection", None), "terminate", None)
    if terminate is not None:
        terminate()


# What each new connection is told. Elsewhere the account must be one that may only read.
_SESSION: Final = {
    "postgresql": ("SET default_transaction_read_only = on", "SET statement_timeout = {milliseconds}"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_execution_time = {milliseconds}"),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_statement_time = {seconds}"),
}


def _url(config: SqlConfig, context: FeatureContext) -> sa.URL:
    try:
        url = sa.make_url(config.url.get_secret_value())
    except (ArgumentError, ValueError):
        raise ConfigError(
            "`url` is no SQLAlchemy URL: dialect+driver://user:password@host:port/database",
            hint="quote special characters of the password with %, as in p%40ss for p@ss",
        ) from None
    if url.get_backend_name() != "sqlite" or (url.database or "").startswith("file:"):
        return url
    if not url.database or url.database == ":memory:":
        raise ConfigError("`url` names no SQLite file", hint="sqlite:///features.db")
    path = context.resolve(url.database)
    if not path.is_file():
        raise ConfigError("there is no such SQLite file", hint=f"looked for {path}")
    query = {**url.query, "mode": "ro", "uri": "true"}
    return url.set(database=f"file:{quote(str(path))}", query=query)


def _secret_options(url: sa.URL) -> list[str]:
    return [str(value) for name, value in url.query.items() if re.search("pass|secret|token|key", name.lower())]


def _place(url: sa.URL) -> str:
    if not url.host:
        return f"{url.get_backend_name()} {url.database or ''}".strip()
    return f"{url.get_backend_name()} at {url.host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _connect_options(driver: str, config: SqlConfig) -> dict[str, Any]:
    """Time limits, each driver's own way; whole seconds where a driver knows no others."""
    whole = max(1, round(config.connect_timeout))
    patience = max(1, round(config.connect_timeout + config.statement_timeout))
    if driver == "pysqlite":
        return {"timeout": config.statement_timeout, "check_same_thread": False}
    if driver == "aiosqlite":
        return {"timeout": config.statement_timeout}
    if driver in {"psycopg", "psycopg2"}:
        return {"connect_timeout": whole, "tcp_user_timeout": patience * 1000}
    if driver == "asyncpg":
        return {"timeout": config.connect_timeout}
    if driver in {"pymysql", "mysqldb"}:
        return {"connect_timeout": whole, "read_timeout": patience, "write_timeout": patience}
    return {"connect_timeout": whole} if driver in {"aiomysql", "asyncmy"} else {}


def _started(work: Work[T], seconds: float, connection: sa.Connection) -> T:
    connection.info["deadline"] = time.monotonic() + seconds
    return work(connection)


def _limit_sqlite(connection: Any, info: dict[str, Any]) -> None:
    def late() -> bool:
        return bool(time.monotonic() > info.get("deadline", float("inf")))

    if hasattr(connection, "run_async"):
        connection.run_async(lambda driver: driver.set_progress_handler(late, _SQLITE_STEPS))
    else:
        connection.set_progress_handler(late, _SQLITE_STEPS)


def _state(error: BaseException) -> str:
    """MySQL's error number, SQLSTATE, or SQLite's error name; empty if the driver says none."""
    number = error.args[0] if error.args else None
    if isinstance(number, int) and not isinstance(error, OSError):
        return str(number)
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if isinstance(state := getattr(error, name, None), str):
            return state
    return ""
