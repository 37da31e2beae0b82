"""ExecutionService.Execute: what peers ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from math import inf
from typing import Final

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.entries import crossing
from sfs_core.codec.execution import MODEL, ExecuteReply, call_from_message, error_reply_message, reply_to_message
from sfs_core.errors import ErrorCode, RequestError, SfsError, UnknownModelError
from sfs_core.link.rpc import CallInfo
from sfs_core.proto import apis_pb2
from sfs_core.server.errors import decode_body, encode_body, request_id, safe_error
from sfs_core.server.observed import EXECUTE, Over, Watch
from sfs_core.server.served import ServedModel, ServedModels, service_label
from sfs_core.server.tls import PartyIdentities

__all__ = ["ExecuteHandler"]

logger = logging.getLogger("sfs.execute")

AGREEMENT_SECONDS: Final = 1.0
"""How long a call may wait for this party's own handshake to end."""


class ExecuteHandler:
    """Answers Execute calls for every service of a party.

    Args:
        models: what is served.
        max_rows: calls with more rows are refused.
        identities: who may ask as which party.
        watch: told of every call.
        entries: names of header entries that feature services' answers may add to this party's; None for all.
    """

    def __init__(
        self,
        models: ServedModels,
        max_rows: int,
        identities: PartyIdentities,
        watch: Watch | None = None,
        entries: frozenset[str] | None = None,
    ) -> None:
        self._models = models
        self._max_rows = max_rows
        self._identities = identities
        self._watch = watch
        self._entries = entries

    def __call__(self, body: bytes, info: CallInfo) -> bytes | Awaitable[bytes]:
        message = apis_pb2.ExecuteRequest()
        call = _Call(message, info, self._entries)
        try:
            decode_body(body, info, message)
            self._identities.check(message.requester_id, info)
        except BodyError:
            raise
        except SfsError as error:
            return call.failed(error)
        if self._watch is not None:
            service = service_label(self._models, message.service_spec.id)
            call.over = self._watch(EXECUTE, service, info, message.header.data)
        model = self._model_of(message)
        if model is not None and model.predictor is None:
            return self._answer_when_agreed(model, call)
        return self._answer(call)

    def _model_of(self, message: apis_pb2.ExecuteRequest) -> ServedModel | None:
        """The model that the requester names; of one that names none, what callers of the service get."""
        service, named = message.service_spec.id, message.header.data.get(MODEL)
        return self._models.get(service) if named is None else self._models.named(service, named)

    def _answer(self, call: _Call) -> bytes | Awaitable[bytes]:
        try:
            reply = self._execute(call)
        except Exception as error:  # noqa: BLE001 - every failure becomes a coded answer
            return call.failed(error)
        return call.succeeded(reply) if isinstance(reply, ExecuteReply) else call.finish(reply)

    async def _answer_when_agreed(self, model: ServedModel, call: _Call) -> bytes:
        """A peer that was told of the model a moment ago may ask before this party has heard from all others."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + AGREEMENT_SECONDS, call.deadline)):
                await model.agreed.wait()
        answer = self._answer(call)
        return answer if isinstance(answer, bytes) else await answer

    def _execute(self, waiting: _Call) -> ExecuteReply | Awaitable[ExecuteReply]:
        message = waiting.message
        model = self._model_of(message)
        if model is None:
            if not self._models.knows(message.service_spec.id):
                raise RequestError("the request names no service of this party", where="service_spec.id")
            raise UnknownModelError("this party has not (any more) the model that the request names")
        if model.predictor is None:
            raise SfsError("not ready: the parties have not agreed on the model yet", code=ErrorCode.NOT_READY)
        call = call_from_message(message)
        call.deadline = waiting.deadline
        rows = call.most_rows
        if rows > self._max_rows:
            raise RequestError(f"{rows} rows asked for, at most {self._max_rows} are served")
        if call.requester == model.executor.party:  # who is asked shows itself what it shows nobody else
            raise RequestError("the requester is this party itself, which asks no peer for its own part")
        model.executor.check_peer_call(call)
        return model.executor.execute(call)


class _Call:
    """A call that waits for its answer."""

    __slots__ = ("deadline", "entries", "info", "message", "over")

    def __init__(self, message: apis_pb2.ExecuteRequest, info: CallInfo, entries: frozenset[str] | None) -> None:
        self.message = message
        self.entries = entries
        self.info = info
        self.over: Over | None = None
        self.deadline = inf if info.timeout is None else asyncio.get_running_loop().time() + info.timeout

    async def finish(self, pending: Awaitable[ExecuteReply]) -> bytes:
        try:
            return self.succeeded(await pending)
        except asyncio.CancelledError:
            if self.over is not None:
                self.over(ErrorCode.UNEXPECTED_ERROR, "the requester has left")
            raise
        except Exception as error:  # noqa: BLE001 - every failure becomes a coded answer
            return self.failed(error)

    def succeeded(self, reply: ExecuteReply) -> bytes:
        if reply.headers:
            reply.headers = crossing(reply.headers, self.entries)
        body = encode_body(reply_to_message(self.message.service_spec.id, reply), self.info)
        if self.over is not None:
            self.over(ErrorCode.OK, "")
        return body

    def failed(self, error: Exception) -> bytes:
        code, text = safe_error(error, logger, "execute", request_id(self.info, self.message.header.data))
        if self.over is not None:
            self.over(code, text)
        unknown = isinstance(error, UnknownModelError)
        reply = error_reply_message(self.message.service_spec.id, code, text, unknown_model=unknown)
        return encode_body(reply, self.info)
