"""All parties of a model in one process, talking through the wire's messages but without sockets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfs_core.codec.execution import (
    ExecuteCall,
    ExecuteReply,
    call_from_message,
    call_to_message,
    reply_from_message,
    reply_to_message,
)
from sfs_core.engine.executor import Executor
from sfs_core.engine.features import FeatureLookup, source_schema
from sfs_core.engine.missing import leave_out
from sfs_core.engine.predictor import Predictor
from sfs_core.engine.sources import PolicySource
from sfs_core.host.registry import Registry
from sfs_core.model.graph import Dispatch
from sfs_core.model.package import model_info, read_package
from sfs_core.model.validation import check_graph
from sfs_core.proto import apis_pb2
from sfs_core.sdk.context import FeatureContext
from sfs_core.server.extensions import extensions_of
from sfs_core.server.keys import cluster_of, prepare_operators

__all__ = ["predictors"]


@dataclass
class _InProcessPeer:
    """A party reached through bytes."""

    executor: Executor

    async def execute(self, call: ExecuteCall, timeout: float) -> ExecuteReply:
        request = apis_pb2.ExecuteRequest.FromString(call_to_message(call).SerializeToString())
        reply = self.executor.execute(call_from_message(request))
        if not isinstance(reply, ExecuteReply):
            reply = await reply
        answer = reply_to_message(call.service, reply).SerializeToString()
        rows = len(call.ids) if call.per_row and call.ids is not None else None
        return reply_from_message(apis_pb2.ExecuteResponse.FromString(answer), call.execution, rows)


def predictors(
    packages: Mapping[str, Path],
    features: Mapping[str, Mapping[str, object]],
    registry: Registry,
    pool: ThreadPoolExecutor,
    *,
    per_row: bool = False,
    operators: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Predictor]:
    """One predictor per party.

    Args:
        packages: by party.
        features: options of each party's feature source, with its `name`.
        per_row: whether rows that are there are scored when others are missing.
        operators: options of operators, by their names.
    """
    configs = {name: registry.operator(name).Config(**options) for name, options in (operators or {}).items()}
    per_row_parties = frozenset(packages if per_row else ())
    executors, specified, graphs, infos = {}, {}, {}, {}
    for party, package in packages.items():
        model = read_package(package)
        checked = check_graph(model.graph, registry.operator, configs)
        infos[party] = model_info(model)
        options = dict(features[party])
        cls = registry.feature_source(str(options.pop("name")))
        schema = source_schema(checked.feature_schema, {})
        context = FeatureContext("svc", party, logging.getLogger("test"), Path(), schema, pool, report_missing=per_row)
        source = cls(cls.Config(**options), context)
        if len(schema):
            source.validate()
            source.open()
        lookup = FeatureLookup(checked.feature_schema, {}, PolicySource(source, leave_out) if per_row else source)
        executors[party] = Executor(party, sorted(packages), checked, lookup, pool)
        executors[party].per_row_parties = per_row_parties
        graphs[party] = checked.graph
        for execution in checked.graph.executions:
            if execution.dispatch is Dispatch.SPECIFIED and execution.specific:
                specified[execution.index] = party
    shared = frozenset.intersection(*(extensions_of(each.operators.values()) for each in executors.values()))
    for party, executor in executors.items():
        others = {name: info for name, info in infos.items() if name != party}
        prepare_operators(executor.operators, cluster_of(party, graphs[party], others, extensions=shared))
    return {
        party: Predictor(
            party,
            graphs[party],
            executor,
            {other: _InProcessPeer(e) for other, e in executors.items() if other != party},
            specified,
            timeout=10.0,
            max_rows=100_000,
            per_row_parties=per_row_parties,
        )
        for party, executor in executors.items()
    }
