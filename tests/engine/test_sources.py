"""Several sources joined by row: whatever form and order their columns have, and whatever one of them does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    PluginError,
    Schema,
)
from sfs_core.engine.features import FeatureLookup
from sfs_core.engine.joined import JoinedSource
from sfs_core.engine.missing import DefaultValues
from sfs_core.engine.sources import PlacedSource, PolicySource

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
        self.error: BaseException = FeatureError("is down")
        self.meets: asyncio.Barrier | None = None
        self.events: list[str] = []

    def open(self) -> None:
        self.events.append("open")
        if self.fails:
            raise self.error

    def close(self) -> None:
        self.events.append("close")
        if self.fails:
            raise self.error

    def check(self) -> None:
        self.events.append("check")
        if self.fails:
            raise self.error

    def fetch_rows(self, query: FeatureQuery) -> Any:
        return self._later(query) if self.waits else self._now(query)

    async def _later(self, query: FeatureQuery) -> FeatureResult:
        self.events.append("begun")
        if self.meets is not None:
            await self.meets.wait()
        try:
            await asyncio.sleep(30 if not self.fails and "slow" in query.ids else 0)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        return self._now(query)

    def _now(self, query: FeatureQuery) -> FeatureResult:
        if self.fails:
            raise self.error
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


async def fetched(
    source: JoinedSource | FeatureLookup | Part, ids: Sequence[str], deadline: float = inf
) -> FeatureResult:
    found = source.fetch(FeatureQuery(list(ids), deadline=deadline))
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
    async with asyncio.timeout(60):
        with pytest.raises(FeatureError, match="is down"):
            await fetched(JoinedSource(FLOATS, [slow, failing]), ["slow"])
    assert slow.events == ["begun", "cancelled"]
    failing.waits = False
    with pytest.raises(FeatureError, match="is down"):
        await fetched(JoinedSource(FLOATS, [failing, slow]), ["slow"])
    assert slow.events == ["begun", "cancelled"] * 2


def placed(*parts: Part) -> FeatureLookup:
    """A look-up in parts that stand in a config, at lines of their own."""
    sources = [
        PlacedSource(part, f"alice.yaml:{line} features.sources[{line}].source") for line, part in enumerate(parts)
    ]
    schema = Schema((name, pa.float64()) for part in parts for name in part.schema.names)
    return FeatureLookup(schema, {}, JoinedSource(schema, sources) if len(parts) > 1 else sources[0])


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("fails", [0, 1])
async def test_the_log_of_the_party_tells_which_source_failed(waits: bool, fails: int) -> None:
    parts = [Part(["c0"]), Part(["c1"])]
    parts[fails].fails, parts[fails].waits = True, waits
    for lookup, line in ((placed(*parts), fails), (placed(parts[fails]), 0)):
        for error in (FeatureError("is down", where="file:3"), KeyError("a secret")):
            parts[fails].error = error
            for _ in range(2):
                with pytest.raises(FeatureError) as caught:
                    await fetched(lookup, ["1"])
                assert f"alice.yaml:{line} features.sources[{line}].source" in caught.value.detail
                assert caught.value.detail.count("alice.yaml") == 1
                assert "secret" not in caught.value.detail
                assert caught.value.public_text() in ("is down", "the feature source failed (KeyError)")


async def test_the_log_of_the_party_tells_which_sources_are_late() -> None:
    parts = [Part(["c0"]), Part(["c1"], lacks=frozenset(["slow"])), Part(["c2"])]
    parts[0].waits = parts[2].waits = True
    for lookup, lines in ((placed(*parts), [0, 2]), (placed(parts[0]), [0])):
        with pytest.raises(FeatureError, match="were not there before the request's time limit passed") as caught:
            await fetched(lookup, ["slow"], asyncio.get_running_loop().time() + 0.01)
        assert caught.value.code == ErrorCode.FS_DEADLINE_EXCEEDED
        assert caught.value.detail == ", ".join(f"alice.yaml:{n} features.sources[{n}].source" for n in lines)
    assert parts[0].events == ["begun", "cancelled"] * 2
    assert parts[2].events == ["begun", "cancelled"]


async def test_a_part_that_gives_up_by_itself_is_an_error() -> None:
    parts = [Part(["c0"]), Part(["c1"])]
    parts[0].waits = parts[0].fails = True
    parts[0].error = asyncio.CancelledError()
    with pytest.raises(FeatureError, match="gave up") as caught:
        await fetched(placed(*parts), ["1"])
    assert "alice.yaml:0" in caught.value.detail


def test_errors_at_the_start_and_of_checks_say_which_source_it_is() -> None:
    source = PlacedSource(part := Part(["c0"]), "alice.yaml:7 features.source")
    part.fails = True
    part.error = FeatureError("is down", where="file:3")
    with pytest.raises(FeatureError, match=r"^alice.yaml:7 features.source, file:3: is down"):
        source.open()
    for part.error in (KeyError("a secret"), SystemExit("a secret")):
        for action in (source.open, source.check):
            with pytest.raises(ConfigError, match="the feature source failed") as caught:
                action()
            assert str(caught.value).startswith("alice.yaml:7 features.source: ")
            assert f"({type(part.error).__name__})" in str(caught.value)
            assert "a secret" not in str(caught.value)


def test_a_source_that_fails_to_close_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    source = PlacedSource(part := Part(["c0"]), "alice.yaml:7 features.source")
    part.fails = True
    part.error = RuntimeError("a secret")
    source.close()
    assert part.events == ["close"]
    assert caplog.messages == ["alice.yaml:7 features.source: the feature source failed to close (RuntimeError)"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
async def test_a_source_that_would_end_the_process_only_fails(waits: bool, error: BaseException) -> None:
    source = Part(["c0"])
    source.waits, source.fails, source.error = waits, True, error
    with pytest.raises(PluginError, match="fetch_rows tried to end the process"):
        await fetched(source, ["1"])


async def test_parts_are_under_way_at_the_same_time() -> None:
    parts = [Part(["c0"]), Part(["c1"])]
    both = asyncio.Barrier(2)
    for part in parts:
        part.waits, part.meets = True, both
    async with asyncio.timeout(60):
        schema = Schema([("c0", pa.float64()), ("c1", pa.float64())])
        assert (await fetched(JoinedSource(schema, parts), ["1"])).batch.num_rows == 1


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
    with pytest.raises(FeatureError, match="is down"):
        joined.open()
    assert parts[0].events[-2:] == ["open", "close"]


def test_rows_for_bulk_scoring_are_those_of_the_shortest() -> None:
    parts = [Part(["c0"]), Part(["c1"])]
    assert JoinedSource(FLOATS, parts).row_count == -1
    parts[1].row_count = 7
    assert JoinedSource(FLOATS, parts).row_count == 7
