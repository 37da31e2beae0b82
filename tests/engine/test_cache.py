"""The cache in front of sources: never a row that is too old, one fetch per id, whatever happens in which order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sfs_core import (
    Batch,
    ConfigError,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
    Schema,
)
from sfs_core.engine.cache import CachedSource
from sfs_core.engine.row_store import RowKey, RowStore

SCHEMA = Schema([("x", pa.float64()), ("n", pa.int64()), ("t", pa.utf8())])
TTL, MISSING_TTL, MOST = 10.0, 4.0, 3
IDS = ["a", "b", "c", "d"]


class Store(FeatureSource):
    """Rows that change: their number, or None for no row. Each fetch waits until the test lets it go."""

    def __init__(self, *, gated: bool = True) -> None:
        super().__init__(
            PluginConfig(),
            FeatureContext("svc", "alice", logging.getLogger("test"), Path(), SCHEMA, None, True),  # type: ignore[arg-type]
        )
        self.gated = gated
        self.rows: dict[str, int | None] = {}
        self.waiting: list[tuple[FeatureQuery, asyncio.Future[None]]] = []
        self.asked: list[FeatureQuery] = []

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        self.asked.append(query)
        found = [self.rows.get(id_) for id_ in query.ids]
        if self.gated:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append((query, gate))
            try:
                await gate
            finally:
                self.waiting.remove((query, gate))
        rows = [row_of(number) for number in found if number is not None]
        return FeatureResult(
            Batch.from_rows(SCHEMA, rows), headers={"sent": "1"}, missing=[number is None for number in found]
        )


def row_of(number: int) -> tuple[Any, ...]:
    return (number / 2, None if number % 5 == 0 else number, f"t{number}")


def cached(store: Store, clock: Any, **more: Any) -> CachedSource:
    limits = {"max_rows": MOST, "max_bytes": 1 << 20} | more
    return CachedSource(store, ttl=TTL, missing_ttl=MISSING_TTL, clock=clock, **limits)


def numbers_of(result: FeatureResult) -> list[int | None]:
    there = iter(round(2 * row["x"]) for row in result.batch.to_arrow().to_pylist())
    missing = result.missing or [False] * result.batch.num_rows
    return [None if is_missing else next(there) for is_missing in missing]


class CacheMachine(RuleBasedStateMachine):
    """Callers ask, some give up; rows change; time passes; the source answers or fails, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0.0
        self.writes = 0
        self.store = Store()
        self.cache = cached(self.store, lambda: self.now)
        self.history: dict[str, list[tuple[float, int | None]]] = {id_: [(0.0, None)] for id_ in IDS}
        self.callers: list[tuple[float, list[str], asyncio.Task[FeatureResult]]] = []
        self.failures = 0

    def turn(self) -> None:
        self.loop.run_until_complete(settled())
        self.collect()

    @rule(id_=st.sampled_from(IDS), there=st.booleans())
    def change(self, id_: str, there: bool) -> None:
        self.writes += 1
        self.store.rows[id_] = self.writes if there else None
        self.history[id_].append((self.now, self.store.rows[id_]))

    @rule(seconds=st.sampled_from([0.5, 3.0, 4.0, 9.5, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
    def ask(self, ids: list[str]) -> None:
        async def fetch() -> FeatureResult:
            found = self.cache.fetch(FeatureQuery(ids))
            return found if isinstance(found, FeatureResult) else await found

        self.callers.append((self.now, ids, self.loop.create_task(fetch())))
        self.turn()

    @rule(ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
    def look_up(self, ids: list[str]) -> None:
        self.ask(ids)
        while self.store.waiting:
            self.store.waiting[0][1].set_result(None)
            self.turn()

    @rule(which=st.integers(0, 5), fails=st.booleans())
    def answer(self, which: int, fails: bool) -> None:
        if self.store.waiting:
            _, gate = self.store.waiting[which % len(self.store.waiting)]
            if fails:
                self.failures += 1
                gate.set_exception(FeatureError("down"))
            else:
                gate.set_result(None)
            self.turn()

    @rule(which=st.integers(0, 5))
    def give_up(self, which: int) -> None:
        if self.callers:
            self.callers[which % len(self.callers)][2].cancel()
            self.turn()

    def collect(self) -> None:
        for caller in [caller for caller in self.callers if caller[2].done()]:
            self.callers.remove(caller)
            began, ids, task = caller
            if task.cancelled():
                continue
            if task.exception() is not None:
                assert self.failures
                assert isinstance(task.exception(), FeatureError)
                continue
            for id_, number in zip(ids, numbers_of(task.result()), strict=True):
                self.check_age(id_, number, began)

    def check_age(self, id_: str, number: int | None, began: float) -> None:
        """The value was the current one at some time that is recent enough: or after the question came."""
        oldest = min(began, self.now - (MISSING_TTL if number is None else TTL))
        times = self.history[id_]
        ends = [time for time, _ in times[1:]] + [float("inf")]
        current = [
            value for (start, value), end in zip(times, ends, strict=True) if end >= oldest and start <= self.now
        ]
        assert number in current

    @invariant()
    def bounded(self) -> None:
        assert len(self.cache) <= MOST

    @invariant()
    def nothing_fetched_for_nobody(self) -> None:
        if not self.callers:
            assert not self.store.waiting

    @invariant()
    def one_fetch_per_id(self) -> None:
        """But for those who fetch anew, because the fetch that they waited for failed or took too long."""
        if not self.failures and self.now < MISSING_TTL:
            ids = [id_ for query, _ in self.store.waiting for id_ in query.ids]
            assert len(ids) == len(set(ids))

    def teardown(self) -> None:
        for _, _, task in self.callers:
            task.cancel()
        try:
            self.turn()
            assert not self.callers
            assert not self.store.waiting
        finally:
            self.loop.close()


CacheMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestCache = CacheMachine.TestCase


async def settled() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def fetch(cache: CachedSource, *ids: str, context: str = "", headers: Mapping[str, str] | None = None) -> Any:
    found = cache.fetch(FeatureQuery(list(ids), context, headers or {}))
    return found if isinstance(found, FeatureResult) else await found


async def test_hits_misses_and_what_a_row_depends_on() -> None:
    store = Store(gated=False)
    store.rows = {"a": 1, "b": 5}
    cache = cached(store, lambda: 0.0)
    first = await fetch(cache, "a", "b", "a", "none")
    assert numbers_of(first) == [1, 5, 1, None]
    assert first.headers == {"sent": "1"}
    assert (cache.hits, cache.misses, len(cache)) == (0, 3, 3)
    again = await fetch(cache, "none", "b", headers={"X-B3-TraceId": "0af7"})
    assert numbers_of(again) == [None, 5]
    assert again.batch.to_arrow().to_pylist() == [{"x": 2.5, "n": None, "t": "t5"}]
    assert again.headers == {}
    assert (cache.hits, cache.misses) == (2, 3)
    await fetch(cache, "b", context="2024")
    await fetch(cache, "b", headers={"tenant": "t1"})
    assert cache.misses == 5
    assert isinstance(cache.fetch(FeatureQuery(["b"], "", {"tenant": "t1"})), FeatureResult)


async def test_what_ends_while_another_row_is_fetched_is_fetched_anew() -> None:
    store, now = Store(), [0.0]
    store.rows = {"a": 1, "b": 2}
    cache = cached(store, lambda: now[0])
    first = asyncio.ensure_future(fetch(cache, "a"))
    await settled()
    store.waiting[0][1].set_result(None)
    await first
    store.rows["a"] = 3
    now[0] = TTL - 1
    both = asyncio.ensure_future(fetch(cache, "a", "b"))
    await settled()
    now[0] = TTL + 1
    for _ in range(2):
        store.waiting[0][1].set_result(None)
        await settled()
    assert numbers_of(await both) == [3, 2]


async def test_only_the_named_headers_count() -> None:
    store = Store(gated=False)
    store.rows = {"a": 1}
    cache = cached(store, lambda: 0.0, headers=["tenant"])
    await fetch(cache, "a", headers={"tenant": "t1", "request": "1"})
    await fetch(cache, "a", headers={"tenant": "t1", "request": "2"})
    assert (cache.hits, cache.misses) == (1, 1)
    await fetch(cache, "a", headers={"tenant": "t2"})
    assert cache.misses == 2


async def test_one_that_waits_for_another_s_failing_fetch_fetches_itself() -> None:
    store = Store()
    store.rows = {"a": 1}
    cache = cached(store, lambda: 0.0)
    first, second = asyncio.ensure_future(fetch(cache, "a", "b")), asyncio.ensure_future(fetch(cache, "a"))
    await settled()
    assert len(store.asked) == 1
    store.waiting[0][1].set_exception(FeatureError("b is bad"))
    with pytest.raises(FeatureError, match="b is bad"):
        await first
    await settled()
    assert store.asked[1].ids == ["a"]
    store.waiting[0][1].set_result(None)
    assert numbers_of(await second) == [1]


def test_sources_that_take_no_notice_of_ids_cannot_be_cached() -> None:
    store = Store()
    store.row_count = 7
    with pytest.raises(ConfigError, match="cannot be cached"):
        cached(store, lambda: 0.0).open()


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3000), st.integers(0, 3), st.booleans()), max_size=40)
)
def test_the_store_keeps_to_its_bounds_and_knows_its_size(steps: list[tuple[str, int, int, bool]]) -> None:
    store, now = RowStore(4, 8000), 0
    latest: dict[RowKey, tuple[int, Any]] = {}
    for id_, length, seconds, keeps in steps:
        key, now = RowKey(id_, "", ()), now + seconds % 2
        if keeps:
            latest[key] = now + seconds, ("t" * length,) if length else None
            store.keep(key, *latest[key])
        elif (found := store.find(key, now)) is not None:
            assert (found.end, found.row) == latest[key]
            assert found.end > now
    assert len(store) <= 4
    assert store.size <= 8000
    left = [each for key in latest if (each := store.find(key, -1)) is not None]
    assert len(left) == len(store)
    assert store.size == sum(each.size for each in left)
    store.clear()
    assert (len(store), store.size) == (0, 0)


def test_the_store_gives_up_what_was_not_used_for_longest_and_what_is_too_large() -> None:
    store = RowStore(100, 5000)
    keys = [RowKey(id_, "", ()) for id_ in "abc"]
    for key in keys[:2]:
        store.keep(key, 9.0, ("t" * 1000,))
    assert store.find(keys[0], 0.0) is not None
    store.keep(keys[2], 9.0, ("t" * 2000,))
    assert [store.find(key, 0.0) is not None for key in keys] == [True, False, True]
    for large in (
        RowKey("d", "c" * 5000, ()),
        RowKey("d", "", (("tenant", "t" * 5000),)),
        RowKey("d", "", ("t" * 5000,)),
    ):
        store.keep(large, 9.0, None)
        assert len(store) == 0


async def test_what_the_cache_cannot_hold_is_given_all_the_same() -> None:
    store = Store(gated=False)
    store.rows = {"a": 1, "b": 2}
    cache = cached(store, lambda: 0.0, max_bytes=1)
    for _ in range(2):
        assert numbers_of(await fetch(cache, "a", "b", "none")) == [1, 2, None]
    assert (cache.hits, cache.misses, len(cache), cache.size) == (0, 6, 0, 0)
