"""PredictionService.Predict: what callers ask."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from sfs_core.codec import prediction
from sfs_core.codec.dialect import BodyError
from sfs_core.codec.entries import drop_own
from sfs_core.codec.features import feature_rows
from sfs_core.codec.prediction import PredictReply, PredictRequest
from sfs_core.engine.batcher import Batcher, Outcome
from sfs_core.errors import BusyError, ErrorCode, RequestError, SfsError
from sfs_core.link.later import Later
from sfs_core.link.refusal import RefusalError
from sfs_core.link.rpc import CallInfo, Encoding
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.observe.trace_context import adopt_trace
from sfs_core.proto import apis_pb2
from sfs_core.sdk.hookspecs import PredictionEvent
from sfs_core.server.errors import decode_body, request_id, safe_error
from sfs_core.server.gate import Gate, Visit
from sfs_core.server.observed import PREDICT, Span, Tracer, begin_call
from sfs_core.server.served import ServedModels, service_label

__all__ = ["PredictHandler"]

logger = logging.getLogger("sfs.predict")

Observer = Callable[[PredictionEvent], None]

_UNREAD: Final = PredictRequest()
"""Stands for a request before it is read."""
LATE_SECONDS: Final = 0.05
"""How long after its time a request is given up here: what its round itself says then tells more."""


class PredictHandler:
    """Answers Predict calls of every service of a party.

    Args:
        party: this party.
        models: what is served.
        observers: told of every prediction.
        metrics: what is counted into, if anything.
        tracer: makes spans, if any.
        gate: lets callers in; None for everybody.
        timeout: seconds for a prediction whose caller does not say how long it is going to wait.
    """

    def __init__(
        self,
        party: str,
        models: ServedModels,
        observers: Sequence[Observer] = (),
        tracer: Tracer | None = None,
        gate: Gate | None = None,
        timeout: float = inf,
        metrics: ServerMetrics | None = None,
    ) -> None:
        self.party = party
        self.observers = observers
        self.metrics = metrics
        self.is_watched = metrics is not None or bool(observers)
        self.timeout = timeout
        self._models = models
        self._tracer = tracer
        self._gate = gate
        self.loop = asyncio.get_running_loop()

    def __call__(self, body: bytes, info: CallInfo) -> bytes | Later[bytes]:
        call = _Call(self, info)
        if self._gate is not None:
            call.enter(self._gate)
        try:
            request = call.request = _decode(body, info)
            if request.headers:
                drop_own(request.headers)
            adopt_trace(request.headers, info.headers)
            if self._tracer is not None:
                service = service_label(self._models, request.service)
                call.span = begin_call(self._tracer, PREDICT, service, info, request.headers)
            if call.visit is not None:
                call.visit.ask(request.service, _rows(request))
            call.started(self._batcher_of(request).submit(request, call.deliver, call.deadline))
        except (BodyError, BusyError, RefusalError) as error:
            call.refused(error)
            raise
        except Exception as error:  # noqa: BLE001 - every failure becomes a coded answer
            return call.encoded(error)
        return call

    def label(self, service: str) -> str:
        """A service that somebody asked for, as it may be written down."""
        return service_label(self._models, service)

    def _batcher_of(self, request: PredictRequest) -> Batcher:
        model = self._models.get(request.service)
        if model is None:
            raise SfsError(
                "the request names no service of this party" if request.service else "the request names no service",
                code=ErrorCode.LOGIC_ERROR,
                where="service_spec.id",
            )
        if model.batcher is None:
            raise SfsError("not ready: the parties have not agreed on the model yet", code=ErrorCode.NOT_READY)
        return model.batcher


class _Call(Later[bytes]):
    """A call that waits for its answer."""

    __slots__ = (
        "_give_up",
        "_handler",
        "_info",
        "_started",
        "_timer",
        "deadline",
        "request",
        "span",
        "visit",
    )

    def __init__(self, handler: PredictHandler, info: CallInfo) -> None:
        super().__init__()
        self._started = time.perf_counter()
        self._handler = handler
        self._info = info
        self.request = _UNREAD
        self.span: Span | None = None
        self.visit: Visit | None = None
        self.deadline = handler.loop.time() + (handler.timeout if info.timeout is None else info.timeout)
        self._give_up: Callable[[], None] = _nothing
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, gate: Gate) -> None:
        """Have the gate let the caller in.

        Raises:
            RefusalError: it does not.
        """
        self.visit = gate.admit(self._info)

    def started(self, give_up: Callable[[], None]) -> None:
        """The prediction is under way; `give_up` is to say when nobody wants it any longer."""
        if self.over():
            return
        self._give_up = give_up
        if self._info.timeout is not None:  # others that share the round may have more
            self._timer = self._handler.loop.call_at(self.deadline + LATE_SECONDS, self._expire)

    def _expire(self) -> None:
        self._give_up()
        self.deliver(SfsError("the request's time limit passed"))

    def cancel(self) -> None:
        """The caller has left."""
        if self.over():
            return
        self._give_up()
        self._end()
        super().cancel()
        self._report(PredictReply(self.request.service, code=ErrorCode.UNEXPECTED_ERROR, message="the caller has left"))

    def _end(self) -> None:
        self._give_up = _nothing  # which leads back here
        if self._timer is not None:
            self._timer.cancel()

    def deliver(self, outcome: Outcome) -> None:
        """The prediction is there; nobody may want it any longer."""
        if not self.over():
            self._end()
            try:
                body = self.encoded(outcome)
            except Exception as error:  # noqa: BLE001 - the caller waits, and so do others of the round
                self.give(error)
            else:
                self.give(body)

    def encoded(self, outcome: Outcome) -> bytes:
        """The answer; everybody who is to know of it is told."""
        request, info = self.request, self._info
        if isinstance(outcome, PredictReply):
            reply = outcome
        else:
            id_ = request_id(info, request.headers)
            code, text = safe_error(outcome, logger, "predict", id_)
            steps = outcome.steps if isinstance(outcome, SfsError) else ()
            reply = PredictReply(request.service, code=code, message=f"[{id_}] {text}", steps=steps)
        if self.span is not None or self.visit is not None or self._handler.is_watched:
            self._report(reply)
        if info.encoding is Encoding.JSON:
            return prediction.encode_json(reply)
        return prediction.encode_message(reply).SerializeToString()

    def refused(self, error: SfsError | RefusalError) -> None:
        """The call itself is refused, there is no answer."""
        code = error.code if isinstance(error, SfsError) else ErrorCode.INVALID_ARGUMENT
        self._report(PredictReply(self.request.service, code=code, message=str(error)))

    def _report(self, reply: PredictReply) -> None:
        handler, request = self._handler, self.request
        rows = reply.scores.num_rows if reply.scores is not None else 0
        if self.span is not None:
            self.span.end(reply.code, reply.message)
        if self.visit is not None:
            self._leave(self.visit, rows, reply.code)
        now = time.perf_counter()
        seconds = now - self._started
        if handler.metrics is not None:
            handler.metrics.predicted(request.service, reply.code, rows, seconds, now)
        if handler.observers:
            trace_id = request.headers.get("X-B3-TraceId", "")
            event = PredictionEvent(handler.party, request.service, rows, reply.code, seconds, trace_id, reply.steps)
            for observe in handler.observers:
                observe(event)

    def _leave(self, visit: Visit, rows: int, code: int) -> None:
        self.visit = None
        own = self.request.fs_params.get(self._handler.party)
        trace_id = self.request.headers.get("X-B3-TraceId", "")
        service = self._handler.label(self.request.service)
        visit.over(service, rows, code, trace_id, own.query_datas if own else ())


def _nothing() -> None:
    """For a call that is over."""


def _rows(request: PredictRequest) -> int:
    """Rows asked for; where parties' differ, which is refused later, the most."""
    if request.predefined_features:
        return feature_rows(request.predefined_features)
    return max((len(param.query_datas) for param in request.fs_params.values()), default=0)


def _decode(body: bytes, info: CallInfo) -> PredictRequest:
    if info.encoding is Encoding.JSON:
        return prediction.decode_json(body)
    try:
        return prediction.decode_message(decode_body(body, info, apis_pb2.PredictRequest()))
    except ValueError:
        raise RequestError("the request holds text that is not UTF-8") from None
