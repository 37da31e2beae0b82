"""What a model's executions do, step by step, and what each step costs when all parties are at hand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, field
from functools import partial

from sfs_core.codec.execution import (
    ExecuteCall,
    ExecuteReply,
    call_from_message,
    call_to_message,
    reply_from_message,
    reply_to_message,
)
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.config.loaded import LoadedConfig, LoadedService
from sfs_core.engine.executor import Executor
from sfs_core.engine.features import FeatureLookup
from sfs_core.engine.plan import Plan
from sfs_core.engine.predictor import Predictor
from sfs_core.model.consistency import check_consistency, specified_parties
from sfs_core.model.validation import CheckedGraph
from sfs_core.proto import apis_pb2
from sfs_core.sdk.feature_source import FeatureResult
from sfs_core.server.keys import cluster_of, prepare_operators
from sfs_core.server.loading import check_model, open_model
from sfs_core.server.served import ServedModel

__all__ = ["ExplainedExecution", "ExplainedStep", "Measured", "explain_graph", "measure"]

_ROUNDS = 30
_SECONDS = 30.0


@dataclass(frozen=True)
class ExplainedStep:
    """One call of an operator.

    Args:
        nodes: the graph's nodes that it computes; several where they are fused.
        operators: their operators, each with how many nodes it has.
        parents: nodes of other steps whose tables it takes; empty for features.
    """

    nodes: tuple[str, ...]
    operators: Mapping[str, int]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class ExplainedExecution:
    """One execution as a party runs it.

    Args:
        index: its place in the graph.
        dispatch: who runs it, by the graph's name for that.
        heavy: whether it runs beside the event loop, in a thread.
        inputs: nodes of earlier executions whose tables it is given.
        outputs: nodes whose tables it returns.
        steps: in the order in which they run.
    """

    index: int
    dispatch: str
    heavy: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[ExplainedStep, ...]


def explain_graph(checked: CheckedGraph) -> tuple[ExplainedExecution, ...]:
    """The compiled plans of a party's graph."""
    explained = []
    for execution in checked.executions:
        plan = Plan(execution, checked.operators)
        steps = tuple(_step(nodes, checked) for nodes in plan.steps)
        name = execution.execution.dispatch.wire_name
        explained.append(ExplainedExecution(plan.index, name, plan.heavy, plan.outside, plan.outputs, steps))
    return tuple(explained)


def _step(nodes: tuple[str, ...], checked: CheckedGraph) -> ExplainedStep:
    specs = [checked.graph.nodes[name] for name in nodes]
    parents = dict.fromkeys(parent for spec in specs for parent in spec.parents if parent not in nodes)
    return ExplainedStep(nodes, Counter(spec.op for spec in specs), tuple(parents))


@dataclass
class Measured:
    """What requests cost: the least of several runs for times, each run's for the others.

    Attributes:
        requester: the party that was asked.
        rows: of a request.
        step_us: microseconds by party, execution and first node of a step.
        fetch_us: microseconds of the feature look-up by party.
        request_bytes, reply_bytes: of the messages that the requester exchanges, by peer and execution.
        rounds: how often the requester waits for peers.
        total_us: of a whole request, all parties in one process and without a network.
    """

    requester: str
    rows: int
    step_us: dict[tuple[str, int, str], float] = field(default_factory=dict)
    fetch_us: dict[str, float] = field(default_factory=dict)
    request_bytes: dict[tuple[str, int], int] = field(default_factory=dict)
    reply_bytes: dict[tuple[str, int], int] = field(default_factory=dict)
    rounds: int = 0
    total_us: float = float("inf")


async def measure(
    parties: Sequence[tuple[LoadedConfig, LoadedService]], ids: Sequence[str], pool: Pool, requester: str
) -> Measured:
    """Score some rows with all parties in this process, over the messages that they would exchange.

    Args:
        parties: config and service of every party.
        ids: what every party looks up.
        pool: for what blocks.
        requester: the party that is asked.

    Raises:
        SfsError: a model or a feature source is wrong, the parties' models do not fit, or scoring failed.
    """
    measured = Measured(requester, len(ids))
    models: dict[str, ServedModel] = {}
    try:
        for loaded, service in parties:
            checked = check_model(loaded, service, pool)
            model = models[loaded.config.party] = open_model(loaded, service, checked, pool)
            everybody = sorted(loaded.config.parties)
            model.executor = _Timed(loaded.config.party, everybody, checked.graph, checked.lookup, pool, measured)
        predictor = _predictor(models, requester, measured)
        params = {party: FeatureParam(list(ids)) for party in models}
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            await predictor.predict(PredictRequest.of(models[requester].service, params))
            measured.total_us = min(measured.total_us, (time.perf_counter() - begin) * 1e6)
    finally:
        for model in models.values():
            if model.executor.features.source is not None:
                model.executor.features.source.close()
    measured.rounds = len({execution for _, execution in measured.request_bytes})
    return measured


def _predictor(models: Mapping[str, ServedModel], requester: str, measured: Measured) -> Predictor:
    infos = {party: model.info for party, model in models.items()}
    shared = frozenset.intersection(*(model.extensions for model in models.values()))
    for party, model in models.items():
        others = {name: info for name, info in infos.items() if name != party}
        check_consistency(party, model.info, others)
        prepare_operators(model.executor.operators, cluster_of(party, model.graph, others, extensions=shared))
    own = models[requester]
    peers = {name: _Peer(name, model.executor, measured) for name, model in models.items() if name != requester}
    return Predictor(
        requester, own.graph, own.executor, peers, specified_parties(infos), timeout=_SECONDS, max_rows=1 << 30
    )


class _Timed(Executor):
    """Measures its steps and look-ups."""

    def __init__(
        self,
        party: str,
        parties: Sequence[str],
        checked: CheckedGraph,
        lookup: FeatureLookup,
        pool: Pool,
        measured: Measured,
    ) -> None:
        super().__init__(party, parties, checked, lookup, pool)
        self._measured = measured
        for plan in self.plans:
            plan.observe(partial(self._watch, plan.index))

    def _watch(self, execution: int, node: str) -> Callable[[float, float], None]:
        return partial(self._tell, (self.party, execution, node))

    def _tell(self, key: tuple[str, int, str], seconds: float, _: float) -> None:
        self._measured.step_us[key] = min(seconds * 1e6, self._measured.step_us.get(key, float("inf")))

    def _fetch(self, call: ExecuteCall, ids: list[str]) -> FeatureResult | Awaitable[FeatureResult]:
        begin = time.perf_counter()
        found = super()._fetch(call, ids)
        if isinstance(found, FeatureResult):
            self._fetched(begin)
            return found
        return self._fetch_later(found, begin)

    async def _fetch_later(self, pending: Awaitable[FeatureResult], begin: float) -> FeatureResult:
        found = await pending
        self._fetched(begin)
        return found

    def _fetched(self, begin: float) -> None:
        least = self._measured.fetch_us.get(self.party, float("inf"))
        self._measured.fetch_us[self.party] = min((time.perf_counter() - begin) * 1e6, least)


@dataclass(frozen=True)
class _Peer:
    """A party in this process, reached through the bytes that would travel."""

    party: str
    executor: Executor
    measured: Measured

    async def execute(self, call: ExecuteCall, timeout: float) -> ExecuteReply:
        request = call_to_message(call).SerializeToString()
        reply = self.executor.execute(call_from_message(apis_pb2.ExecuteRequest.FromString(request)))
        if not isinstance(reply, ExecuteReply):
            reply = await reply
        answer = reply_to_message(call.service, reply).SerializeToString()
        self.measured.request_bytes[self.party, call.execution] = len(request)
        self.measured.reply_bytes[self.party, call.execution] = len(answer)
        rows = len(call.ids) if call.per_row and call.ids is not None else None
        return reply_from_message(apis_pb2.ExecuteResponse.FromString(answer), call.execution, rows)
