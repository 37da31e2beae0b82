"""This party's part of requests: features in, the execution's plan, tables out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Executor as Pool
from itertools import islice
from math import inf
from typing import Final

from sfs_core.batch import Batch
from sfs_core.block import PartyBlocks
from sfs_core.codec.execution import ExecuteCall, ExecuteReply
from sfs_core.engine.coroutines import in_time
from sfs_core.engine.features import FeatureLookup
from sfs_core.engine.missing import missing_rows, repeated
from sfs_core.engine.plan import Plan
from sfs_core.engine.precomputed import PrecomputedRows, can_precompute
from sfs_core.errors import ErrorCode, GraphError, RequestError, SfsError
from sfs_core.model.graph import Dispatch, Execution
from sfs_core.model.validation import CheckedGraph
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult
from sfs_core.sdk.operator import ComputeContext

__all__ = ["Executor"]

_ROWS_AHEAD: Final = 256
"""So many are precomputed at a time."""


class Executor:
    """Runs the executions of one service's graph at this party, for itself and for peers.

    Args:
        party: this party.
        parties: all parties.
        checked: the graph and its operators.
        features: where features come from.
        pool: for operators that take long.
        precompute_bytes: memory for what the first execution makes of rows that never change; 0 for none.

    Attributes:
        precomputed: what is remembered of the first execution; None where it may not be.
        per_row_parties: the parties that may learn which of this party's rows are missing, and score the others.
    """

    def __init__(
        self,
        party: str,
        parties: Sequence[str],
        checked: CheckedGraph,
        features: FeatureLookup,
        pool: Pool,
        precompute_bytes: int = 0,
    ) -> None:
        self.party = party
        self.features = features
        self.operators = checked.operators
        self.plans = [Plan(execution, checked.operators) for execution in checked.executions]
        self.precomputed: PrecomputedRows | None = None
        if precompute_bytes and can_precompute(self.plans[0], checked.operators):
            schemas = {name: checked.operators[name].output_schema() for name in self.plans[0].outputs}
            self.precomputed = PrecomputedRows(schemas, precompute_bytes)
        self.per_row_parties: frozenset[str] = frozenset()
        self._for_peers = frozenset(e.index for e in checked.graph.executions if _asked_by_peers(e))
        self._pool = pool
        self._contexts = {requester: ComputeContext(party, requester) for requester in parties}
        runs_everywhere = {e.index: e.dispatch is Dispatch.ALL for e in checked.graph.executions}
        made_in = {name: e.index for e in checked.graph.executions for name in e.nodes}
        self._table_counts = [
            {name: len(parties) if runs_everywhere[made_in[name]] else 1 for name in plan.outside}
            for plan in self.plans
        ]

    def check_peer_call(self, call: ExecuteCall) -> None:
        """Whether another party may ask for this: an execution that the graph sends to this party, no tables but those
        that it takes, and no features of the other party's choice.

        Raises:
            RequestError: it may not (3 for features, else 7).
        """
        if call.predefined is not None:
            raise RequestError("features that are sent along are taken from callers, not from peers", party=self.party)
        if not 0 <= call.execution < len(self.plans):
            return  # which `execute` refuses
        if call.execution not in self._for_peers:
            raise RequestError(
                f"execution {call.execution} of the graph is not sent to this party",
                code=ErrorCode.LOGIC_ERROR,
                party=self.party,
            )
        surplus = call.inputs.keys() - set(self.plans[call.execution].outside)
        if surplus:
            raise RequestError(
                f"{len(surplus)} table(s) came that execution {call.execution} does not take",
                code=ErrorCode.LOGIC_ERROR,
                party=self.party,
            )

    def precompute(self) -> int:
        """Fill `precomputed`, if there is any, with what comes of the rows whose ids the source tells, as far as memory
        goes; not while anything is executed.

        Rows that the source or an operator refuses are left to be refused to those who ask for them.

        Returns:
            How many ids the source tells; 0 where it cannot.
        """
        source = self.features.source
        if self.precomputed is None or source is None:
            return 0
        ids = source.known_ids()
        left = iter(ids)
        while not self.precomputed.full and (some := list(islice(left, _ROWS_AHEAD))):
            self._precompute(self.precomputed, some)
        return len(ids)

    def _precompute(self, rows: PrecomputedRows, ids: Sequence[str]) -> None:
        try:
            found = self.features.fetch(FeatureQuery(list(ids)))
            if not isinstance(found, FeatureResult):  # nothing waits here; but joined sources raise errors so
                found = asyncio.run(_awaited(found))
            outputs = self.plans[0].run(self._contexts[self.party], found.batch, {})
        except SfsError:
            if len(ids) > 1:
                for id_ in ids:
                    self._precompute(rows, [id_])
            return
        if found.missing is not None:
            ids = [id_ for id_, is_missing in zip(ids, found.missing, strict=True) if not is_missing]
        rows.learn(ids, outputs)

    def execute(self, call: ExecuteCall) -> ExecuteReply | Awaitable[ExecuteReply]:
        """Run one execution; the reply comes at once unless something must wait.

        Raises:
            RequestError: an unknown requester (3) or execution (7), or tables that do not fit it (7).
            SfsError: from the feature source or an operator.
        """
        context = self._contexts.get(call.requester)
        if context is None:
            raise RequestError("the requester is no party of this cluster", party=self.party)
        if not 0 <= call.execution < len(self.plans):
            raise RequestError(
                f"there is no execution {call.execution}, the graph has {len(self.plans)}", code=ErrorCode.LOGIC_ERROR
            )
        plan = self.plans[call.execution]
        if call.execution:
            self._check_tables(plan, call.inputs)
            return self._run(plan, context, None, call.inputs, {}, call.deadline)
        if call.predefined is not None:
            return self._run(plan, context, self.features.convert(call.predefined), {}, {}, call.deadline)
        if call.ids is None:
            raise RequestError("the first execution starts from features", code=ErrorCode.LOGIC_ERROR)
        if self.precomputed is not None and (outputs := self.precomputed.find(call.ids)) is not None:
            return ExecuteReply(outputs)
        found = self._fetch(call, call.ids)
        if isinstance(found, FeatureResult):
            return self._run_found(plan, context, call, found)
        return self._run_later(plan, context, call, found)

    def _fetch(self, call: ExecuteCall, ids: list[str]) -> FeatureResult | Awaitable[FeatureResult]:
        return self.features.fetch(FeatureQuery(ids, call.context, call.headers, call.deadline))

    def _run(
        self,
        plan: Plan,
        context: ComputeContext,
        features: Batch | None,
        tables: Mapping[str, Sequence[Batch]],
        headers: Mapping[str, str],
        deadline: float,
    ) -> ExecuteReply | Awaitable[ExecuteReply]:
        if plan.heavy:
            return self._run_in_pool(plan, context, features, tables, headers, deadline)
        return ExecuteReply(plan.run(context, features, tables), headers)

    def _run_found(
        self, plan: Plan, context: ComputeContext, call: ExecuteCall, found: FeatureResult
    ) -> ExecuteReply | Awaitable[ExecuteReply]:
        if found.missing is not None:
            return self._run_partly(plan, context, call, found)
        reply = self._run(plan, context, found.batch, {}, found.headers, call.deadline)
        if self.precomputed is not None and isinstance(reply, ExecuteReply) and not reply.headers:
            self.precomputed.learn(call.ids or (), reply.outputs)
        return reply

    async def _run_later(
        self, plan: Plan, context: ComputeContext, call: ExecuteCall, pending: Awaitable[FeatureResult]
    ) -> ExecuteReply:
        reply = self._run_found(plan, context, call, await pending)
        return reply if isinstance(reply, ExecuteReply) else await reply

    async def _run_partly(
        self, plan: Plan, context: ComputeContext, call: ExecuteCall, found: FeatureResult
    ) -> ExecuteReply:
        """Run for the rows that are there, where the requester can do with these; no tables where there are none."""
        missing = found.missing
        assert missing is not None
        if not call.per_row or call.requester not in self.per_row_parties:
            raise missing_rows(missing)
        if all(missing):
            return ExecuteReply({}, found.headers, missing)
        reply = self._run(plan, context, repeated(found.batch, missing), {}, found.headers, call.deadline)
        reply = reply if isinstance(reply, ExecuteReply) else await reply
        reply.missing = missing
        return reply

    async def _run_in_pool(
        self,
        plan: Plan,
        context: ComputeContext,
        features: Batch | None,
        tables: Mapping[str, Sequence[Batch]],
        headers: Mapping[str, str],
        deadline: float,
    ) -> ExecuteReply:
        """Run beside the event loop; what waits for a thread until nobody waits any longer is not begun."""
        loop = asyncio.get_running_loop()
        outputs = loop.run_in_executor(self._pool, plan.run, context, features, tables)
        if deadline == inf:
            return ExecuteReply(await outputs, headers)
        error = SfsError(f"execution {plan.index} was not over before the request's time limit passed")
        return ExecuteReply(await in_time(outputs, deadline, error), headers)

    def _check_tables(self, plan: Plan, tables: Mapping[str, Sequence[Batch]]) -> None:
        counts = self._table_counts[plan.index]
        if type(tables) is PartyBlocks:
            numbers = {len(tables.blocks)}
            if tables.keys() >= counts.keys() and numbers == set(counts.values()):
                return
        for name, expected in counts.items():
            found = len(tables.get(name, ()))
            if found != expected:
                raise GraphError(
                    f"execution {plan.index} needs {expected} table(s) of node {name!r}, {found} came",
                    party=self.party,
                )


async def _awaited(found: Awaitable[FeatureResult]) -> FeatureResult:
    return await found


def _asked_by_peers(execution: Execution) -> bool:
    """Whether requesters send an execution to this party; those for anyone they run themselves."""
    if execution.dispatch is Dispatch.SPECIFIED:
        return execution.specific
    return execution.dispatch in (Dispatch.ALL, Dispatch.PEER)
