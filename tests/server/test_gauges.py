"""What a server's metrics read off it when they are asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.desired import Package
from sfs_core.server.gauges import add_gauges

DIGEST = "0f" * 32


class Cache:
    def __init__(self, hits: int, misses: int, rows: int) -> None:
        self.hits, self.misses, self._rows, self.size = hits, misses, rows, 100 * rows

    def __len__(self) -> int:
        return self._rows


def test_gauges_follow_what_is_served() -> None:
    models: dict[str, Any] = {}
    listeners: dict[str, Any] = {}
    metrics = ServerMetrics("alice", ["svc"], ["alice"])
    readiness: Any = SimpleNamespace(failing={"svc"})
    add_gauges(metrics, models, readiness, lambda: listeners)
    before = metrics.page()[2].decode()
    assert 'service_id="svc"' not in before
    caches = [Cache(2, 3, rows=5), Cache(1, 1, rows=6)]
    models["svc"] = SimpleNamespace(
        info=SimpleNamespace(name="model"),
        package=Package(sha256=DIGEST),
        predictor=None,
        batcher=SimpleNamespace(waiting_rows=7),
        executor=SimpleNamespace(
            operators={
                **{node: SimpleNamespace(state=lambda: {"stock": 12}) for node in ("first", "second")},
                "failing": SimpleNamespace(state=lambda: 1 / 0),
            },
            features=SimpleNamespace(caches=caches, source=object()),
            precomputed=SimpleNamespace(hits=8, size=900),
        ),
    )
    listeners["service"] = SimpleNamespace(calls_under_way=4, calls_refused={"quota": 2})
    lines = metrics.page()[2].decode().splitlines()
    for name, labels, value in (
        ("sfs_calls_under_way", 'port="service"', 4),
        ("sfs_refused_calls", 'port="service",reason="quota"', 2),
        ("sfs_waiting_rows", 'service_id="svc"', 7),
        ("sfs_model_info", f'service_id="svc",model="model",sha256="{DIGEST}"', 1),
        ("sfs_model_agreed", 'service_id="svc"', 0),
        ("sfs_feature_source_up", 'service_id="svc"', 0),
        ("sfs_feature_cache_ids", 'service_id="svc",result="hit"', 3),
        ("sfs_feature_cache_ids", 'service_id="svc",result="miss"', 4),
        ("sfs_feature_cache_rows", 'service_id="svc"', 11),
        ("sfs_feature_cache_bytes", 'service_id="svc"', 1100),
        ("sfs_operator_state", 'service_id="svc",what="stock"', 12),
        ("sfs_precomputed_hits", 'service_id="svc"', 8),
        ("sfs_precomputed_bytes", 'service_id="svc"', 900),
    ):
        assert f'{name}{{party_id="alice",{labels}}} {value}' in lines, lines
    models["svc"].executor.precomputed = None
    assert "sfs_precomputed_hits{" not in metrics.page()[2].decode()
