"""Several feature sources, joined by row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from math import inf

import numpy as np

from sfs_core.batch import Batch, Projector, Schema
from sfs_core.engine.sources import Source, source_failed, too_late
from sfs_core.errors import ErrorCode, FeatureError
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult

__all__ = ["JoinedSource"]


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

    def validate(self) -> None:
        """Validate all."""
        for part in self._parts:
            part.validate()

    def open(self) -> None:
        """Open all; one that cannot be closes the others."""
        try:
            for part in self._parts:
                part.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all; parts that fail at it say so in the log and raise nothing, see `PlacedSource`."""
        for part in self._parts:
            part.close()

    def check(self) -> None:
        """Check all."""
        for part in self._parts:
            part.check()

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The rows that every part has; at once where all parts only touch memory.

        Raises:
            FeatureError: a part failed, or is not there in time (102); the detail tells which.
        """
        answers = [_fetched(part, query) for part in self._parts]
        results = [answer for answer in answers if isinstance(answer, FeatureResult)]
        if len(results) == len(answers):
            return self._joined(results)
        return self._fetch_later(answers, query.deadline)

    async def _fetch_later(
        self, answers: Sequence[FeatureResult | Awaitable[FeatureResult]], deadline: float
    ) -> FeatureResult:
        pending = {
            i: asyncio.ensure_future(answer)
            for i, answer in enumerate(answers)
            if not isinstance(answer, FeatureResult)
        }
        left = None if deadline == inf else max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            await asyncio.wait(pending.values(), timeout=left, return_when=asyncio.FIRST_EXCEPTION)
            for i, future in pending.items():
                if future.done() and (error := _failure(future)) is not None:
                    raise source_failed(error, self._parts[i])
            if late := [self._parts[i] for i, future in pending.items() if not future.done()]:
                raise too_late(late)
        finally:
            if unfinished := [future for future in pending.values() if future.cancel()]:
                await asyncio.wait(unfinished)
        return self._joined(
            [answer if isinstance(answer, FeatureResult) else pending[i].result() for i, answer in enumerate(answers)]
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


def _failure(future: asyncio.Future[FeatureResult]) -> Exception | None:
    """What came instead of rows; a part that is cancelled by its own doing has failed, too."""
    error = asyncio.CancelledError() if future.cancelled() else future.exception()
    if error is None or isinstance(error, Exception):
        return error
    if isinstance(error, asyncio.CancelledError):
        return FeatureError("the feature source gave up", code=ErrorCode.FS_INTERNAL_ERROR)
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
