"""The parts of a server that something is watched at: each does what its base does, and tells what came of it.

They stand in for their bases where a config asks for metrics or traces; otherwise nothing is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cached_property, partial
from typing import Any, Final, Protocol, TypeVar

from sfs_core.codec.execution import ExecuteCall, ExecuteReply
from sfs_core.codec.prediction import PredictReply, PredictRequest
from sfs_core.engine.executor import Executor
from sfs_core.engine.predictor import Predictor, Round, Tables
from sfs_core.engine.sources import Source, SourceInFront
from sfs_core.errors import ErrorCode, SfsError
from sfs_core.link.outgoing import Channel
from sfs_core.link.peer import PeerClient
from sfs_core.link.rpc import CallInfo
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.observe.trace_context import TraceContext, trace_of
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.sdk.feature_source import FeatureQuery, FeatureResult

__all__ = [
    "EXECUTE",
    "GET_MODEL_INFO",
    "PREDICT",
    "ObservedExecutor",
    "ObservedPeer",
    "ObservedPredictor",
    "ObservedSource",
    "Over",
    "Span",
    "Tracer",
    "Watch",
    "begin_call",
    "peer_calls_watch",
]


T = TypeVar("T")
EXECUTE: Final = "ExecutionService/Execute"
GET_MODEL_INFO: Final = "ModelService/GetModelInfo"
PREDICT: Final = "PredictionService/Predict"
_APIS: Final = "secretflow.serving.apis"


class Span(Protocol):
    """A step under way, see `observe.tracing`."""

    context: TraceContext

    def end(self, code: int = ErrorCode.OK, message: str = "") -> None:
        """The step is over."""


class Tracer(Protocol):
    """What makes spans, see `observe.tracing`, which is only imported where it is used."""

    def start(self, name: str, kind: Any, service: str, parent: TraceContext | None, attributes: Any) -> Span:
        """A step that begins now."""


def begin_call(tracer: Tracer, rpc: str, service: str, info: CallInfo, headers: MutableMapping[str, str]) -> Span:
    """The span of a call that came in; what is done for it belongs below that, by the message's header map.

    Args:
        tracer: makes it.
        rpc: `Service/Method`.
        service: the model service asked for.
        info: of the call.
        headers: the message's header map, which gets the span's place.
    """
    attributes = {**_attributes(rpc), "request_protocol": info.transport, "source.address": info.peer}
    span = tracer.start(rpc, "server", service, trace_of(headers, info.headers), attributes)
    headers.update(span.context.b3_headers())
    return span


def _attributes(rpc: str) -> dict[str, str]:
    name, _, method = rpc.partition("/")
    return {"rpc.service": f"{_APIS}.{name}", "rpc.method": method}


Over = Callable[[int, str], None]
"""Told the code and the text of an answer when it is given."""


def peer_calls_watch(metrics: ServerMetrics | None, tracer: Tracer | None) -> Watch | None:
    """What is told of every call of a peer as it comes in; None where nothing is watched."""
    if metrics is None and tracer is None:
        return None
    return partial(_watch, metrics, tracer)


class Watch(Protocol):
    """Told of a call; gives what is to be told of its end."""

    def __call__(self, rpc: str, service: str, info: CallInfo, headers: MutableMapping[str, str]) -> Over:
        """A call comes in; arguments as of `begin_call`."""


def _watch(
    metrics: ServerMetrics | None,
    tracer: Tracer | None,
    rpc: str,
    service: str,
    info: CallInfo,
    headers: MutableMapping[str, str],
) -> Over:
    begin = time.perf_counter()
    span = None if tracer is None else begin_call(tracer, rpc, service, info, headers)

    def over(code: int, text: str) -> None:
        if span is not None:
            span.end(code, text)
        if metrics is not None:
            now = time.perf_counter()
            count = metrics.executed if rpc == EXECUTE else metrics.told_model
            count(service, code, now - begin, now)

    return over


class ObservedPeer(PeerClient):
    """Counts calls to another party, times them, and makes spans of them.

    Args:
        own: this party.
        party: the other one.
        channel: the way there.
        metrics: what is counted into, if anything.
        tracer: makes spans, if any.
        entries: as of the base.
    """

    def __init__(
        self,
        own: str,
        party: str,
        channel: Channel,
        metrics: ServerMetrics | None,
        tracer: Tracer | None,
        entries: frozenset[str] | None = None,
    ) -> None:
        super().__init__(party, channel, entries)
        self._own, self._metrics, self._tracer = own, metrics, tracer

    def execute(self, call: ExecuteCall, timeout: float) -> asyncio.Future[ExecuteReply]:
        """As of the base."""
        begin = time.perf_counter()
        span = self._span(EXECUTE, call.service, trace_of(call.headers))
        if span is not None:
            call.headers = {**call.headers, **span.context.b3_headers()}
        future = super().execute(call, timeout)
        future.add_done_callback(partial(self._over, "Execute", begin, span))
        if call.steps is not None:
            future.add_done_callback(partial(self._note, call, begin))
        return future

    def model_info(self, service: str, timeout: float, version: str = "") -> asyncio.Future[GetModelInfoResponse]:
        """As of the base."""
        begin = time.perf_counter()
        span = self._span(GET_MODEL_INFO, service, None)
        future = super().model_info(service, timeout, version)
        future.add_done_callback(partial(self._over, "GetModelInfo", begin, span))
        return future

    def _note(self, call: ExecuteCall, begin: float, _: object) -> None:
        assert call.steps is not None
        call.steps.append((f"execution {call.execution} at {self.party}", time.perf_counter() - begin))

    def _span(self, rpc: str, service: str, parent: TraceContext | None) -> Span | None:
        if self._tracer is None:
            return None
        return self._tracer.start(f"{rpc}: {self._own}-{self.party}", "client", service, parent, _attributes(rpc))

    def _over(self, action: str, begin: float, span: Span | None, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            code, text = ErrorCode.UNEXPECTED_ERROR, "nobody waits any longer"
        else:
            code, text = _outcome(future.exception())
        if self._metrics is not None:
            now = time.perf_counter()
            self._metrics.called_peer(self.party, action, code, now - begin, now)
        if span is not None:
            span.end(code, text)


class ObservedExecutor(Executor):
    """Counts executions and look-ups, and times them and their steps."""

    def observe(self, service: str, metrics: ServerMetrics | None) -> None:
        """Begin to count, for a service, and to note times in calls that want it; before anything is executed."""
        self._service, self._metrics = service, metrics
        if metrics is None:
            return
        for plan in self.plans:
            plan.observe(partial(self._step, metrics, plan.index))

    # Written out twice, without anything in between: this is done for every round of requests.
    def execute(self, call: ExecuteCall) -> ExecuteReply | Awaitable[ExecuteReply]:
        """As of the base."""
        begin = time.perf_counter()
        try:
            reply = Executor.execute(self, call)
        except Exception as error:
            self._ran(call, begin, error)
            raise
        if isinstance(reply, ExecuteReply):
            self._ran(call, begin, None)
            return reply
        return _told_later(reply, partial(self._ran, call, begin))

    def _fetch(self, call: ExecuteCall, ids: list[str]) -> FeatureResult | Awaitable[FeatureResult]:
        begin = time.perf_counter()
        try:
            result = Executor._fetch(self, call, ids)
        except Exception as error:
            self._fetched(call, begin, error)
            raise
        if isinstance(result, FeatureResult):
            self._fetched(call, begin, None)
            return result
        return _told_later(result, partial(self._fetched, call, begin))

    def _ran(self, call: ExecuteCall, begin: float, error: BaseException | None) -> None:
        now = time.perf_counter()
        if call.steps is not None:
            call.steps.append((f"execution {call.execution} here", now - begin))
        if self._metrics is not None:
            features = "FS_NONE" if call.execution else "FS_SERVICE" if call.predefined is None else "FS_PREDEFINED"
            code = ErrorCode.OK if error is None else _outcome(error)[0]
            self._metrics.ran(self._service, call.requester, code, features, now - begin, now)

    def _fetched(self, call: ExecuteCall, begin: float, error: BaseException | None) -> None:
        now = time.perf_counter()
        if call.steps is not None:
            call.steps.append(("features", now - begin))
        if self._metrics is not None:
            code = ErrorCode.OK if error is None else _outcome(error)[0]
            self._metrics.fetched(self._service, call.requester, code, now - begin, now)

    def _step(self, metrics: ServerMetrics, execution: int, node: str) -> Callable[[float, float], None]:
        return metrics.step(self._service, execution, node).observe


class ObservedPredictor(Predictor):
    """Tells with every reply and error what was done for it, and how long each step took.

    `execution N` is all of an execution, `execution N here` this party's part, `features` the look-up in it, and
    `execution N at PARTY` another party's part, the way there and back included.
    """

    async def _predict(self, request: PredictRequest, deadline: float) -> PredictReply:
        steps = self._steps_by_request[id(request)] = []
        try:
            reply = await super()._predict(request, deadline)
        except SfsError as error:
            error.steps = steps
            raise
        finally:
            del self._steps_by_request[id(request)]
        reply.steps = steps
        return reply

    async def _run(
        self, round_: Round, request: PredictRequest, tables: Tables, timeout: float, deadline: float
    ) -> Sequence[ExecuteReply]:
        begin = time.perf_counter()
        try:
            return await super()._run(round_, request, tables, timeout, deadline)
        finally:
            self._steps_by_request[id(request)].append((f"execution {round_.index}", time.perf_counter() - begin))

    def _call(self, round_: Round, party: str, request: PredictRequest, tables: Tables) -> ExecuteCall:
        call = super()._call(round_, party, request, tables)
        call.steps = self._steps_by_request[id(request)]
        return call

    @cached_property
    def _steps_by_request(self) -> dict[int, list[tuple[str, float]]]:
        return {}


class ObservedSource(SourceInFront):
    """A feature source whose look-ups are timed.

    Args:
        source: the source.
        tell: gets the code of each look-up, how many seconds it took, and the time at its end.
    """

    def __init__(self, source: Source, tell: Callable[[int, float, float], None]) -> None:
        super().__init__(source)
        self._tell = tell
        self.open, self.close, self.known_ids = source.open, source.close, source.known_ids

    def fetch(self, query: FeatureQuery) -> FeatureResult | Awaitable[FeatureResult]:
        """The source's rows."""
        begin = time.perf_counter()
        try:
            result = self._source.fetch(query)
        except Exception as error:
            self._over(begin, error)
            raise
        if isinstance(result, FeatureResult):
            self._over(begin, None)
            return result
        return _told_later(result, partial(self._over, begin))

    def _over(self, begin: float, error: BaseException | None) -> None:
        now = time.perf_counter()
        self._tell(ErrorCode.OK if error is None else _outcome(error)[0], now - begin, now)


async def _told_later(pending: Awaitable[T], tell: Callable[[BaseException | None], None]) -> T:
    """What is waited for; `tell` gets its error, if any, when it is there."""
    error: BaseException | None = None
    try:
        return await pending
    except BaseException as failure:
        error = failure
        raise
    finally:
        tell(error)


def _outcome(error: BaseException | None) -> tuple[ErrorCode, str]:
    if error is None:
        return ErrorCode.OK, ""
    if isinstance(error, SfsError):
        return error.code, error.public_text()
    return ErrorCode.UNEXPECTED_ERROR, type(error).__name__
