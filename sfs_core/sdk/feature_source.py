"""FeatureSource: how a party looks up its own features."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from sfs_core.batch import Batch, Projector
from sfs_core.errors import ErrorCode, GraphError, PluginError
from sfs_core.sdk.context import FeatureContext, PluginConfig

__all__ = ["FeatureQuery", "FeatureResult", "FeatureSource"]


@dataclass(slots=True)
class FeatureQuery:
    """What to look up.

    Args:
        ids: the query data of each row, in order; may repeat.
        context: the caller's free text (`query_context`).
        headers: the request's header entries.
        deadline: when nobody waits for the rows any longer, as `time.monotonic` counts; infinite where that is not
            known, as where several requests share a look-up. Core stops waiting by itself.
    """

    ids: list[str]
    context: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float = inf


@dataclass(slots=True)
class FeatureResult:
    """Rows found: one per query id, in query order.

    Args:
        batch: at least the columns of the context's schema.
        headers: header entries that go back to the caller.
        missing: which ids have no row: True or False for each id of the query. `batch` then has the rows of the other
            ids only. None: all ids have one.
    """

    batch: Batch
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[bool] | None = None


class FeatureSource(ABC):
    """Base of feature sources; one instance serves one service.

    An author writes `fetch_rows` (as `def` or `async def`) and, where needed, `validate`, `open`, `close`, `check`.
    Core calls `fetch`, which runs the author's code in the right place and checks what it returns.

    Attributes:
        Config: the model of this source's options.
        blocking: True (the default): a plain `def fetch_rows` may wait and is run in a pool of threads.
            False: it only touches memory and is called directly on the event loop.
        static: an id always has the same row, or none, while the source is open: whatever the query context and the
            header entries are, and whoever asks. What follows from a row may then be remembered.
        row_count: how many rows bulk scoring can draw from this source; -1 = as many as asked.
        keeps_nulls: whether nulls in its batches are for the model. False: they are values that are not there, which
            a config may have a policy for (`features.missing`).
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig
    blocking: ClassVar[bool] = True
    static: ClassVar[bool] = False
    row_count: int = -1
    keeps_nulls: bool = False

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        self.config = config
        self.context = context
        self.schema = context.schema
        self.__project = Projector(context.schema)
        self.__is_coroutine = inspect.iscoroutinefunction(self.fetch_rows)

    # ---------------------------------------------------------- the author's part
    def validate(self) -> None:
        """See what is wrong without reaching a service: a file that is not there, a URL that is none, a feature's type.

        Called in a thread, before `open` and by `sfs check`, which may run where no service can be reached. It leaves
        nothing open, and looks at no more of a file than it takes to know that `open` can begin to read it.

        Raises:
            SfsError: the source cannot work like this.
        """

    def open(self) -> None:
        """Connect, read files. Called once, in a thread, before the first fetch.

        Raises:
            SfsError: the source cannot work; the server then refuses to start.
        """

    def close(self) -> None:
        """Release everything. May be called twice, and without `open`."""

    def check(self) -> None:
        """Whether the source is up; raises an SfsError that says what is wrong. Called in a thread."""

    def ids(self) -> Collection[str]:
        """The ids that have a row, where a `static` source that only touches memory can tell them once it is open.

        What follows from their rows may then be computed ahead (`features.precompute`). Empty: it cannot tell.
        """
        return ()

    @abstractmethod
    def fetch_rows(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """Look up `query.ids`: one row each, in their order, with the columns of `self.schema`.

        Rows that are not there may always be reported (`FeatureResult.missing`) instead of raised.

        Raises:
            FeatureError: a row is not there, or holds something that is no feature value. The message gives
                row indices or counts, never ids or values.
        """

    # ------------------------------------------------------------------ core's part
    # Its names begin with two underscores: those of authors, such as `_rows` or `_project`, cannot collide with them.
    def known_ids(self) -> Collection[str]:
        """What `ids` says, where their rows never change and are there at once; else nothing."""
        return self.ids() if self.static and not (self.blocking or self.__is_coroutine) else ()

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """What core calls: the checked result at once (memory-only source), else an awaitable of it.

        Raises:
            PluginError: the source returned another number of rows (7), lacks a column (2), has it in another
                type (7), or tried to end the process (2).
        """
        if self.blocking and not self.__is_coroutine:
            return self.__fetch_in_pool(query)
        result = self.__rows(query)
        return self.__checked(result, query) if isinstance(result, FeatureResult) else self.__fetch_later(result, query)

    async def __fetch_in_pool(self, query: FeatureQuery) -> FeatureResult:
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self.context.executor, self.__rows, query)
        # A decorated coroutine function does not look like one until it has been called.
        return (
            self.__checked(result, query)
            if isinstance(result, FeatureResult)
            else await self.__fetch_later(result, query)
        )

    async def __fetch_later(self, result: object, query: FeatureQuery) -> FeatureResult:
        try:
            found = await result if inspect.isawaitable(result) else result
        except (SystemExit, KeyboardInterrupt) as error:
            raise _tried_to_exit(self, error) from error
        return self.__checked(found, query)

    def __rows(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        try:
            return self.fetch_rows(query)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _tried_to_exit(self, error) from error

    def __checked(self, result: object, query: FeatureQuery) -> FeatureResult:
        if not isinstance(result, FeatureResult):
            raise PluginError(f"{type(self).__name__}.fetch_rows returned {type(result).__name__}, not FeatureResult")
        batch, expected = result.batch, len(query.ids)
        if result.missing is not None:
            expected -= self.__count_missing(result, expected)
        if batch.num_rows != expected:
            raise PluginError(
                f"{type(self).__name__} returned {batch.num_rows} rows for {expected} ids",
                code=ErrorCode.LOGIC_ERROR,
            )
        if batch.schema is not self.schema and len(self.schema):
            try:
                result.batch = self.__project(batch)
            except GraphError as error:
                wrong_type = error.code == ErrorCode.UNEXPECTED_ERROR
                code = ErrorCode.LOGIC_ERROR if wrong_type else ErrorCode.UNEXPECTED_ERROR
                raise PluginError(f"{type(self).__name__}: {error.message}", code=code) from None
        return result

    def __count_missing(self, result: FeatureResult, asked: int) -> int:
        """How many rows are missing; `missing` becomes None where none is."""
        flags = list(map(bool, result.missing or ()))
        if len(flags) != asked:
            raise PluginError(
                f"{type(self).__name__} returned {len(flags)} marks of missing rows for {asked} ids",
                code=ErrorCode.LOGIC_ERROR,
            )
        count = flags.count(True)
        result.missing = flags if count else None
        return count


def _tried_to_exit(source: FeatureSource, error: BaseException) -> PluginError:
    # A library's sys.exit is no Exception: it would end the server. Ctrl-C does not come this way where one serves.
    return PluginError(f"{type(source).__name__}.fetch_rows tried to end the process ({type(error).__name__})")
