"""The engine on hand-made models: sources of every kind, counts, headers, failures, cancellation."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from sfs_core import (
    Batch,
    ComputeContext,
    ErrorCode,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    GraphError,
    Operator,
    PeerError,
    PluginConfig,
    PluginError,
    RequestError,
    Schema,
    SfsError,
    attr,
)
from sfs_core.codec.execution import ExecuteCall, ExecuteReply
from sfs_core.codec.features import Feature, FeatureField, FeatureValue
from sfs_core.codec.prediction import FeatureParam, PredictReply, PredictRequest
from sfs_core.engine.executor import Executor
from sfs_core.engine.features import FeatureLookup, source_schema
from sfs_core.engine.predictor import Predictor
from sfs_core.model.builder import GraphBuilder
from sfs_core.model.graph import Dispatch
from sfs_core.model.validation import CheckedGraph, check_graph

X = Schema([("x", pa.float64())])
Y = Schema([("y", pa.float64())])


class Double(Operator, name="DOUBLE", version="1", inputs=["features"], output="y"):
    """Twice x."""

    mode: str = attr("what to do wrong", default="")

    def input_schemas(self) -> list[Schema]:
        return [X]

    def output_schema(self) -> Schema:
        return Y

    def compute(self, context: ComputeContext, features: Batch) -> Batch:
        if self.mode == "raise":
            raise ValueError(f"secret {features.rows()[0][0]}")
        if self.mode == "interrupt":
            raise KeyboardInterrupt
        if self.mode == "schema":
            return features
        if self.mode == "nothing":
            return None  # type: ignore[return-value]
        return Batch(Y, features.num_rows, None, None, [(2 * x,) for (x,) in features.rows()])


class Total(Operator, name="TOTAL", version="1", inputs=["ys"], output="score", returnable=True, mergeable=True):
    """Sum over the parties."""

    def input_schemas(self) -> list[Schema]:
        return [Y]

    def output_schema(self) -> Schema:
        return Y

    def compute(self, context: ComputeContext, ys: list[Batch]) -> Batch:
        rows = zip(*(y.rows() for y in ys), strict=True)
        return Batch(Y, ys[0].num_rows, None, None, [(sum(y for (y,) in row),) for row in rows])


class HeavyTotal(Total, name="HEAVY_TOTAL", version="1", inputs=["ys"], output="s", returnable=True, mergeable=True):
    """The same, off the event loop; remembers its thread."""

    heavy = True
    threads: ClassVar[set[str]] = set()

    def compute(self, context: ComputeContext, ys: list[Batch]) -> Batch:
        self.threads.add(threading.current_thread().name)
        return super().compute(context, ys)


OPERATORS: dict[str, type[Operator]] = {cls.definition.name: cls for cls in (Double, Total, HeavyTotal)}


class Numbers(FeatureSource):
    """The id itself is the feature."""

    blocking = False

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        return FeatureResult(
            Batch.from_rows(self.schema, [(float(i),) for i in query.ids]), {"from": self.context.party}
        )


class BlockingNumbers(Numbers):
    blocking = True


class AsyncNumbers(Numbers):
    blocking = True

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        await asyncio.sleep(0)
        return super().fetch_rows(query)  # type: ignore[return-value]


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapped


class DecoratedNumbers(AsyncNumbers):
    fetch_rows = _decorated(AsyncNumbers.fetch_rows)  # type: ignore[assignment]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="pool") as executor:
        yield executor


def graph(mode: str = "", total: str = "TOTAL") -> CheckedGraph:
    builder = GraphBuilder(OPERATORS.__getitem__)
    built = (
        builder.add_node("double", "DOUBLE", mode=mode)
        .begin_execution(Dispatch.ANYONE)
        .add_node("total", total, parents=["double"])
        .build()
    )
    return check_graph(built, OPERATORS.__getitem__)


def source(cls: type[FeatureSource], pool: ThreadPoolExecutor, party: str = "alice", **names: str) -> FeatureLookup:
    schema = source_schema(X, names)
    context = FeatureContext("svc", party, logging.getLogger("test"), Path(), schema, pool)
    return FeatureLookup(X, names, cls(PluginConfig(), context))


def predictor(
    pool: ThreadPoolExecutor,
    peer: Any = None,
    lookup: FeatureLookup | None = None,
    checked: CheckedGraph | None = None,
    **limits: Any,
) -> Predictor:
    checked = checked or graph()
    executor = Executor("alice", ["alice", "bob"], checked, lookup or source(Numbers, pool), pool)
    settings = {"timeout": 1.0, "max_rows": 100} | limits
    return Predictor("alice", checked.graph, executor, {"bob": peer or Bob(pool)}, {}, **settings)


class Bob:
    """A peer that answers, or does what a test says."""

    def __init__(
        self, pool: ThreadPoolExecutor, answer: Callable[[ExecuteCall], Awaitable[ExecuteReply]] | None = None
    ):
        self._executor = Executor("bob", ["alice", "bob"], graph(), source(Numbers, pool, "bob"), pool)
        self._answer = answer
        self.calls: list[ExecuteCall] = []
        self.cancelled = False

    async def execute(self, call: ExecuteCall, timeout: float) -> ExecuteReply:
        self.calls.append(call)
        try:
            if self._answer is not None:
                return await self._answer(call)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        reply = self._executor.execute(call)
        return reply if isinstance(reply, ExecuteReply) else await reply


def request(ids: list[str], others: list[str] | None = None) -> PredictRequest:
    params = {"alice": FeatureParam(ids), "bob": FeatureParam(ids if others is None else others)}
    return PredictRequest.of("svc", params)


def scores(reply: PredictReply) -> list[float]:
    assert reply.scores is not None
    return [row[0] for row in reply.scores.rows()]


@pytest.mark.parametrize("cls", [Numbers, BlockingNumbers, AsyncNumbers, DecoratedNumbers])
async def test_sources_of_every_kind(cls: type[FeatureSource], pool: ThreadPoolExecutor) -> None:
    reply = await predictor(pool, lookup=source(cls, pool)).predict(request(["1", "2"], ["10", "20"]))
    assert scores(reply) == [22.0, 44.0]
    assert reply.headers == {"from": "alice"}, "the first writer of a header entry wins, this party before its peers"


async def test_features_are_renamed_by_the_mapping(pool: ThreadPoolExecutor) -> None:
    lookup = source(Numbers, pool, x_at_source="x")
    assert lookup.source_schema.names == ("x_at_source",)
    assert scores(await predictor(pool, lookup=lookup).predict(request(["3"]))) == [12.0]


async def test_predefined_features_replace_the_look_up_of_this_party(pool: ThreadPoolExecutor) -> None:
    bob = Bob(pool)
    asked = request([], ["10", "20"])
    asked.predefined_features = [Feature(FeatureField("x", "FIELD_DOUBLE"), FeatureValue(ds=[1.0, 2.0]))]
    assert scores(await predictor(pool, bob).predict(asked)) == [22.0, 44.0]
    assert bob.calls[0].predefined is None


async def test_heavy_operators_leave_the_event_loop(pool: ThreadPoolExecutor) -> None:
    HeavyTotal.threads.clear()
    assert scores(await predictor(pool, checked=graph(total="HEAVY_TOTAL")).predict(request(["1"]))) == [4.0]
    (thread,) = HeavyTotal.threads
    assert thread.startswith("pool")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (PredictRequest.of("svc", {}), "no query datas for alice, bob"),
        (PredictRequest.of("svc", {"alice": FeatureParam(["1"])}), "no query datas for bob"),
        (PredictRequest.of("svc", {"alice": FeatureParam(["1"]), "bob": FeatureParam([])}), "for bob"),
        (request(["1"], ["1", "2"]), "differ in length: alice 1, bob 2"),
        (request(["1"] * 101), "101 rows asked for, at most 100"),
    ],
)
async def test_rows_are_counted_before_anything_runs(
    asked: PredictRequest, text: str, pool: ThreadPoolExecutor
) -> None:
    bob = Bob(pool)
    with pytest.raises(RequestError, match=text) as caught:
        await predictor(pool, bob).predict(asked)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert not bob.calls


@pytest.mark.parametrize(
    ("mode", "kind", "code", "text"),
    [
        ("raise", SfsError, 2, "the operator failed \\(ValueError\\)"),
        ("interrupt", SfsError, 2, "the operator failed \\(KeyboardInterrupt\\)"),
        ("schema", PluginError, 7, "it declares Schema\\(y: double\\)"),
        ("nothing", PluginError, 2, "returned NoneType"),
    ],
)
async def test_a_failing_operator_tells_node_and_kind_only(
    mode: str, kind: type[SfsError], code: int, text: str, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(kind, match=text) as caught:
        await predictor(pool, checked=graph(mode)).predict(request(["42"]))
    error = caught.value
    assert (error.node, error.code) == ("double", code)
    assert "42" not in str(error) + error.detail
    assert "secret" not in str(error) + error.detail


class WrongRows(Numbers):
    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        return FeatureResult(Batch.from_rows(self.schema, [(1.0,)] * (len(query.ids) + 1)))


class WrongType(Numbers):
    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        return FeatureResult(Batch.from_rows(Schema([("x", pa.int64())]), [(1,)] * len(query.ids)))


class WrongColumn(Numbers):
    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        return FeatureResult(Batch.from_rows(Schema([("z", pa.float64())]), [(1.0,)] * len(query.ids)))


class WrongResult(Numbers):
    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        return {"x": 1.0}  # type: ignore[return-value]


class Broken(BlockingNumbers):
    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        raise KeyError(query.ids[0])


@pytest.mark.parametrize(
    ("cls", "code", "text"),
    [
        (WrongRows, 7, "2 rows for 1 ids"),
        (WrongType, 7, "'x' is int64"),
        (WrongColumn, 2, "'x' is missing"),
        (WrongResult, 2, "returned dict"),
        (Broken, 2, "feature source failed \\(KeyError\\)"),
    ],
)
async def test_what_a_source_returns_is_checked(
    cls: type[FeatureSource], code: int, text: str, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(SfsError, match=text) as caught:
        await predictor(pool, lookup=source(cls, pool)).predict(request(["4711"]))
    assert caught.value.code == code
    assert "4711" not in str(caught.value) + caught.value.detail


async def test_without_a_source_only_predefined_features_work(pool: ThreadPoolExecutor) -> None:
    lookup = FeatureLookup(X, {}, None)
    with pytest.raises(FeatureError, match="no feature source") as caught:
        await predictor(pool, lookup=lookup).predict(request(["1"]))
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


async def test_a_local_failure_cancels_the_peers(pool: ThreadPoolExecutor) -> None:
    started = asyncio.Event()

    async def never(call: ExecuteCall) -> ExecuteReply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    class Late(AsyncNumbers):
        async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
            await started.wait()
            raise FeatureError("gone")

    bob = Bob(pool, never)
    with pytest.raises(FeatureError, match="gone"):
        await predictor(pool, bob, source(Late, pool)).predict(request(["1"]))
    assert bob.cancelled


def _reply(outputs: Mapping[str, Batch]) -> Callable[[ExecuteCall], Awaitable[ExecuteReply]]:
    async def answer(call: ExecuteCall) -> ExecuteReply:
        return ExecuteReply(dict(outputs))

    return answer


async def test_what_peers_answer_is_checked(pool: ThreadPoolExecutor) -> None:
    one = Batch.from_rows(Y, [(1.0,)])
    with pytest.raises(PeerError, match="lacks node 'double'"):
        await predictor(pool, Bob(pool, _reply({"other": one}))).predict(request(["1"]))
    with pytest.raises(GraphError, match="differ in rows: 2, 1"):
        await predictor(pool, Bob(pool, _reply({"double": one}))).predict(request(["1", "2"]))
    with pytest.raises(GraphError, match="'y' is missing"):
        await predictor(pool, Bob(pool, _reply({"double": Batch.from_rows(X, [(1.0,)])}))).predict(request(["1"]))


async def test_executions_refuse_what_does_not_belong_to_them(pool: ThreadPoolExecutor) -> None:
    executor = Executor("bob", ["alice", "bob"], graph(), source(Numbers, pool, "bob"), pool)
    one = Batch.from_rows(Y, [(1.0,)])
    for call, code, text in [
        (ExecuteCall("svc", "eve", ids=["1"]), 3, "no party of this cluster"),
        (ExecuteCall("svc", "alice", 2, inputs={"double": [one, one]}), 7, "no execution 2"),
        (ExecuteCall("svc", "alice", -1, inputs={"double": [one, one]}), 7, "no execution -1"),
        (ExecuteCall("svc", "alice", 1, inputs={"double": [one]}), 7, "2 table\\(s\\) of node 'double', 1 came"),
        (ExecuteCall("svc", "alice", 1, inputs={"double": [one] * 3}), 7, "3 came"),
        (ExecuteCall("svc", "alice", 1), 7, "0 came"),
        (ExecuteCall("svc", "alice"), 7, "starts from features"),
    ]:
        with pytest.raises(SfsError, match=text) as caught:
            executor.execute(call)
        assert caught.value.code == code
