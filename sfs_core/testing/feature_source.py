"""The contract of feature sources."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import pytest

from sfs_core.batch import Batch, Schema
from sfs_core.errors import FeatureError, SfsError
from sfs_core.host.registry import Kind
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult, FeatureSource
from sfs_core.testing.contract import installed, on_event_loop
from sfs_core.testing.making import assert_same_rows, feature_context, plain_rows
from sfs_core.testing.source import SourceCase, SourceContract, assert_is_ours
from sfs_core.testing.watching import POOL_NAME, Leftovers, broken_service, voluntary_waits

__all__ = ["FeatureSourceCase", "FeatureSourceContract"]

_UNKNOWN: Final = "contract-unknown-id-4711"
_STRANGE: Final = ["", " ", "' OR ''='", "a\nb", "\0", "%s{}*", "é", "\ud800", "7" * 5000]
_MANY: Final = 1500
_TRIES: Final = 5


@dataclass(frozen=True, kw_only=True)
class FeatureSourceCase(SourceCase):
    """A feature source and what it should find.

    Args:
        schema: the columns to deliver: two or more of them, so that their order can be tested.
        rows: at least two ids with different rows; values in the schema's order, as Python has them. For a source that
            draws rows (`row_count` >= 0): all its rows, in order.
        knows_every_id: whether there is a row for whatever is asked.
    """

    schema: Schema
    rows: Mapping[str, tuple[Any, ...]]
    knows_every_id: bool = False


class FeatureSourceContract(SourceContract):
    """Rules that every feature source keeps; a subclass defines the fixture `case`, a `FeatureSourceCase`.

    Where core checks what a source returns, the rules look at what it returned before core's checks.
    """

    contract_kind: ClassVar[Kind] = "feature_source"
    contract_title: ClassVar[str] = "feature source"

    # -------------------------------------------------------------------------------------- using a source
    def make(
        self,
        case: FeatureSourceCase,
        pool: ThreadPoolExecutor,
        *,
        schema: Schema | None = None,
        options: Mapping[str, Any] | None = None,
        report_missing: bool = False,
    ) -> FeatureSource:
        """The case's source, not opened yet."""
        cls = installed().feature_source(case.component)
        wanted = case.schema if schema is None else schema
        context = feature_context(wanted, case.base_directory, executor=pool, report_missing=report_missing)
        return cls(self.config(case, options), context)

    @asynccontextmanager
    async def opened(
        self, case: FeatureSourceCase, *, schema: Schema | None = None, report_missing: bool = False
    ) -> AsyncIterator[FeatureSource]:
        """The case's source, opened and closed as a server does it."""
        with _pool() as pool:
            loop = asyncio.get_running_loop()
            source = self.make(case, pool, schema=schema, report_missing=report_missing)
            try:
                await loop.run_in_executor(pool, source.validate)
                await loop.run_in_executor(pool, source.open)
                yield source
            finally:
                await loop.run_in_executor(pool, source.close)

    async def use(self, case: FeatureSourceCase, folder: Path) -> None:
        """Open, fetch, close."""
        async with self.opened(case) as source:
            await _fetch(source, list(case.rows)[:2])

    # ------------------------------------------------------------------------------------- rules: the rows
    @on_event_loop
    async def test_rows_come_in_the_order_of_the_ids(self, case: FeatureSourceCase) -> None:
        """Row i belongs to id i."""
        async with self.opened(case) as source:
            _needs_look_up(source)
            ids = list(case.rows)
            assert len(ids) >= 2, "the case needs at least two rows"
            for order in (ids, ids[::-1], ids[1:]):
                batch = await _fetch(source, order)
                assert_same_rows(plain_rows(_projected(batch, case.schema)), [case.rows[each] for each in order])

    @on_event_loop
    async def test_a_repeated_id_gives_its_row_again(self, case: FeatureSourceCase) -> None:
        """Core makes ids unique when it can, but a source must not count on it."""
        async with self.opened(case) as source:
            _needs_look_up(source)
            first, second, *_ = case.rows
            ids = [first, second, first, first]
            batch = await _fetch(source, ids)
            assert_same_rows(plain_rows(_projected(batch, case.schema)), [case.rows[each] for each in ids])

    @on_event_loop
    async def test_no_ids_give_no_rows(self, case: FeatureSourceCase) -> None:
        """An empty query has an empty answer, with all columns."""
        async with self.opened(case) as source:
            batch = await _fetch(source, [])
            assert batch.num_rows == 0
            assert set(case.schema.names) <= set(batch.schema.names)

    @on_event_loop
    async def test_many_ids_give_as_many_rows(self, case: FeatureSourceCase) -> None:
        """Limits of a store's queries are the source's business."""
        async with self.opened(case) as source:
            _needs_look_up(source)
            known = list(case.rows)
            batch = await _fetch(source, [known[i % len(known)] for i in range(_MANY)])
            assert batch.num_rows == _MANY

    @on_event_loop
    async def test_rows_that_are_drawn_come_once_and_in_order(self, case: FeatureSourceCase) -> None:
        """A source with a `row_count` has so many rows, and then no more."""
        async with self.opened(case) as source:
            if source.row_count < 0:
                pytest.skip("it looks ids up")
            rows = list(case.rows.values())
            assert source.row_count == len(rows)
            first = await _fetch(source, ["1"], "0")
            rest = await _fetch(source, ["2"] * (len(rows) - 1), "1")
            assert_same_rows(plain_rows(_projected(first, case.schema)), rows[:1])
            assert_same_rows(plain_rows(_projected(rest, case.schema)), rows[1:])
            assert await _error(source, ["3"]), "a row came after the last one"

    # ---------------------------------------------------------------------------------- rules: the columns
    @on_event_loop
    async def test_columns_have_the_declared_types(self, case: FeatureSourceCase) -> None:
        """Exactly the types of the context's schema, in whichever form the batch is."""
        async with self.opened(case) as source:
            batch = await _fetch(source, list(case.rows)[:2])
        found = {name: batch.schema.types[i] for name, i in batch.schema.index.items()}
        for name, type_ in zip(case.schema.names, case.schema.types, strict=True):
            assert found.get(name) == type_, f"column {name!r} is {found.get(name)}, declared is {type_}"
        batch.to_arrow().validate(full=True)
        if batch.has_rows and batch.schema.row_types is not None:
            for row in batch.rows():
                assert tuple(map(type, row)) == batch.schema.row_types, "a row holds values of other Python types"

    @on_event_loop
    async def test_columns_are_found_by_name(self, case: FeatureSourceCase) -> None:
        """The model says which columns it wants, and in which order."""
        reverse = Schema(zip(case.schema.names[::-1], case.schema.types[::-1], strict=True))
        async with self.opened(case, schema=reverse) as source:
            ids = list(case.rows)[:2]
            batch = await _fetch(source, ids)
            assert_same_rows(plain_rows(_projected(batch, reverse)), [case.rows[each][::-1] for each in ids])

    @on_event_loop
    async def test_without_columns_there_are_still_rows(self, case: FeatureSourceCase) -> None:
        """A party may have no features in a model."""
        async with self.opened(case, schema=Schema()) as source:
            assert (await _fetch(source, list(case.rows)[:2])).num_rows == 2

    # ----------------------------------------------------------------------------------- rules: the errors
    @on_event_loop
    async def test_unknown_ids_are_not_made_up(self, case: FeatureSourceCase) -> None:
        """An id without a row is an error; one row less, or zeros, would be a wrong score."""
        async with self.opened(case) as source:
            _needs_look_up(source)
            error = await _error(source, [next(iter(case.rows)), _UNKNOWN])
            if case.knows_every_id:
                assert error is None, "the case says that every id is known"
            else:
                assert error is not None, "rows came for an id that is not there"

    @on_event_loop
    async def test_rows_that_are_not_there_are_reported_where_asked(self, case: FeatureSourceCase) -> None:
        """With `report_missing`, rows that are there come, and `missing` says which ids have none."""
        async with self.opened(case, report_missing=True) as source:
            _needs_look_up(source)
            if case.knows_every_id:
                pytest.skip("the case says that every id is known")
            first, second, *_ = case.rows
            result = await _fetch_result(source, [_UNKNOWN, second, _UNKNOWN, first])
            assert list(map(bool, result.missing or ())) == [True, False, True, False]
            assert_same_rows(plain_rows(_projected(result.batch, case.schema)), [case.rows[second], case.rows[first]])

    @on_event_loop
    async def test_errors_are_sfs_errors(self, case: FeatureSourceCase) -> None:
        """Whatever is asked, what comes out is a row or an SfsError."""
        async with self.opened(case) as source:
            for strange in (_UNKNOWN, *_STRANGE):
                if error := await _error(source, [next(iter(case.rows)), strange]):
                    assert_is_ours(error)

    @on_event_loop
    async def test_errors_hold_no_ids(self, case: FeatureSourceCase) -> None:
        """Errors go to other parties, and to logs: they tell how many ids and where, not which."""
        async with self.opened(case) as source:
            error = await _error(source, [next(iter(case.rows)), _UNKNOWN])
            told = f"{error} {getattr(error, 'detail', '')} {getattr(error, 'where', '')}"
            assert _UNKNOWN not in told, "the error's text holds the id"

    # ------------------------------------------------------------------------- rules: opening and closing
    @on_event_loop
    async def test_check_passes_when_all_is_well(self, case: FeatureSourceCase) -> None:
        """`check` of an open source raises nothing."""
        async with self.opened(case) as source:
            await asyncio.get_running_loop().run_in_executor(source.context.executor, source.check)

    @on_event_loop
    async def test_it_may_be_closed_without_being_opened(self, case: FeatureSourceCase) -> None:
        """As happens when another part of the server cannot start."""
        with _pool() as pool:
            await asyncio.get_running_loop().run_in_executor(pool, self.make(case, pool).close)

    @on_event_loop
    async def test_it_may_be_closed_twice(self, case: FeatureSourceCase) -> None:
        """Closing what is closed does nothing."""
        async with self.opened(case) as source:
            await _fetch(source, list(case.rows)[:1])
            await asyncio.get_running_loop().run_in_executor(source.context.executor, source.close)

    @on_event_loop
    async def test_no_thread_is_left_behind(self, case: FeatureSourceCase, tmp_path: Path) -> None:
        """After `close`, the source's threads end."""
        await self._assert_clean(case, tmp_path, "threads")

    @on_event_loop
    async def test_no_file_or_socket_is_left_open(self, case: FeatureSourceCase, tmp_path: Path) -> None:
        """After `close`, the source's descriptors are closed."""
        await self._assert_clean(case, tmp_path, "descriptors")

    @on_event_loop
    async def test_no_task_is_left_behind(self, case: FeatureSourceCase, tmp_path: Path) -> None:
        """After `close`, the source's tasks end."""
        await self._assert_clean(case, tmp_path, "tasks")

    async def _assert_clean(
        self, case: FeatureSourceCase, tmp_path: Path, kind: Literal["threads", "descriptors", "tasks"]
    ) -> None:
        with _pool() as pool:
            await self.use(case, tmp_path)  # what libraries keep for the life of a process is there now
            before = Leftovers(kind)
            loop = asyncio.get_running_loop()
            source = self.make(case, pool)  # held until the end: collecting it would close files too
            await loop.run_in_executor(pool, source.open)
            await _fetch(source, list(case.rows)[:2])
            await loop.run_in_executor(pool, source.close)
            assert await before.found() == []

    @on_event_loop
    async def test_static_rows_depend_on_the_id_alone(self, case: FeatureSourceCase) -> None:
        """With `static = True`, query context and header entries change nothing, and none are sent back."""
        async with self.opened(case) as source:
            if not source.static:
                pytest.skip("it does not say that its rows never change")
            ids = list(case.rows)
            one = await _fetch_result(source, ids)
            for headers in ({}, {"x-tenant": "other"}):
                other = await _fetch_result(source, ids, "another context", headers)
                assert_same_rows(plain_rows(other.batch), plain_rows(one.batch))
                assert not other.headers

    @on_event_loop
    async def test_the_ids_that_it_tells_have_rows(self, case: FeatureSourceCase) -> None:
        """`ids` of a source whose rows never change has those that can be looked up."""
        async with self.opened(case) as source:
            ids = list(source.known_ids())
            if not ids:
                pytest.skip("it tells no ids whose rows never change and are there at once")
            assert set(case.rows) <= set(ids), "it does not tell an id that has a row"
            assert not any((await _fetch_result(source, ids[:_MANY])).missing or ()), "it tells an id without a row"

    # ------------------------------------------------------------------------------------ rules: at a time
    @on_event_loop
    async def test_concurrent_fetches_do_not_mix(self, case: FeatureSourceCase) -> None:
        """Several requests are under way at a time."""
        async with self.opened(case) as source:
            _needs_look_up(source)
            known = list(case.rows)
            queries = [[known[(i + k) % len(known)] for k in range(1 + i % 3)] for i in range(12)]
            batches = await asyncio.gather(*(_fetch(source, ids) for ids in queries))
            for ids, batch in zip(queries, batches, strict=True):
                assert_same_rows(plain_rows(_projected(batch, case.schema)), [case.rows[each] for each in ids])

    @on_event_loop
    async def test_a_source_that_does_not_block_does_not_wait(self, case: FeatureSourceCase) -> None:
        """With `blocking = False`, a plain `fetch_rows` is called on the event loop: it may touch memory only."""
        async with self.opened(case) as source:
            if source.blocking or inspect.iscoroutinefunction(source.fetch_rows):
                pytest.skip("it is called in a pool, or is a coroutine function")
            _needs_look_up(source)
            ids = list(case.rows)[:2]
            waits = voluntary_waits(lambda: source.fetch_rows(FeatureQuery(ids)))
            assert not waits, f"fetch_rows waits {waits} time(s) or more; leave `blocking` at True"

    @on_event_loop
    async def test_waiting_leaves_the_event_loop_free(self, case: FeatureSourceCase) -> None:
        """While a service does not answer, others are served."""
        for _ in range(_TRIES):  # a busy machine may leave even those who let others run no time for many turns
            if await self._turns_meanwhile(case) > 10:
                return
        raise AssertionError("fetch_rows keeps the event loop while it waits: await, or write a plain `def`")

    async def _turns_meanwhile(self, case: FeatureSourceCase) -> int:
        """How often others had their turn while the source waited for a service that does not answer."""
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        with _pool() as pool, broken_service("silent") as address:
            source = self.make(case, pool, options=case.options_of_service(address))
            loop = asyncio.get_running_loop()
            ticking = asyncio.create_task(others())
            try:
                await asyncio.wait([asyncio.create_task(_all_of(source))], timeout=case.patience)
            finally:
                ticking.cancel()
                await loop.run_in_executor(pool, source.close)
        return turns

    # --------------------------------------------------------------------------- rules: a service in trouble
    @on_event_loop
    async def test_it_is_validated_without_its_service(self, case: FeatureSourceCase) -> None:
        """`validate` tells what can be seen where no service can be reached, as `sfs check` does before a rollout."""
        with _pool() as pool, broken_service("absent") as address:
            source = self.make(case, pool, options=case.options_of_service(address))
            await asyncio.get_running_loop().run_in_executor(pool, source.validate)

    @on_event_loop
    async def test_a_service_that_is_not_there_is_an_error(self, case: FeatureSourceCase) -> None:
        """Nobody listens at the address."""
        await self._error_in_time(case, "absent")

    @on_event_loop
    async def test_a_service_that_never_answers_is_an_error(self, case: FeatureSourceCase) -> None:
        """Timeouts are honoured: the source gives up before the case's patience ends."""
        await self._error_in_time(case, "silent")

    @on_event_loop
    async def test_a_service_that_breaks_off_is_an_error(self, case: FeatureSourceCase) -> None:
        """Connections are reset."""
        await self._error_in_time(case, "resetting")

    @on_event_loop
    async def test_an_error_tells_only_its_own_party_which_service_it_was(self, case: FeatureSourceCase) -> None:
        """Its `where` or `detail` does, for the log; its message goes to callers and other parties."""
        error, port = await self._error_in_time(case, "absent")
        assert port in f"{error.where} {error.detail}", "neither `where` nor `detail` tells which service it was"
        assert port not in error.message, "the message tells others the service's address; give it as `where`"

    async def _error_in_time(
        self, case: FeatureSourceCase, how: Literal["absent", "silent", "resetting"]
    ) -> tuple[SfsError, str]:
        """The error, and the service's port."""
        loop = asyncio.get_running_loop()
        with _pool() as pool, broken_service(how) as address:  # a thread that waits for the service ends with that
            source = self.make(case, pool, options=case.options_of_service(address))
            try:
                asking = asyncio.create_task(_all_of(source, next(iter(case.rows))))
                done, _ = await asyncio.wait([asking], timeout=case.patience)
                assert done, f"no error within {case.patience} s: the source needs a timeout"
                error = asking.exception()
            finally:
                asking.cancel()
                await loop.run_in_executor(pool, source.close)
        assert error is not None, "rows came out of nowhere"
        return assert_is_ours(error), str(address[1])


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4, thread_name_prefix=POOL_NAME) as pool:
        yield pool


async def _all_of(source: FeatureSource, known_id: str = "1") -> Batch:
    """Open, as in a thread, and fetch."""
    await asyncio.get_running_loop().run_in_executor(source.context.executor, source.open)
    return await _fetch(source, [known_id])


async def _fetch(source: FeatureSource, ids: Sequence[str], context: str = "") -> Batch:
    """The rows that the source returns, which must not report any as missing."""
    result = await _fetch_result(source, ids, context)
    if any(result.missing or ()):
        raise FeatureError("rows are reported as missing")
    return result.batch


async def _fetch_result(
    source: FeatureSource, ids: Sequence[str], context: str = "", headers: Mapping[str, str] | None = None
) -> FeatureResult:
    """What the source returns, run where core runs it, without core's checks."""
    query = FeatureQuery(list(ids), context, headers or {})
    if source.blocking and not inspect.iscoroutinefunction(source.fetch_rows):
        loop = asyncio.get_running_loop()
        result: Any = await loop.run_in_executor(source.context.executor, source.fetch_rows, query)
    else:
        result = source.fetch_rows(query)
    if inspect.isawaitable(result):
        result = await result
    assert isinstance(result, FeatureResult), f"fetch_rows returned {type(result).__name__}, not FeatureResult"
    return result


async def _error(source: FeatureSource, ids: Sequence[str]) -> Exception | None:
    """What the source raises, or None."""
    try:
        await _fetch(source, ids)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


def _projected(batch: Batch, schema: Schema) -> Batch:
    """The wanted columns by name, whatever their types."""
    order = [batch.schema.index[name] for name in schema.names]
    wanted = Schema((batch.schema.names[i], batch.schema.types[i]) for i in order)
    return Batch.from_columns(wanted, [batch.arrow(i) for i in order], batch.num_rows)


def _needs_look_up(source: FeatureSource) -> None:
    if source.row_count >= 0:
        pytest.skip("its rows are drawn, not looked up")
