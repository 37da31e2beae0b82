"""Whole predictions: every execution of the graph, at the parties it is meant for, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import or_
from typing import Protocol

import pyarrow as pa

from sfs_core.batch import Batch, Schema
from sfs_core.block import PartyBlocks, TableBlock
from sfs_core.codec.entries import crossing
from sfs_core.codec.execution import ExecuteCall, ExecuteReply
from sfs_core.codec.features import feature_rows
from sfs_core.codec.prediction import PredictReply, PredictRequest
from sfs_core.engine.executor import Executor
from sfs_core.errors import ErrorCode, GraphError, PeerError, PeerModelError, RequestError, SfsError
from sfs_core.model.graph import Dispatch, Graph
from sfs_core.observe.trace_context import ensure_trace

__all__ = ["Peer", "Predictor", "Round", "Tables"]

Tables = Mapping[str, Sequence[Batch]]
"""By node, one table per party that ran it."""


class Peer(Protocol):
    """Another party, as the engine sees it."""

    def execute(self, call: ExecuteCall, timeout: float) -> Awaitable[ExecuteReply]:
        """Have the party run one execution; starts at once, raises PeerError within `timeout` seconds."""


@dataclass(frozen=True, slots=True)
class Round:
    """One execution: this party's part, if any, and the peers asked, in ascending order.

    `outside` says of each table that it needs of which execution it is; `whole` is that execution, if it is one and the
    same and has no other tables.
    """

    index: int
    local: bool
    peers: tuple[tuple[str, Peer], ...]
    outside: tuple[tuple[str, int], ...]
    whole: int | None
    outputs: frozenset[str]


class Predictor:
    """Answers prediction requests that arrive at this party.

    Args:
        party: this party.
        graph: the model's graph.
        executor: this party's part.
        peers: the other parties by id.
        specified: per execution dispatched to a specified party, that party.
        timeout: seconds that a peer may take for one execution.
        max_rows: requests with more rows are refused.
        per_row_parties: the parties that may leave rows out of what they answer, this one included.
        models: ids of the other parties' models that calls are bound to; parties that told of none are left out.
        renew: gives what to use instead when a party has its model no more; asked in the midst of a request.
        entries: names of header entries of parties' answers that callers are told; None for all.
    """

    def __init__(
        self,
        party: str,
        graph: Graph,
        executor: Executor,
        peers: Mapping[str, Peer],
        specified: Mapping[int, str],
        *,
        timeout: float,
        max_rows: int,
        per_row_parties: Collection[str] = (),
        models: Mapping[str, str] | None = None,
        renew: Callable[[PeerModelError], asyncio.Future[Predictor]] | None = None,
        entries: frozenset[str] | None = None,
    ) -> None:
        self.party = party
        self.parties = sorted([party, *peers])
        self._executor = executor
        self._peers = peers
        self._timeout = timeout
        self._max_rows = max_rows
        self._per_row_parties = frozenset(per_row_parties)
        self._models = models or {}
        self._renew = renew
        self._entries = entries
        self._rounds = [self._round(graph, e.index, e.dispatch, specified) for e in graph.executions]

    def _round(self, graph: Graph, index: int, dispatch: Dispatch, specified: Mapping[int, str]) -> Round:
        others = sorted(self._peers)
        if dispatch is Dispatch.ALL:
            chosen = [self.party, *others]
        elif dispatch is Dispatch.SPECIFIED:
            chosen = [specified[index]]
        elif dispatch is Dispatch.PEER:
            if len(others) != 1:
                raise GraphError(
                    f"execution {index} runs at 'the peer', which needs two parties, not {len(others) + 1}"
                )
            chosen = others
        elif dispatch in (Dispatch.ANYONE, Dispatch.SELF):
            chosen = [self.party]
        else:
            raise GraphError(f"execution {index} has no dispatch type")
        plan = self._executor.plans[index]
        asked = tuple((name, self._peers[name]) for name in chosen if name != self.party)
        earlier = self._executor.plans[:index]
        outside = tuple((name, made.index) for made in earlier for name in made.outputs if name in plan.outside)
        whole = next((made.index for made in earlier if set(made.outputs) == set(plan.outside)), None)
        return Round(index, self.party in chosen, asked, outside, whole, frozenset(plan.outputs))

    async def predict(self, request: PredictRequest, deadline: float = inf) -> PredictReply:
        """The scores for a request, of those rows that every party has features for.

        The request's header map gets a trace if it has none, which all parties are told.

        Args:
            request: what is asked.
            deadline: loop time; peers and sources get no more than what is left until then.

        Raises:
            RequestError: parameters are missing, empty or of unequal length (code 3).
            PeerError: a party failed or did not answer (code 4).
            SfsError: anything else that went wrong at this party.
        """
        try:
            return await self._predict(request, deadline)
        except PeerModelError as error:
            if self._renew is None:
                raise
            renewed = await self._renew(error)
        return await renewed._predict(request, deadline)

    async def _predict(self, request: PredictRequest, deadline: float) -> PredictReply:
        rows = self.rows_of(request)
        ensure_trace(request.headers)
        made: list[Tables] = []
        headers: dict[str, str] = {}
        missing: Sequence[bool] | None = None
        for round_ in self._rounds:
            timeout = self._timeout
            if deadline != inf:
                timeout = min(timeout, deadline - asyncio.get_running_loop().time())
                if timeout <= 0:
                    raise SfsError(f"the request's time limit passed before execution {round_.index} was begun")
            replies = await self._run(round_, request, _needed(round_, made), timeout, deadline)
            for reply in replies:
                if reply.headers:
                    headers = crossing(reply.headers, self._entries) | headers
                if reply.missing is not None:
                    missing = reply.missing if missing is None else list(map(or_, missing, reply.missing))
            if missing is not None and not round_.index:
                if all(missing):
                    nothing = self.score_schema
                    return PredictReply(request.service, Batch.from_rows(nothing, []), headers=headers, missing=missing)
                replies = _without(replies, missing)
            made.append(_by_node(round_, replies))
        scores = _scores(made[-1], self._rounds[-1], rows, missing)
        return PredictReply(request.service, scores, headers=headers, missing=missing)

    @property
    def score_schema(self) -> Schema:
        """Names of the scores, as float64 columns."""
        (exit_node,) = self._rounds[-1].outputs
        return _as_float64(self._executor.operators[exit_node].output_schema())

    def rows_of(self, request: PredictRequest) -> int:
        """How many rows a request asks for.

        Raises:
            RequestError: parties without ids, unequal numbers of rows, or too many.
        """
        params = request.fs_params
        counts = [len(params[party].query_datas) if party in params else 0 for party in self.parties]
        if request.predefined_features:
            counts[self.parties.index(self.party)] = feature_rows(request.predefined_features)
        rows = counts[0]
        if not rows or counts.count(rows) != len(counts):
            raise _unequal_rows(dict(zip(self.parties, counts, strict=True)))
        if rows > self._max_rows:
            raise RequestError(f"{rows} rows asked for, at most {self._max_rows} are served", where="fs_params")
        return rows

    # ------------------------------------------------------------------- one round
    async def _run(
        self, round_: Round, request: PredictRequest, tables: Tables, timeout: float, deadline: float
    ) -> Sequence[ExecuteReply]:
        # Peers first: they compute while this party does its own part.
        pending = [
            asyncio.ensure_future(peer.execute(self._call(round_, name, request, tables), timeout))
            for name, peer in round_.peers
        ]
        try:
            replies = []
            if round_.local:
                call = self._call(round_, self.party, request, tables)
                call.deadline = deadline
                own = self._executor.execute(call)
                replies.append(own if isinstance(own, ExecuteReply) else await asyncio.ensure_future(own))
            for (name, _), future in zip(round_.peers, pending, strict=True):
                replies.append(_checked_reply(round_, name, await future))
            return replies
        except BaseException:
            await _abandon(pending)
            raise

    def _call(self, round_: Round, party: str, request: PredictRequest, tables: Tables) -> ExecuteCall:
        call = ExecuteCall(request.service, self.party, round_.index, request.headers)
        call.model = self._models.get(party, "")
        if round_.index:
            call.inputs = tables
        elif party == self.party and request.predefined_features:
            call.predefined = request.predefined_features
        else:
            param = request.fs_params[party]
            call.ids, call.context = param.query_datas, param.query_context
            call.per_row = party in self._per_row_parties
        return call


def _unequal_rows(counts: Mapping[str, int]) -> RequestError:
    empty = [party for party, count in counts.items() if not count]
    if empty:
        return RequestError(
            f"no query datas for {', '.join(empty)}", where="fs_params", hint="give every party the same rows"
        )
    listed = ", ".join(f"{party} {count}" for party, count in counts.items())
    return RequestError(f"the parties' query datas differ in length: {listed}", where="fs_params")


def _checked_reply(round_: Round, party: str, reply: ExecuteReply) -> ExecuteReply:
    if reply.outputs.keys() >= round_.outputs or (reply.missing is not None and all(reply.missing)):
        return reply
    missing = min(round_.outputs - reply.outputs.keys())
    raise PeerError(f"execution {round_.index}: the answer lacks node {missing!r}", party=party)


def _needed(round_: Round, made: Sequence[Tables]) -> Tables:
    """The tables that an execution needs of those made by earlier ones."""
    if round_.whole is not None:
        return made[round_.whole]
    return {name: made[index][name] for name, index in round_.outside}


def _by_node(round_: Round, replies: Sequence[ExecuteReply]) -> Tables:
    """Each output's tables, one per party that ran the execution; as blocks where all parties' are."""
    blocks = PartyBlocks.of([reply.outputs for reply in replies])
    if blocks is not None and len(blocks) == len(round_.outputs):
        return blocks
    return {name: [reply.outputs[name] for reply in replies] for name in round_.outputs}


async def _abandon(pending: Sequence[asyncio.Future[ExecuteReply]]) -> None:
    await asyncio.sleep(0)  # a coroutine that never began could not tell its peer to stop
    for future in pending:
        future.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def _without(replies: Sequence[ExecuteReply], missing: Sequence[bool]) -> Sequence[ExecuteReply]:
    """The replies without the rows that are missing anywhere, so that later executions tell nobody whose they are.

    Tables that hold something else than a row per row asked for (encrypted ones) stay as they are.
    """
    if any(rows != len(missing) for reply in replies for rows in _numbers_of_rows(reply.outputs)):
        return replies
    left = _left(missing)
    return [ExecuteReply(_taken(reply.outputs, left)) for reply in replies]


def _numbers_of_rows(outputs: Mapping[str, Batch]) -> list[int]:
    if type(outputs) is TableBlock:
        return [outputs.num_rows]
    return [table.num_rows for table in outputs.values()]


def _taken(outputs: Mapping[str, Batch], rows: Sequence[int]) -> Mapping[str, Batch]:
    if type(outputs) is TableBlock:
        return outputs.take(rows)
    return {name: table.take(rows) for name, table in outputs.items()}


def _left(missing: Sequence[bool]) -> list[int]:
    return [row for row, is_missing in enumerate(missing) if not is_missing]


def _as_float64(schema: Schema) -> Schema:
    return schema if schema.all_float64 else Schema((name, pa.float64()) for name in schema.names)


def _scores(made: Tables, last: Round, rows: int, missing: Sequence[bool] | None = None) -> Batch:
    """The exit node's table as float64 columns without nulls, without missing rows."""
    (exit_node,) = last.outputs
    (scores,) = made[exit_node]
    if missing is not None:
        left = _left(missing)
        scores = scores.take(left) if scores.num_rows == rows else scores
        rows = len(left)
    if scores.num_rows != rows:
        raise GraphError(f"{scores.num_rows} scores for {rows} rows", node=exit_node)
    schema = scores.schema
    if schema.all_float64 and scores.form != "columns":
        return scores
    try:
        matrix = scores.matrix()
    except SfsError as error:
        raise SfsError(error.message, code=ErrorCode.UNEXPECTED_ERROR, node=exit_node) from None
    return Batch(_as_float64(schema), rows, matrix=matrix)
