"""ModelService.GetModelInfo: what callers and peers may know of the model."""

from __future__ import annotations

import asyncio

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.execution import AGREED_EXTENSION, EXTENSIONS, MODEL, MODEL_EXTENSION, PER_ROW_EXTENSION
from sfs_core.errors import ErrorCode, RequestError
from sfs_core.link.rpc import CallInfo
from sfs_core.proto import apis_pb2
from sfs_core.server.errors import decode_body, encode_body
from sfs_core.server.gate import Gate, Visit
from sfs_core.server.observed import GET_MODEL_INFO, Over, Watch
from sfs_core.server.served import ServedModels, service_label
from sfs_core.server.tls import PartyIdentities

__all__ = ["ModelInfoHandler"]


class ModelInfoHandler:
    """Answers GetModelInfo calls for every service of a party.

    Args:
        models: what is served.
        watch: told of every call.
        identities: where given, nobody but these parties is answered.
        gate: lets callers in; None for everybody.

    Attributes:
        answered: released once per call, for an unknown service, too; who waits for calls acquires it.
    """

    def __init__(
        self,
        models: ServedModels,
        watch: Watch | None = None,
        identities: PartyIdentities | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._models = models
        self._watch = watch
        self._identities = identities
        self._gate = gate
        self.answered = asyncio.Semaphore(0)

    def __call__(self, body: bytes, info: CallInfo) -> bytes:
        if self._gate is None:
            return self._answer(body, info, None)
        visit = self._gate.admit(info)
        try:
            return self._answer(body, info, visit)
        finally:
            visit.left()

    def _answer(self, body: bytes, info: CallInfo, visit: Visit | None) -> bytes:
        request, answer = apis_pb2.GetModelInfoRequest(), apis_pb2.GetModelInfoResponse()
        try:
            decode_body(body, info, request)
            if self._identities is not None:
                self._identities.check_any(info)
        except BodyError:
            raise
        except RequestError as error:
            answer.status.code, answer.status.msg = error.code, error.public_text()
            return encode_body(answer, info)
        if visit is not None:
            visit.ask(request.service_spec.id, rows=0)
        over: Over | None = None
        if self._watch is not None:
            service = service_label(self._models, request.service_spec.id)
            over = self._watch(GET_MODEL_INFO, service, info, request.header.data)
        self.answered.release()
        answer.service_spec.id = request.service_spec.id
        version = request.header.data.get(MODEL, "") if self._identities is not None else ""
        models, service_id = self._models, request.service_spec.id
        # Callers are told of what they get; peers also of what waits for them.
        model = models.get(service_id) if self._identities is None else models.of_version(service_id, version)
        if model is None:
            answer.status.code, answer.status.msg = ErrorCode.NOT_FOUND, "the request names no service of this party"
        else:
            answer.status.code = ErrorCode.OK
            answer.model_info.CopyFrom(model.info)
            extensions = [PER_ROW_EXTENSION] if model.per_row else []
            if version:  # who asks for one knows what this is
                answer.header.data[MODEL] = model.id
                extensions += [MODEL_EXTENSION, *([AGREED_EXTENSION] if model.predictor is not None else [])]
                extensions += sorted(model.extensions)
            if extensions:
                answer.header.data[EXTENSIONS] = ",".join(extensions)
        if over is not None:
            over(answer.status.code, answer.status.msg)
        return encode_body(answer, info)
