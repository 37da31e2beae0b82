"""ExecutionService.Execute: what peers ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, MutableMapping
from math import inf
from typing import Final

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.entries import crossing
from sfs_core.codec.execute_templates import CallTemplates, ReplyTemplates
from sfs_core.codec.execution import (
    MODEL,
    ExecuteCall,
    ExecuteReply,
    call_from_message,
    error_reply_message,
    reply_to_message,
)
from sfs_core.errors import ErrorCode, RequestError, SfsError, UnknownModelError
from sfs_core.link.rpc import CallInfo, Encoding
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
        self._calls = CallTemplates()
        self._replies = ReplyTemplates()

    def __call__(self, body: bytes, info: CallInfo) -> bytes | Awaitable[bytes]:
        call = _Call(body, info, self._entries, self._replies)
        try:
            call.read(self._calls)
            self._identities.check(call.requester, info)
        except BodyError:
            raise
        except SfsError as error:
            return call.failed(error)
        if self._watch is not None:
            call.over = self._watch(EXECUTE, service_label(self._models, call.service), info, call.headers)
        model = self._model_of(call)
        if model is not None and model.predictor is None:
            return self._answer_when_agreed(model, call)
        return self._answer(call)

    def _model_of(self, call: _Call) -> ServedModel | None:
        """The model that the requester names; of one that names none, what callers of the service get."""
        return self._models.get(call.service) if call.model is None else self._models.named(call.service, call.model)

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
        model = self._model_of(waiting)
        if model is None:
            if not self._models.knows(waiting.service):
                raise RequestError("the request names no service of this party", where="service_spec.id")
            raise UnknownModelError("this party has not (any more) the model that the request names")
        if model.predictor is None:
            raise SfsError("not ready: the parties have not agreed on the model yet", code=ErrorCode.NOT_READY)
        call = waiting.record or call_from_message(waiting.message)
        call.deadline = waiting.deadline
        rows = call.most_rows
        if rows > self._max_rows:
            raise RequestError(f"{rows} rows asked for, at most {self._max_rows} are served")
        if call.requester == model.executor.party:  # who is asked shows itself what it shows nobody else
            raise RequestError("the requester is this party itself, which asks no peer for its own part")
        model.executor.check_peer_call(call)
        reply = model.executor.execute(call)
        if waiting.record is None and waiting.info.encoding is Encoding.PROTO:
            self._calls.learn(waiting.body, call)
        return reply


class _Call:
    """A call that waits for its answer.

    Attributes:
        record: what is asked, where that is known without a message.
        message: the message of any other call.
        model: id of the model that the requester names; None where it names none.
    """

    __slots__ = (
        "body",
        "deadline",
        "entries",
        "headers",
        "info",
        "message",
        "model",
        "over",
        "record",
        "replies",
        "requester",
        "service",
    )

    message: apis_pb2.ExecuteRequest

    def __init__(self, body: bytes, info: CallInfo, entries: frozenset[str] | None, replies: ReplyTemplates) -> None:
        self.body = body
        self.info = info
        self.entries = entries
        self.replies = replies
        self.service = self.requester = ""
        self.headers: MutableMapping[str, str] = {}
        self.model: str | None = None
        self.record: ExecuteCall | None = None
        self.over: Over | None = None
        self.deadline = inf if info.timeout is None else asyncio.get_running_loop().time() + info.timeout

    def read(self, templates: CallTemplates) -> None:
        """Know what is asked, by whom, of what.

        Raises:
            BodyError, RequestError: as of `decode_body`.
        """
        record = self.record = templates.read(self.body) if self.info.encoding is Encoding.PROTO else None
        if record is not None:
            self.service, self.requester, self.headers = record.service, record.requester, record.headers
            self.model = record.model or None
            return
        message = self.message = decode_body(self.body, self.info, apis_pb2.ExecuteRequest())
        self.service, self.requester, self.headers = message.service_spec.id, message.requester_id, message.header.data
        self.model = self.headers.get(MODEL)

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
        body = self.replies.write(self.service, reply) if self.info.encoding is Encoding.PROTO else None
        if body is None:
            body = encode_body(reply_to_message(self.service, reply), self.info)
        if self.over is not None:
            self.over(ErrorCode.OK, "")
        return body

    def failed(self, error: Exception) -> bytes:
        code, text = safe_error(error, logger, "execute", request_id(self.info, self.headers))
        if self.over is not None:
            self.over(code, text)
        unknown = isinstance(error, UnknownModelError)
        reply = error_reply_message(self.service, code, text, unknown_model=unknown)
        return encode_body(reply, self.info)
