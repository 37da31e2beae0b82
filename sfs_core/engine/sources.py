"""Where features come from, as the engine sees it: a feature source, or something in front of one or several."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from typing import Protocol

import numpy as np

from sfs_core.batch import Batch, Projector, Schema
from sfs_core.engine.missing import MissingPolicy
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult

__all__ = ["JoinedSource", "PolicySource", "Source", "SourceInFront"]


class Source(Protocol):
    """What a FeatureSource, too, offers to the engine; see there."""

    @property
    def schema(self) -> Schema:
        """The columns that it gives."""

    @property
    def row_count(self) -> int:
        """Rows that bulk scoring can draw from it; -1 for any number."""

    @property
    def keeps_nulls(self) -> bool:
        """Whether nulls in its batches are for the model."""

    @property
    def static(self) -> bool:
        """Whether an id always has the same row."""

    def known_ids(self) -> Collection[str]:
        """Ids whose rows never change and are there at once; empty where it cannot tell them."""

    def open(self) -> None:
        """Make it ready."""

    def close(self) -> None:
        """Release everything."""

    def check(self) -> None:
        """Raise what is wrong with it."""

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The checked rows."""


class SourceInFront:
    """What stands in front of a source, and is like it but for what it does itself."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.schema = source.schema
        self.check = source.check

    @property
    def row_count(self) -> int:
        """That of the source."""
        return self._source.row_count

    @property
    def keeps_nulls(self) -> bool:
        """Whether the source does."""
        return self._source.keeps_nulls

    @property
    def static(self) -> bool:
        """Whether the source is."""
        return self._source.static


class PolicySource(SourceInFront):
    """A source in front of which a policy for missing rows and values stands."""

    def __init__(self, source: Source, policy: MissingPolicy) -> None:
        super().__init__(source)
        self._policy = policy
        self.open, self.close, self.known_ids = source.open, source.close, source.known_ids

    @property
    def keeps_nulls(self) -> bool:
        """True: those that are left are for the model."""
        return True

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """What the source has, as the policy wants it."""
        result = self._source.fetch(query)
        if isinstance(result, FeatureResult):
            return self._policy(result, self._source.keeps_nulls)
        return self._fetch_later(result)

    async def _fetch_later(self, pending: Awaitable[FeatureResult]) -> FeatureResult:
        return self._policy(await pending, self._source.keeps_nulls)


class JoinedSource:
    """Several sources that each give some of the columns, asked at the same time.

    Args:
        schema: all columns.
        parts: the sources; together they give these columns, each one once.
    """

    def __init__(self, schema: Schema, parts: Sequence[Source]) -> None:
        self.schema = schema
        self.keeps_nulls = True
        self._parts = tuple(parts)
        self._side_by_side = Schema(
            field for part in parts for field in zip(part.schema.names, part.schema.types, strict=True)
        )
        self._project = Projector(schema)

    @property
    def row_count(self) -> int:
        """That of the shortest part which has one."""
        return min((part.row_count for part in self._parts if part.row_count >= 0), default=-1)

    @property
    def static(self) -> bool:
        """Whether all parts are."""
        return all(part.static for part in self._parts)

    def known_ids(self) -> Collection[str]:
        """Those of the first part, if all parts can tell theirs."""
        first, *others = [part.known_ids() for part in self._parts]
        return first if all(others) else ()

    def open(self) -> None:
        """Open all; one that cannot be closes the others."""
        try:
            for part in self._parts:
                part.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all, also when one of them fails at it."""
        failures = []
        for part in self._parts:
            try:
                part.close()
            except Exception as error:  # noqa: BLE001 - the others are to be closed, too
                failures.append(error)
        if failures:
            raise failures[0]

    def check(self) -> None:
        """Check all."""
        for part in self._parts:
            part.check()

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The rows that every part has; at once where all parts only touch memory."""
        answers = [_fetched(part, query) for part in self._parts]
        results = [answer for answer in answers if isinstance(answer, FeatureResult)]
        return self._joined(results) if len(results) == len(answers) else self._fetch_later(answers)

    async def _fetch_later(self, answers: Sequence[FeatureResult | Awaitable[FeatureResult]]) -> FeatureResult:
        pending = {
            i: asyncio.ensure_future(answer)
            for i, answer in enumerate(answers)
            if not isinstance(answer, FeatureResult)
        }
        try:
            found = dict(zip(pending, await asyncio.gather(*pending.values()), strict=True))
        except BaseException:
            for future in pending.values():
                future.cancel()
            await asyncio.gather(*pending.values(), return_exceptions=True)
            raise
        return self._joined(
            [answer if isinstance(answer, FeatureResult) else found[i] for i, answer in enumerate(answers)]
        )

    def _joined(self, results: Sequence[FeatureResult]) -> FeatureResult:
        headers: dict[str, str] = {}
        for result in results:
            for key, value in result.headers.items():
                headers.setdefault(key, value)
        missing = _missing_anywhere(results)
        batches = [result.batch if missing is None else _without(result, missing) for result in results]
        return FeatureResult(self._project(_side_by_side(self._side_by_side, batches)), headers, missing)


def _fetched(part: Source, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
    """What the part says; an error of one that only touches memory comes later, as those of the others do."""
    try:
        return part.fetch(query)
    except Exception as error:  # noqa: BLE001 - it is raised when the others can be told to stop
        return _failed(error)


async def _failed(error: Exception) -> FeatureResult:
    raise error


def _missing_anywhere(results: Sequence[FeatureResult]) -> Sequence[bool] | None:
    marks = [result.missing for result in results if result.missing is not None]
    return list(map(any, zip(*marks, strict=True))) if marks else None


def _without(result: FeatureResult, missing: Sequence[bool]) -> Batch:
    """A part's batch, without rows that are missing anywhere."""
    there = [not is_missing for is_missing in result.missing] if result.missing is not None else [True] * len(missing)
    left = [not is_missing for is_missing, is_there in zip(missing, there, strict=True) if is_there]
    return result.batch.take([row for row, stays in enumerate(left) if stays])


def _side_by_side(schema: Schema, batches: Sequence[Batch]) -> Batch:
    """Batches of the same rows as one, in the form that they have."""
    rows = batches[0].num_rows
    forms = {batch.form for batch in batches}
    if forms == {"rows"}:
        joined = [sum(parts, ()) for parts in zip(*(batch.rows() for batch in batches), strict=True)]
        return Batch(schema, rows, rows=joined)
    if forms == {"matrix"}:
        return Batch(schema, rows, matrix=np.hstack([batch.matrix() for batch in batches]))
    columns = [batch.column(i) for batch in batches for i in range(len(batch.schema))]
    return Batch.from_columns(schema, columns, rows)
