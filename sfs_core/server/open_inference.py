"""The Open Inference Protocol V2 over HTTP, in front of Predict: what it asks goes through the same code, gate and
limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any, Final

import msgspec
import orjson

from sfs_core import __version__
from sfs_core.codec.tensors import InferRequest, decode_infer, encode_infer, predict_request
from sfs_core.errors import ErrorCode, RequestError, SfsError
from sfs_core.link.later import Later
from sfs_core.link.rpc import CallInfo, Encoding, Resource, WebAnswer
from sfs_core.server.gate import Gate
from sfs_core.server.readiness import Readiness
from sfs_core.server.served import ServedModels

__all__ = ["open_inference"]

_STATUS_OF: Final = {
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.LOGIC_ERROR: 400,
    ErrorCode.DESERIALIZE_FAILED: 400,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.FS_NOT_FOUND: 404,
    ErrorCode.NETWORK_ERROR: 502,
    ErrorCode.NOT_READY: 503,
}
_JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode

Predict = Callable[[bytes, CallInfo], bytes | Later[bytes]]


def open_inference(
    predict: Predict,
    models: ServedModels,
    parties: Collection[str],
    readiness: Readiness,
    gate: Gate | None = None,
) -> list[Resource]:
    """What the service port serves below `/v2`.

    Args:
        predict: answers Predict.
        models: what is served.
        parties: ids of all parties; input tensors with these names hold ids.
        readiness: whether predictions are answered.
        gate: lets callers in, as `predict` does; None for everybody. Whether a model is ready is told to all.
    """
    protocol = _OpenInference(predict, models, parties, readiness, gate)
    return [
        Resource("GET", "/v2", protocol.server),
        Resource("GET", "/v2/health/live", protocol.live),
        Resource("GET", "/v2/health/ready", protocol.ready),
        Resource("GET", "/v2/models/{model}", protocol.metadata),
        Resource("GET", "/v2/models/{model}/ready", protocol.model_ready),
        Resource("POST", "/v2/models/{model}/infer", protocol.infer),
    ]


def _answer(body: Any, status: int = 200) -> WebAnswer:
    return WebAnswer(status, _JSON, orjson.dumps(body))


class _OpenInference:
    def __init__(
        self,
        predict: Predict,
        models: ServedModels,
        parties: Collection[str],
        readiness: Readiness,
        gate: Gate | None,
    ) -> None:
        self._predict, self._models, self._parties, self._readiness = predict, models, parties, readiness
        self._gate = gate

    # -------------------------------------------------------------- about the server
    def server(self, _body: bytes, _info: CallInfo) -> WebAnswer:
        return _answer({"name": "sfs", "version": __version__, "extensions": []})

    def live(self, _body: bytes, _info: CallInfo) -> WebAnswer:
        return _answer({"live": True})

    def ready(self, _body: bytes, _info: CallInfo) -> WebAnswer:
        return WebAnswer(*self._readiness.page())

    # --------------------------------------------------------------- about a model
    def metadata(self, _body: bytes, info: CallInfo, model: str) -> WebAnswer:
        if self._gate is None:
            return self._described(model)
        visit = self._gate.admit(info)
        try:
            visit.ask(model, rows=0)
            return self._described(model)
        finally:
            visit.left()

    def _described(self, model: str) -> WebAnswer:
        served = self._models.get(model)
        if served is None:
            return _no_model()
        scores = served.predictor.score_schema.names if served.predictor else ()
        return _answer(
            {
                "name": model,
                "versions": [],
                "platform": "sfs",
                "inputs": [{"name": party, "datatype": "BYTES", "shape": [-1]} for party in self._parties],
                "outputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in scores],
            }
        )

    def model_ready(self, _body: bytes, _info: CallInfo, model: str) -> WebAnswer:
        if model not in self._models:
            return _no_model()
        ready = self._readiness.is_ready(model)
        return _answer({"name": model, "ready": ready}, 200 if ready else 503)

    # ----------------------------------------------------------------- predictions
    def infer(self, body: bytes, info: CallInfo, model: str) -> WebAnswer | Awaitable[WebAnswer]:
        if self._gate is not None:  # before anything is read; limits are for `predict` to see to
            self._gate.recognize(info)
        if model not in self._models:
            return _no_model()
        try:
            request = decode_infer(body)
            asked = _encode(predict_request(request, model, self._parties))
        except SfsError as error:
            return _failed(error.code, error.public_text())
        answer = self._predict(asked, replace(info, encoding=Encoding.JSON))
        if isinstance(answer, bytes):
            return self._inferred(request, model, answer)
        return _later(answer, lambda body: self._inferred(request, model, body))

    def _inferred(self, request: InferRequest, model: str, answer: bytes) -> WebAnswer:
        reply = orjson.loads(answer)
        status = reply["status"]
        if status["code"] != ErrorCode.OK:
            return _failed(status["code"], status["msg"])
        rows = [[score["value"] for score in result["scores"]] or None for result in reply.get("results", [])]
        names = self._score_names(model)
        try:
            wanted = [output.name for output in request.outputs]
            return WebAnswer(200, _JSON, encode_infer(model, request.id, rows, names, wanted))
        except RequestError as error:
            return _failed(error.code, error.public_text())

    def _score_names(self, model: str) -> tuple[str, ...]:
        served = self._models.get(model)
        return tuple(served.predictor.score_schema.names) if served and served.predictor else ()


async def _later(pending: Later[bytes], answered: Callable[[bytes], WebAnswer]) -> WebAnswer:
    return answered(await pending.wait())


def _no_model() -> WebAnswer:
    return _failed(ErrorCode.NOT_FOUND, "this party serves no model of that name")


def _failed(code: int, text: str) -> WebAnswer:
    status = _STATUS_OF.get(ErrorCode(code), 500)
    return _answer({"error": text, "code": code}, status)
