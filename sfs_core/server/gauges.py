"""Numbers that are read off a server when somebody asks for its metrics; serving does nothing for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sfs_core.link.listener import Listener
from sfs_core.observe.metrics import Gauge
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.served import ServedModels

__all__ = ["add_gauges"]

Labels = tuple[str, ...]


def add_gauges(metrics: ServerMetrics, models: ServedModels, listeners: Callable[[], Mapping[str, Listener]]) -> None:
    """Have a server's state shown.

    Args:
        metrics: where.
        models: what is served, at any moment.
        listeners: the open ports by name, at any moment.
    """

    def calls() -> Mapping[Labels, float]:
        return {(name,): listener.calls_under_way for name, listener in listeners().items()}

    def rows() -> Mapping[Labels, float]:
        return {(name,): model.batcher.waiting_rows for name, model in models.items() if model.batcher}

    def info() -> Mapping[Labels, float]:
        return {(name, model.info.name): 1 for name, model in models.items()}

    def ready() -> Mapping[Labels, float]:
        return {(name,): model.predictor is not None for name, model in models.items()}

    def cached() -> Mapping[Labels, float]:
        found: dict[Labels, float] = {}
        for name, model in models.items():
            caches = model.executor.features.caches
            if caches:
                found[name, "hit"] = sum(cache.hits for cache in caches)
                found[name, "miss"] = sum(cache.misses for cache in caches)
        return found

    service = ("service_id",)
    metrics.add(Gauge("sfs_calls_under_way", "Calls that are being answered.", ("port",), calls))
    metrics.add(Gauge("sfs_waiting_rows", "Rows of requests that wait for a round.", service, rows))
    metrics.add(Gauge("sfs_model_info", "1 for the model that is served.", ("service_id", "model"), info))
    metrics.add(Gauge("sfs_model_agreed", "1 when all parties agree on the model, else 0.", service, ready))
    metrics.add(
        Gauge(
            "sfs_feature_cache_ids",
            "Ids that the feature cache was asked for, by whether it had them.",
            ("service_id", "result"),
            cached,
            kind="counter",
        )
    )
