"""Numbers that are read off a server when somebody asks for its metrics; serving does nothing for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from sfs_core.engine.precomputed import PrecomputedRows
from sfs_core.link.listener import Listener
from sfs_core.observe.metrics import Counter, Gauge, Together
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.sdk.operator import Operator
from sfs_core.server.readiness import Readiness
from sfs_core.server.served import ServedModels

__all__ = ["add_gauges", "add_worker_metrics"]

Numbers = Mapping[tuple[str, ...], float]


def add_worker_metrics(metrics: ServerMetrics, workers: Callable[[], int]) -> Counter:
    """Have it shown how several workers are.

    Args:
        metrics: where.
        workers: how many serve, at any moment.

    Returns:
        What their restarts are to be counted in.
    """
    party = {"party_id": metrics.party}
    metrics.add(
        Gauge("sfs_workers", "Workers that serve, where there are several.", (), lambda: {(): workers()}, party)
    )
    restarts = metrics.add(Counter("sfs_worker_restarts", "How often a worker was started again.", (), party))
    restarts.add(amount=0)
    return restarts


def add_gauges(
    metrics: ServerMetrics,
    models: ServedModels,
    readiness: Readiness,
    listeners: Callable[[], Mapping[str, Listener]],
) -> None:
    """Have a server's state shown.

    Args:
        metrics: where.
        models: what is served, at any moment.
        readiness: knows which feature sources are up.
        listeners: the open ports by name, at any moment.
    """

    def add(
        name: str,
        help_: str,
        labels: tuple[str, ...],
        read: Callable[[], Numbers],
        kind: Literal["counter", "gauge"],
        together: Together = "sum",
    ) -> None:
        metrics.add(Gauge(name, help_, labels, read, {"party_id": metrics.party}, kind=kind, together=together))

    def calls() -> Numbers:
        return {(name,): listener.calls_under_way for name, listener in listeners().items()}

    def refused() -> Numbers:
        return {
            (name, reason): count
            for name, listener in listeners().items()
            for reason, count in listener.calls_refused.items()
        }

    def rows() -> Numbers:
        return {(name,): model.batcher.waiting_rows for name, model in models.items() if model.batcher}

    def info() -> Numbers:
        return {(name, model.info.name, model.package.sha256): 1 for name, model in models.items()}

    def agreed() -> Numbers:
        return {(name,): float(model.predictor is not None) for name, model in models.items()}

    def sources() -> Numbers:
        return {
            (name,): float(name not in readiness.failing)
            for name, model in models.items()
            if model.executor.features.source is not None
        }

    def cached() -> Numbers:
        found: dict[tuple[str, ...], float] = {}
        for name, model in models.items():
            if caches := model.executor.features.caches:
                found[name, "hit"] = sum(cache.hits for cache in caches)
                found[name, "miss"] = sum(cache.misses for cache in caches)
        return found

    def remembered() -> Numbers:
        return {
            (name,): sum(map(len, model.executor.features.caches))
            for name, model in models.items()
            if model.executor.features.caches
        }

    def remembered_bytes() -> Numbers:
        return {
            (name,): sum(cache.size for cache in model.executor.features.caches)
            for name, model in models.items()
            if model.executor.features.caches
        }

    def precomputed_hits() -> Numbers:
        return {(name,): rows.hits for name, rows in _precomputed(models)}

    def precomputed_bytes() -> Numbers:
        return {(name,): rows.size for name, rows in _precomputed(models)}

    def states() -> Numbers:
        return {
            (name, what): number
            for name, model in models.items()
            for operator in model.executor.operators.values()
            for what, number in _state(operator).items()
        }

    service = ("service_id",)
    add("sfs_calls_under_way", "Calls that are being answered.", ("port",), calls, "gauge")
    add("sfs_refused_calls", "Calls refused before anything ran, by why.", ("port", "reason"), refused, "counter")
    add("sfs_waiting_rows", "Rows of requests that wait for a round.", service, rows, "gauge")
    add(
        "sfs_model_info",
        "1 for the model that is served, with the SHA-256 of its package.",
        ("service_id", "model", "sha256"),
        info,
        "gauge",
        "greatest",
    )
    add("sfs_model_agreed", "1 when all parties agree on the model, else 0.", service, agreed, "gauge", "least")
    add(
        "sfs_feature_source_up",
        "1 when all feature sources of a service passed their last check.",
        service,
        sources,
        "gauge",
        "least",
    )
    add(
        "sfs_feature_cache_ids",
        "Ids that the feature cache was asked for, by whether it had them.",
        ("service_id", "result"),
        cached,
        "counter",
    )
    add("sfs_feature_cache_rows", "Ids that the feature cache remembers.", service, remembered, "gauge")
    add("sfs_feature_cache_bytes", "Memory of these, as estimated.", service, remembered_bytes, "gauge")
    add(
        "sfs_operator_state",
        "What a model's operators tell of themselves; a plugin's own documentation says what.",
        ("service_id", "what"),
        states,
        "gauge",
    )
    add("sfs_precomputed_hits", "Look-ups answered by what was precomputed.", service, precomputed_hits, "counter")
    add("sfs_precomputed_bytes", "Memory of what was precomputed, as estimated.", service, precomputed_bytes, "gauge")


def _state(operator: Operator) -> Mapping[str, float]:
    try:
        return operator.state()
    except Exception:  # noqa: BLE001 - an operator that fails here may still score, and the other metrics are needed
        return {}


def _precomputed(models: ServedModels) -> list[tuple[str, PrecomputedRows]]:
    found = [(name, model.executor.precomputed) for name, model in models.items()]
    return [(name, rows) for name, rows in found if rows is not None]
