"""Rows of a feature source, remembered for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from sfs_core.batch import Batch, Row
from sfs_core.engine.row_store import RowKey, RowStore
from sfs_core.engine.sources import Source, SourceInFront
from sfs_core.errors import ConfigError
from sfs_core.observe.trace_context import TRACE_HEADERS
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult

__all__ = ["CachedSource"]

T = TypeVar("T")
Rows = dict[str, Row | None]
"""By id; None for an id without a row."""
DependsOn = tuple[str, tuple[object, ...]]
"""What rows depend on besides their ids: query context and header entries."""


class CachedSource(SourceInFront):
    """A source in front of which rows are remembered, by id, query context and header entries.

    A row counts as read when the fetch began that brought it, and is given to nobody once `ttl` seconds have passed
    since. Ids that somebody else is fetching already are waited for; where that fails they are fetched anew. Header
    entries that the source sends back reach the callers that it was asked for, and no later ones.

    Args:
        source: must report missing rows.
        ttl: seconds that a row is remembered.
        missing_ttl: seconds that an id is remembered to have no row; 0 for not at all.
        max_rows: most ids remembered; those not used for longest make room.
        max_bytes: most memory for them, as estimated, likewise.
        headers: names of the header entries that rows depend on; None for all but those of tracing.
        clock: gives seconds that never go back.

    Attributes:
        hits: ids asked for that were remembered.
        misses: ids asked for that were not.
    """

    def __init__(
        self,
        source: Source,
        *,
        ttl: float,
        missing_ttl: float,
        max_rows: int,
        max_bytes: int,
        headers: Collection[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(source)
        self.hits = 0
        self.misses = 0
        self._ttl, self._missing_ttl = ttl, missing_ttl
        self._headers = None if headers is None else sorted(headers)
        self._clock = clock
        self._known = RowStore(max_rows, max_bytes)
        self._under_way: dict[RowKey, _Flight] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def size(self) -> int:
        """Bytes in use, as estimated."""
        return self._known.size

    def known_ids(self) -> Collection[str]:
        """None: what is remembered here grows old."""
        return ()

    def open(self) -> None:
        """Open the source.

        Raises:
            ConfigError: it gives other rows each time that it is asked.
        """
        self._source.open()
        if self._source.row_count >= 0:
            raise ConfigError("this feature source gives rows in their order, whatever the ids: it cannot be cached")

    def close(self) -> None:
        """Forget all rows and close the source."""
        self._known.clear()
        self._source.close()

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The rows of the ids; at once where all are remembered."""
        depends_on = query.context, self._entries(query.headers)
        found: Rows = {}
        ends: dict[str, float] = {}
        unknown = []
        now = self._clock()
        for id_ in dict.fromkeys(query.ids):
            known = self._known.find(RowKey(id_, *depends_on), now)
            if known is None:
                unknown.append(id_)
            else:
                found[id_], ends[id_] = known.row, known.end
        self.hits += len(found)
        self.misses += len(unknown)
        if not unknown:
            return self._result(query, found, {})
        return self._fetch_unknown(query, found, ends, unknown, depends_on)

    def _entries(self, headers: Mapping[str, str]) -> tuple[object, ...]:
        if self._headers is not None:
            return tuple(headers.get(name) for name in self._headers)
        return tuple(sorted(item for item in headers.items() if item[0].lower() not in TRACE_HEADERS))

    async def _fetch_unknown(
        self, query: FeatureQuery, found: Rows, ends: dict[str, float], unknown: Sequence[str], depends_on: DependsOn
    ) -> FeatureResult:
        """The rows, with those that are fetched; what was found and has ended meanwhile is fetched as well."""
        joined: dict[_Flight, list[str]] = {}
        left = []
        for id_ in unknown:
            flight = self._under_way.get(RowKey(id_, *depends_on))
            if flight is None:
                left.append(id_)
            else:
                joined.setdefault(flight, []).append(id_)
        own = [self._start(query, left, depends_on)] if left else []
        left = []
        headers: dict[str, str] = {}
        try:
            for flight, ids in joined.items():
                rows = await flight.rows_for_another(self._clock, self._life)
                found.update((id_, rows[id_]) for id_ in ids if id_ in rows)
                ends.update((id_, flight.began + self._life(rows[id_])) for id_ in ids if id_ in rows)
                left += [id_ for id_ in ids if id_ not in rows]
            if left:
                own.append(self._start(query, left, depends_on))
            for flight in own:
                rows, sent = await flight.outcome()
                found |= rows
                headers = {**sent, **headers}
            now = self._clock()
            if late := [id_ for id_, end in ends.items() if end <= now]:
                own.append(self._start(query, late, depends_on))
                rows, sent = await own[-1].outcome()
                found |= rows
                headers = {**sent, **headers}
        except BaseException:
            for flight in own:
                await flight.abandon()
            raise
        return self._result(query, found, headers)

    def _start(self, query: FeatureQuery, ids: list[str], depends_on: DependsOn) -> _Flight:
        keys = [RowKey(id_, *depends_on) for id_ in ids]
        shared = FeatureQuery(ids, query.context, query.headers)  # others may wait longer
        flight = _Flight(self._ask(shared, depends_on), self._clock())
        self._under_way.update(dict.fromkeys(keys, flight))

        def landed(_: object) -> None:
            for key in keys:
                if self._under_way.get(key) is flight:
                    del self._under_way[key]

        flight.task.add_done_callback(landed)
        return flight

    def _life(self, row: Row | None) -> float:
        return self._missing_ttl if row is None else self._ttl

    async def _ask(self, query: FeatureQuery, depends_on: DependsOn) -> tuple[Rows, Mapping[str, str]]:
        began = self._clock()
        result = self._source.fetch(query)
        if not isinstance(result, FeatureResult):
            result = await result
        rows = _by_id(query.ids, result)
        now = self._clock()
        for id_, row in rows.items():
            end = began + self._life(row)
            if end > now:
                self._known.keep(RowKey(id_, *depends_on), end, row)
        return rows, result.headers

    def _result(self, query: FeatureQuery, found: Rows, headers: Mapping[str, str]) -> FeatureResult:
        rows = [found[id_] for id_ in query.ids]
        there = [row for row in rows if row is not None]
        if len(self.schema) and None in chain.from_iterable(there):  # which the rows form cannot hold
            batch = Batch.from_rows(self.schema, there)
        else:
            batch = Batch(self.schema, len(there), rows=there)
        return FeatureResult(batch, headers, [row is None for row in rows] if len(there) < len(rows) else None)


class _Flight:
    """A fetch that several may wait for; it ends when nobody does any more."""

    def __init__(self, work: Any, began: float) -> None:
        self.task: asyncio.Task[tuple[Rows, Mapping[str, str]]] = asyncio.ensure_future(work)
        self.task.add_done_callback(_look_at_failure)
        self.began = began
        self._waiting = 0

    async def outcome(self) -> tuple[Rows, Mapping[str, str]]:
        """The rows and header entries that it brings; or its failure."""
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            await self.abandon()

    async def rows_for_another(self, clock: Callable[[], float], life: Callable[[Row | None], float]) -> Rows:
        """What it brings for one that came later: no row that is too old by then, and nothing where it fails."""
        self._waiting += 1
        try:
            await asyncio.wait([self.task])
        finally:
            self._waiting -= 1
            await self.abandon()
        if self.task.cancelled() or self.task.exception() is not None:
            return {}
        age = clock() - self.began
        rows = self.task.result()[0]
        return {id_: row for id_, row in rows.items() if age < life(row)}

    async def abandon(self) -> None:
        """Give it up, if nobody waits."""
        if not self._waiting and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])


def _look_at_failure(task: asyncio.Task[Any]) -> None:
    """A failure that nobody waits for any more is nobody's."""
    if not task.cancelled():
        task.exception()


def _by_id(ids: Sequence[str], result: FeatureResult) -> Rows:
    """The rows as tuples of plain values, with None for nulls: so they hold no whole batch in memory."""
    batch = result.batch
    columns = [batch.column(i) for i in range(len(batch.schema))] if batch.form == "columns" else []
    if any(not isinstance(column, np.ndarray) and column.null_count for column in columns):
        rows = iter(list(zip(*(batch.arrow(i).to_pylist() for i in range(len(columns))), strict=True)))
    else:
        rows = iter(batch.rows())
    if result.missing is None:
        return dict(zip(ids, rows, strict=True))
    return {id_: None if is_missing else next(rows) for id_, is_missing in zip(ids, result.missing, strict=True)}
