"""Joins requests that arrive while the parties are busy into one round of calls.

No timer is involved: what arrives in the same turn of the event loop, or while as many rounds are under way as the
link's round-trip time calls for, forms the next round. Where the round before was a joined one, the next waits for
company as long as each further turn of the loop brings some, since a round costs about the same however many share it
and callers that were answered together ask together. Only requests that differ in nothing but their ids are joined.
A joined round asks for every distinct row once; a round that fails because of what was asked is done again request by
request, so that nobody gets another caller's error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from time import perf_counter
from typing import Any, Final

from sfs_core.batch import Batch
from sfs_core.codec.prediction import FeatureParam, PredictReply, PredictRequest
from sfs_core.engine.coroutines import TasklessRun
from sfs_core.engine.predictor import Predictor
from sfs_core.errors import BusyError, PeerAnswerError, PeerError, SfsError
from sfs_core.observe.trace_context import TRACE_HEADERS

__all__ = ["Batcher", "Outcome"]

LARGE_ROWS: Final = 256
"""A request with more rows is a round of its own, so that small ones do not wait for it."""
MOST_ROUNDS: Final = 16
SECONDS_PER_ROUND: Final = 0.002
"""One more round may be under way for every so much of round-trip time."""
FORGET_SECONDS: Final = 10.0
"""The shortest round trip is measured anew after so long."""
MOST_TURNS: Final = 2
"""A round waits at most so many turns of the event loop for company: in more, requests that keep coming pile up."""
ENOUGH_ROWS: Final = 64
"""A round with so many rows costs more by these than by being one."""

Outcome = PredictReply | BaseException
Deliver = Callable[[Outcome], None]
FEW_ROWS: Final = 4
"""Scores of up to so many rows per request are scattered as plain Python values, of more as arrays."""


@dataclass(slots=True)
class _Waiting:
    """A request that waits for its round: its rows, what it must share with others to be joined, and who wants it."""

    request: PredictRequest
    count: int
    key: Any
    deliver: Deliver
    deadline: float
    round: _Round | None = None
    gone: bool = False

    def give_up(self) -> None:
        """Nobody waits any longer."""
        if not self.gone:
            self.gone = True
            if self.round is not None:
                self.round.give_up()


class _Round:
    """A round that is under way, or about to be: how many wait for it, without references to them."""

    __slots__ = ("run", "wanted")

    def __init__(self, group: Sequence[_Waiting]) -> None:
        self.wanted = len(group)
        self.run: TasklessRun | None = None
        for waiting in group:
            waiting.round = self

    def give_up(self) -> None:
        """One waits no longer; stop if that was the last."""
        self.wanted -= 1
        if not self.wanted and self.run is not None:
            self.run.cancel()


class Batcher:
    """Collects requests to one service and runs them in rounds.

    Args:
        predictor: runs a round.
        max_rows: most rows of a joined round; a single request may have more.
        join: False runs every request as it comes and as it is.
        max_waiting_rows: most rows of requests that wait for a round.
        observe_round: told how many requests share a round, and `time.perf_counter()`, as each begins.

    Attributes:
        waiting_rows: rows of requests that wait for a round now.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        max_rows: int,
        join: bool = True,
        max_waiting_rows: float = inf,
        observe_round: Callable[[float, float], None] | None = None,
    ) -> None:
        self._predictor = predictor
        self._join = join
        self._max_rows = max_rows
        self._max_waiting_rows = max_waiting_rows
        self.waiting_rows = 0
        self._observe_round = observe_round
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._under_way = 0
        self._most_under_way = 2
        self._shortest = float("inf")
        self._measured = 0.0
        self._scheduled = False
        self._last_joined = False
        self._turns = 0
        self._seen = 0

    def submit(
        self,
        request: PredictRequest,
        deliver: Deliver,
        deadline: float = inf,
    ) -> Callable[[], None]:
        """Have a request answered; `deliver` gets the reply, or the error it would have got alone.

        Args:
            request: what is asked.
            deliver: called once, unless the caller gave up.
            deadline: loop time at which the answer is of no use any more.

        Returns:
            What is to be called when the caller has gone: no round is begun for it then, and one that is under way for
            nobody else is cancelled.

        Raises:
            RequestError: the request's rows are missing, unequal or too many.
            BusyError: too many rows wait already.
        """
        count = self._predictor.rows_of(request)
        if not self._join:
            waiting = _Waiting(request, count, None, deliver, deadline)
            self._start_alone(waiting)
            return waiting.give_up
        if self._queue and self.waiting_rows + count > self._max_waiting_rows:
            raise BusyError("too many rows are waiting")
        self.waiting_rows += count
        waiting = _Waiting(request, count, _key(request, count), deliver, deadline)
        self._queue.append(waiting)
        self._start_soon()
        return waiting.give_up

    # --------------------------------------------------------------------- rounds
    def _start_soon(self) -> None:
        if not self._scheduled and self._under_way < self._most_under_way:
            self._scheduled = True
            self._loop.call_soon(self._start_rounds)

    def _start_rounds(self) -> None:
        if self._gains_company():
            self._loop.call_soon(self._start_rounds)
            return
        self._scheduled = False
        while self._under_way < self._most_under_way and (first := self._next_wanted()) is not None:
            self._under_way += 1
            group = self._group_of(first)
            self._last_joined = len(group) > 1
            round_ = _Round(group)
            round_.run = TasklessRun(self._round(group))

    def _gains_company(self) -> bool:
        """Whether to wait another turn of the loop, since the last one brought requests to be joined."""
        waiting = len(self._queue)
        gains = self._last_joined and waiting > self._seen and self._turns < MOST_TURNS
        gains = gains and self.waiting_rows < min(ENOUGH_ROWS, self._max_rows)
        self._turns, self._seen = (self._turns + 1, waiting) if gains else (0, 0)
        return gains

    def _next_wanted(self) -> _Waiting | None:
        """The first in the queue that somebody still waits for."""
        while self._queue:
            waiting = self._queue.popleft()
            self.waiting_rows -= waiting.count
            if waiting.gone:
                continue
            if waiting.deadline == inf or waiting.deadline > self._loop.time():
                return waiting
            waiting.deliver(SfsError("the request's time limit passed before its turn came"))
        return None

    def _group_of(self, first: _Waiting) -> list[_Waiting]:
        """A request, and those in the queue that may be joined with it; the others keep their order."""
        group, rows, others = [first], first.count, []
        if first.key is not None:
            while rows < self._max_rows and (waiting := self._next_wanted()) is not None:
                if waiting.key == first.key and rows + waiting.count <= self._max_rows:
                    group.append(waiting)
                    rows += waiting.count
                else:
                    others.append(waiting)
            self._queue.extendleft(reversed(others))
            self.waiting_rows += sum(waiting.count for waiting in others)
        return group

    async def _round(self, group: Sequence[_Waiting]) -> None:
        begin = perf_counter()
        if self._observe_round is not None:
            self._observe_round(len(group), begin)
        try:
            answered = await self._run(group)
            self._measure(begin)
        finally:
            self._under_way -= 1
            if self._queue:
                self._start_soon()
        if not answered:
            for waiting in group:
                if not waiting.gone:
                    self._start_alone(waiting)

    async def _run(self, group: Sequence[_Waiting]) -> bool:
        """Run and deliver a round; False if it is to be done again request by request."""
        if len(group) == 1 and group[0].count == 1:
            await self._alone(group[0])
            return True
        first = group[0].request
        if first.predefined_features:
            await self._alone(group[0])
            return True
        columns, places = _distinct_rows([waiting.request for waiting in group], self._predictor.parties)
        if len(group) == 1 and places is None:
            await self._alone(group[0])
            return True
        try:
            deadline = max(waiting.deadline for waiting in group)
            reply = await self._predictor.predict(_joined(first, self._predictor.parties, columns), deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers
            if len(group) > 1 and _may_be_one_request_s(error):
                return False
            for waiting in group:
                waiting.deliver(error)
            return True
        scatter = _scatter if reply.missing is None else _scatter_partly
        scatter(group, reply, places)
        return True

    def _start_alone(self, waiting: _Waiting) -> None:
        round_ = _Round([waiting])
        round_.run = TasklessRun(self._alone(waiting))

    async def _alone(self, waiting: _Waiting) -> None:
        try:
            outcome: Outcome = await self._predictor.predict(waiting.request, waiting.deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller
            outcome = error
        waiting.deliver(outcome)

    def _measure(self, begin: float) -> None:
        """Follow the link: while answers take long, more rounds may be under way."""
        now = perf_counter()
        if now - begin < self._shortest or now - self._measured > FORGET_SECONDS:
            self._shortest, self._measured = now - begin, now
            self._most_under_way = min(MOST_ROUNDS, 2 + int(self._shortest / SECONDS_PER_ROUND))


def _key(request: PredictRequest, count: int) -> Any:
    """What requests must have in common to be joined; None for one that stays alone."""
    if count > LARGE_ROWS or request.predefined_features:
        return None
    contexts = [(party, param.query_context) for party, param in request.fs_params.items() if param.query_context]
    headers = request.headers
    if headers:
        headers = {name: value for name, value in headers.items() if name.lower() not in TRACE_HEADERS}
    return headers, sorted(contexts) if contexts else contexts


def _distinct_rows(
    requests: Sequence[PredictRequest], parties: Sequence[str]
) -> tuple[Sequence[list[str]], list[int] | None]:
    """The rows of requests, each one once.

    Returns:
        Each party's query datas of the distinct rows, and where among these the requests' rows stand, one request's
        after the other's; None for the latter where no row repeats.
    """
    columns = [
        list(chain.from_iterable([request.fs_params[party].query_datas for request in requests])) for party in parties
    ]
    alike = all(column == columns[0] for column in columns[1:])
    rows: Sequence[Any] = columns[0] if alike else list(zip(*columns, strict=True))
    distinct = dict.fromkeys(rows)
    if len(distinct) == len(rows):
        return columns, None
    places = dict(zip(distinct, range(len(distinct)), strict=True))
    once = [list(distinct)] * len(parties) if alike else list(map(list, zip(*distinct, strict=True)))
    return once, [places[row] for row in rows]


def _joined(model: PredictRequest, parties: Sequence[str], columns: Sequence[list[str]]) -> PredictRequest:
    """A request like `model` for other rows."""
    params = {
        party: FeatureParam(column, model.fs_params[party].query_context)
        for party, column in zip(parties, columns, strict=True)
    }
    joined = PredictRequest.of(model.service, params)
    joined.header = model.header
    return joined


def _may_be_one_request_s(error: Exception) -> bool:
    """Whether the others of a round might be spared an error: not when the peer could not be reached at all."""
    return not isinstance(error, PeerError) or isinstance(error, PeerAnswerError)


def _scatter(group: Sequence[_Waiting], reply: PredictReply, places: Sequence[int] | None) -> None:
    scores = reply.scores
    assert scores is not None
    if places is not None:
        scores = scores.take(places)
    if scores.num_rows <= FEW_ROWS * len(group):
        scores.rows()
    start = 0
    for waiting in group:
        end = start + waiting.count
        own = scores.part(start, end)
        waiting.deliver(PredictReply(reply.service, own, headers=reply.headers, steps=reply.steps))
        start = end


def _scatter_partly(group: Sequence[_Waiting], reply: PredictReply, places: Sequence[int] | None) -> None:
    """As `_scatter`, where rows are missing: each caller is told of those that it asked for."""
    scores, missing = reply.scores, reply.missing
    assert scores is not None
    assert missing is not None
    places = range(len(missing)) if places is None else places
    scored = dict(
        zip((place for place, is_missing in enumerate(missing) if not is_missing), scores.rows(), strict=True)
    )
    start = 0
    for waiting in group:
        own_places = places[start : start + waiting.count]
        rows = [scored[place] for place in own_places if place in scored]
        own_missing = [missing[place] for place in own_places] if len(rows) < waiting.count else None
        own = Batch(scores.schema, len(rows), rows=rows)
        waiting.deliver(PredictReply(reply.service, own, headers=reply.headers, missing=own_missing, steps=reply.steps))
        start += waiting.count
