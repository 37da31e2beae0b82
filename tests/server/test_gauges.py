"""What a server's metrics read off it when they are asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.gauges import add_gauges


def test_gauges_follow_what_is_served() -> None:
    models: dict[str, Any] = {}
    listeners: dict[str, Any] = {}
    metrics = ServerMetrics("alice", ["svc"], ["alice"])
    add_gauges(metrics, models, lambda: listeners)
    before = metrics.page()[2].decode()
    assert 'service_id="svc"' not in before
    caches = [SimpleNamespace(hits=2, misses=3), SimpleNamespace(hits=1, misses=1)]
    models["svc"] = SimpleNamespace(
        info=SimpleNamespace(name="model"),
        predictor=None,
        batcher=SimpleNamespace(waiting_rows=7),
        executor=SimpleNamespace(features=SimpleNamespace(caches=caches)),
    )
    listeners["service"] = SimpleNamespace(calls_under_way=4)
    lines = metrics.page()[2].decode().splitlines()
    for line in (
        'sfs_calls_under_way{port="service"} 4',
        'sfs_waiting_rows{service_id="svc"} 7',
        'sfs_model_info{service_id="svc",model="model"} 1',
        'sfs_model_agreed{service_id="svc"} 0',
        'sfs_feature_cache_ids{service_id="svc",result="hit"} 3',
        'sfs_feature_cache_ids{service_id="svc",result="miss"} 4',
    ):
        assert line in lines, lines
