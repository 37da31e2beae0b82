"""Several sources joined by row: whatever form and order their columns have, and whatever one of them does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import (
    Batch,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
    Schema,
)
from sfs_core.engine.missing import DefaultValues
from sfs_core.engine.sources import JoinedSource, PolicySource

FLOATS = Schema([(f"c{i}", pa.float64()) for i in range(5)])


class Part(FeatureSource):
    """Columns of a table; may lack rows, wait, or fail."""

    blocking = False

    def __init__(self, names: Sequence[str], form: str = "rows", *, lacks: frozenset[str] = frozenset()) -> None:
        schema = Schema((name, pa.float64()) for name in names)
        context = FeatureContext("svc", "alice", logging.getLogger("test"), Path(), schema, None, True)  # type: ignore[arg-type]
        super().__init__(PluginConfig(), context)
        self.form, self.lacks = form, lacks
        self.waits, self.fails = False, False
        self.events: list[str] = []

    def open(self) -> None:
        self.events.append("open")
        if self.fails:
            raise FeatureError("will not open")

    def close(self) -> None:
        self.events.append("close")

    def check(self) -> None:
        self.events.append("check")

    def fetch_rows(self, query: FeatureQuery) -> Any:
        return self._later(query) if self.waits else self._now(query)

    async def _later(self, query: FeatureQuery) -> FeatureResult:
        self.events.append("begun")
        try:
            await asyncio.sleep(30 if not self.fails and "slow" in query.ids else 0)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        return self._now(query)

    def _now(self, query: FeatureQuery) -> FeatureResult:
        if self.fails:
            raise FeatureError("is down")
        missing = [id_ in self.lacks for id_ in query.ids]
        rows = [
            tuple(value(name, id_) for name in self.schema.names)
            for id_, lost in zip(query.ids, missing, strict=True)
            if not lost
        ]
        return FeatureResult(made(self.schema, rows, self.form), {"from": self.schema.names[0]}, missing)


def value(name: str, id_: str) -> float:
    return float(f"{name[1:]}.{id_}")


def made(schema: Schema, rows: list[tuple[float, ...]], form: str) -> Batch:
    if form == "rows":
        return Batch.from_rows(schema, rows)
    matrix = np.array(rows, np.float64).reshape(len(rows), len(schema))
    if form == "matrix":
        return Batch.from_matrix(schema, matrix)
    return Batch.from_columns(schema, [pa.array(column) for column in matrix.T], len(rows))


async def fetched(source: JoinedSource, ids: Sequence[str]) -> FeatureResult:
    found = source.fetch(FeatureQuery(list(ids)))
    return found if isinstance(found, FeatureResult) else await found


ids = st.lists(st.sampled_from("123456"), min_size=1, max_size=6)
shares = st.permutations(FLOATS.names).flatmap(
    lambda names: st.integers(1, 4).map(lambda cut: (tuple(names[:cut]), tuple(names[cut:])))
)
forms = st.tuples(*[st.sampled_from(["rows", "matrix", "columns"])] * 2)
lacking = st.tuples(*[st.frozensets(st.sampled_from("123456"), max_size=3)] * 2)


@given(ids, shares, forms, lacking, st.tuples(st.booleans(), st.booleans()))
def test_every_row_gets_its_own_columns(
    ids: list[str],
    shares: tuple[tuple[str, ...], ...],
    forms: tuple[str, ...],
    lacking: tuple[frozenset[str], ...],
    waits: tuple[bool, ...],
) -> None:
    parts = [Part(names, form, lacks=lacks) for names, form, lacks in zip(shares, forms, lacking, strict=True)]
    for part, part_waits in zip(parts, waits, strict=True):
        part.waits = part_waits
    result = asyncio.run(fetched(JoinedSource(FLOATS, parts), ids))
    lost = [id_ in lacking[0] | lacking[1] for id_ in ids]
    assert list(result.missing or [False] * len(ids)) == lost
    wanted = [[value(n, id_) for n in FLOATS.names] for id_, is_lost in zip(ids, lost, strict=True) if not is_lost]
    assert result.batch.schema is FLOATS
    assert result.batch.matrix().tolist() == wanted
    assert result.headers == {"from": shares[0][0]}

    defaults = dict.fromkeys(FLOATS.names, -1.0)
    filling = [PolicySource(part, DefaultValues(part.schema, defaults)) for part in parts]
    filled = asyncio.run(fetched(JoinedSource(FLOATS, filling), ids))
    gives = {name: part for part in parts for name in part.schema.names}
    assert filled.missing is None
    assert filled.batch.matrix().tolist() == [
        [-1.0 if id_ in gives[name].lacks else value(name, id_) for name in FLOATS.names] for id_ in ids
    ]


async def test_one_that_fails_cancels_the_others() -> None:
    slow, failing = Part(["c0"]), Part(["c1", "c2", "c3", "c4"])
    slow.waits = failing.waits = failing.fails = True
    async with asyncio.timeout(5):
        with pytest.raises(FeatureError, match="is down"):
            await fetched(JoinedSource(FLOATS, [slow, failing]), ["slow"])
    assert slow.events == ["begun", "cancelled"]
    failing.waits = False
    with pytest.raises(FeatureError, match="is down"):
        await fetched(JoinedSource(FLOATS, [failing, slow]), ["slow"])
    assert slow.events == ["begun", "cancelled"] * 2


async def test_a_caller_that_gives_up_cancels_all() -> None:
    parts = [Part(["c0"]), Part(["c1", "c2", "c3", "c4"])]
    for part in parts:
        part.waits = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await fetched(JoinedSource(FLOATS, parts), ["slow"])
    assert [part.events for part in parts] == [["begun", "cancelled"]] * 2


def test_all_are_opened_checked_and_closed() -> None:
    parts = [Part(["c0"]), Part(["c1", "c2", "c3", "c4"])]
    joined = JoinedSource(FLOATS, parts)
    joined.open()
    joined.check()
    joined.close()
    assert [part.events for part in parts] == [["open", "check", "close"]] * 2
    parts[1].fails = True
    with pytest.raises(FeatureError, match="will not open"):
        joined.open()
    assert parts[0].events[-2:] == ["open", "close"]


def test_rows_for_bulk_scoring_are_those_of_the_shortest() -> None:
    parts = [Part(["c0"]), Part(["c1"])]
    assert JoinedSource(FLOATS, parts).row_count == -1
    parts[1].row_count = 7
    assert JoinedSource(FLOATS, parts).row_count == 7
