"""PredictionService.Predict: what callers ask."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from math import inf

from sfs_core.codec import prediction
from sfs_core.codec.dialect import BodyError
from sfs_core.codec.prediction import PredictReply, PredictRequest
from sfs_core.engine.batcher import Batcher, Outcome
from sfs_core.errors import ErrorCode, RequestError, SfsError
from sfs_core.link.rpc import CallInfo, Encoding
from sfs_core.observe.trace_context import adopt_trace
from sfs_core.proto import apis_pb2
from sfs_core.sdk.hookspecs import PredictionEvent
from sfs_core.server.errors import decode_body, request_id, safe_error
from sfs_core.server.observed import PREDICT, Span, Tracer, begin_call
from sfs_core.server.served import ServedModels, service_label

__all__ = ["PredictHandler"]

logger = logging.getLogger("sfs.predict")

Observer = Callable[[PredictionEvent], None]


class PredictHandler:
    """Answers Predict calls of every service of a party."""

    def __init__(
        self, party: str, models: ServedModels, observers: Sequence[Observer] = (), tracer: Tracer | None = None
    ) -> None:
        self._party = party
        self._models = models
        self._observers = observers
        self._tracer = tracer

    def __call__(self, body: bytes, info: CallInfo) -> bytes | Awaitable[bytes]:
        started = time.perf_counter()
        request, span = PredictRequest(), None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        deadline = inf if info.timeout is None else loop.time() + info.timeout

        def deliver(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(self._encoded(request, info, outcome, started, span))

        try:
            request = _decode(body, info)
            adopt_trace(request.headers, info.headers)
            if self._tracer is not None:
                service = service_label(self._models, request.service)
                span = begin_call(self._tracer, PREDICT, service, info, request.headers)
            self._batcher_of(request).submit(request, deliver, answer.done, deadline)
        except BodyError:
            raise
        except Exception as error:  # noqa: BLE001 - every failure becomes a coded answer
            return self._encoded(request, info, error, started, span)
        return answer

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

    def _encoded(
        self, request: PredictRequest, info: CallInfo, outcome: Outcome, started: float, span: Span | None
    ) -> bytes:
        if isinstance(outcome, PredictReply):
            reply = outcome
        else:
            id_ = request_id(info, request.headers)
            code, text = safe_error(outcome, logger, "predict", id_)
            reply = PredictReply(request.service, code=code, message=f"[{id_}] {text}")
        if span is not None:
            span.end(reply.code, reply.message)
        if self._observers:
            self._observe(request, reply, time.perf_counter() - started)
        if info.encoding is Encoding.JSON:
            return prediction.encode_json(reply)
        return prediction.encode_message(reply).SerializeToString()

    def _observe(self, request: PredictRequest, reply: PredictReply, seconds: float) -> None:
        rows = reply.scores.num_rows if reply.scores is not None else 0
        trace_id = request.headers.get("X-B3-TraceId", "")
        event = PredictionEvent(self._party, request.service, rows, reply.code, seconds, trace_id)
        for observe in self._observers:
            observe(event)


def _decode(body: bytes, info: CallInfo) -> PredictRequest:
    if info.encoding is Encoding.JSON:
        return prediction.decode_json(body)
    try:
        return prediction.decode_message(decode_body(body, info, apis_pb2.PredictRequest()))
    except ValueError:
        raise RequestError("the request holds text that is not UTF-8") from None
