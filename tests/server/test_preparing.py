"""Operators that take long to prepare: the log and `/ready` tell how far they are."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import orjson
import pyarrow as pa
import pytest

from sfs_core import Batch, Cluster, GraphError, NodeSpec, Operator, Schema
from sfs_core.server import agreement
from sfs_core.server.agreement import Agreements
from sfs_core.server.handshake import Patience
from sfs_core.server.keys import Preparation, check_keys, prepare_operators
from sfs_core.server.readiness import Readiness
from tests.support.processes import wait_for


class Slow(Operator, name="SLOW_TO_PREPARE", version="1", inputs=["x"], output="y"):
    """Tells how far it is, and waits until it may go on."""

    def __init__(self, node: NodeSpec) -> None:
        super().__init__(node)
        self.go_on = threading.Event()

    def prepare(self, cluster: Cluster) -> None:
        cluster.progress(1, 4)
        assert self.go_on.wait(60)
        cluster.progress(4, 4)
        if self.node.name == "bad":
            raise KeyError("hunter2")

    def input_schemas(self) -> list[Schema]:
        return [Schema([("x", pa.float64())])]

    def output_schema(self) -> Schema:
        return self.input_schemas()[0]

    def compute(self, context: object, *inputs: Any) -> Batch:
        raise NotImplementedError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_log_tells_now_and_then_how_long_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sfs.load")
    clock = Clock()
    preparation = Preparation("svc", 4, clock)
    assert preparation.seconds_left is None
    clock.now = 1.0
    preparation.inside(1, 2)
    assert preparation.share == 0.125
    assert preparation.seconds_left == 7.0
    assert not caplog.messages
    clock.now = 3.0
    preparation.inside(5, 5)
    assert preparation.share < 0.25  # it is ready when it says nothing more
    preparation.finished_one()
    clock.now = 6.0
    preparation.finished_one()
    preparation.inside(0, 0)
    preparation.finish()
    assert caplog.messages == [
        "svc: 25 % of its operators are prepared, 9 s more if it goes on like this",
        "svc: 50 % of its operators are prepared, 6 s more if it goes on like this",
        "svc: its operators are prepared, which took 6.0 s",
    ]


def model(*names: str) -> Any:
    operators = {name: Slow(NodeSpec(name, "SLOW_TO_PREPARE", "1")) for name in names}
    executor = SimpleNamespace(operators=operators, features=SimpleNamespace(source=None))
    graph = SimpleNamespace(he=None)
    plain = {"info": None, "version": "v", "graph": graph, "executor": executor, "predictor": None, "preparation": None}
    plain["extensions"] = frozenset()
    return SimpleNamespace(service="svc", **plain)


def check_keys_of(operator: Operator) -> None:
    graph: Any = SimpleNamespace(graph=SimpleNamespace(he=None), operators={"node": operator})
    check_keys("alice", graph)


def prepare_with(operator: Operator) -> None:
    prepare_operators({"node": operator}, Cluster("alice", ("alice",), {}, b""))


@pytest.mark.parametrize("name", ["good", "bad"])
async def test_ready_tells_how_far_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def agreed(*_: object) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(agreement, "agree", agreed)
    served = model("first", name)
    config: Any = SimpleNamespace(party="alice", link=None)
    page = Readiness("alice", {"svc": served}).page  # type: ignore[arg-type]
    assert (page()[0], orjson.loads(page()[2])["waiting_for_peers"]) == (503, ["svc"])
    reaching = asyncio.ensure_future(Agreements(config, {}, None).reach(served, Patience(1, 1, 1)))
    first, second = served.executor.operators.values()
    for operator, percent in ((first, 12.5), (second, 62.5)):
        await asyncio.to_thread(
            wait_for, lambda percent=percent: _preparing(page).get("percent") == percent, "progress"
        )
        status, _, body = page()
        assert (status, orjson.loads(body)["waiting_for_peers"]) == (503, [])
        assert _preparing(page)["seconds_left"] >= 0
        operator.go_on.set()
    if name == "bad":
        with pytest.raises(GraphError, match=r"cannot be prepared \(KeyError\)") as caught:
            await reaching
        assert "hunter2" not in str(caught.value)
    else:
        with pytest.raises(AttributeError):  # the rest of `reach` wants more of a config than this one has
            await reaching
    assert "preparing" not in orjson.loads(page()[2])


@pytest.mark.parametrize("use_keys", [check_keys_of, prepare_with])
def test_an_operator_that_calls_sys_exit_ends_no_server(use_keys: Callable[[Operator], None]) -> None:
    operator = Mock()
    operator.check_keys.side_effect = operator.prepare.side_effect = SystemExit(3)
    with pytest.raises(GraphError, match=r"\(SystemExit\)") as caught:
        use_keys(operator)
    assert caught.value.node == "node"


def _preparing(page: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(page()[2]).get("preparing", {}).get("svc", {})
    return found


@pytest.mark.parametrize(
    ("row_bytes", "rows"), [([], 4096), ([0, 0], 4096), ([10, 10], 4096), ([100, 900], 700), ([10**9], 1)]
)
def test_requests_are_joined_as_far_as_a_message_holds_them(row_bytes: list[int], rows: int) -> None:
    config: Any = SimpleNamespace(batching=SimpleNamespace(max_rows=4096), limits=SimpleNamespace(max_body=1_000_000))
    operators: list[Any] = [SimpleNamespace(row_bytes=each) for each in row_bytes]
    assert agreement.rows_of_a_round(config, operators) == rows
