"""ExecutionService.Execute: what peers ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Final

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.execution import ExecuteReply, call_from_message, error_reply_message, reply_to_message
from sfs_core.errors import ErrorCode, RequestError, SfsError
from sfs_core.link.rpc import CallInfo
from sfs_core.proto import apis_pb2
from sfs_core.server.errors import decode_body, encode_body, request_id, safe_error
from sfs_core.server.served import ServedModel, ServedModels

__all__ = ["ExecuteHandler"]

logger = logging.getLogger("sfs.execute")

AGREEMENT_SECONDS: Final = 1.0
"""How long a call may wait for this party's own handshake to end."""


class ExecuteHandler:
    """Answers Execute calls for every service of a party; those with more than `max_rows` rows are refused."""

    def __init__(self, models: ServedModels, max_rows: int) -> None:
        self._models = models
        self._max_rows = max_rows

    def __call__(self, body: bytes, info: CallInfo) -> bytes | Awaitable[bytes]:
        message = apis_pb2.ExecuteRequest()
        try:
            decode_body(body, info, message)
        except BodyError:
            raise
        except SfsError as error:
            return _failed(message, info, error)
        model = self._models.get(message.service_spec.id)
        if model is not None and model.predictor is None:
            return self._answer_when_agreed(model, message, info)
        return self._answer(message, info)

    def _answer(self, message: apis_pb2.ExecuteRequest, info: CallInfo) -> bytes | Awaitable[bytes]:
        try:
            reply = self._execute(message)
        except Exception as error:  # noqa: BLE001 - every failure becomes a coded answer
            return _failed(message, info, error)
        if isinstance(reply, ExecuteReply):
            return encode_body(reply_to_message(message.service_spec.id, reply), info)
        return _answer_later(message, info, reply)

    async def _answer_when_agreed(self, model: ServedModel, message: apis_pb2.ExecuteRequest, info: CallInfo) -> bytes:
        """A peer that was told of the model a moment ago may ask before this party has heard from all others."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGREEMENT_SECONDS):
                await model.agreed.wait()
        answer = self._answer(message, info)
        return answer if isinstance(answer, bytes) else await answer

    def _execute(self, message: apis_pb2.ExecuteRequest) -> ExecuteReply | Awaitable[ExecuteReply]:
        model = self._models.get(message.service_spec.id)
        if model is None:
            raise RequestError("the request names no service of this party", where="service_spec.id")
        if model.predictor is None:
            raise SfsError("not ready: the parties have not agreed on the model yet", code=ErrorCode.NOT_READY)
        call = call_from_message(message)
        rows = call.most_rows
        if rows > self._max_rows:
            raise RequestError(f"{rows} rows asked for, at most {self._max_rows} are served")
        if call.requester == model.executor.party:  # who is asked shows itself what it shows nobody else
            raise RequestError("the requester is this party itself, which asks no peer for its own part")
        return model.executor.execute(call)


async def _answer_later(message: apis_pb2.ExecuteRequest, info: CallInfo, pending: Awaitable[ExecuteReply]) -> bytes:
    try:
        reply = await pending
        return encode_body(reply_to_message(message.service_spec.id, reply), info)
    except Exception as error:  # noqa: BLE001 - every failure becomes a coded answer
        return _failed(message, info, error)


def _failed(message: apis_pb2.ExecuteRequest, info: CallInfo, error: Exception) -> bytes:
    code, text = safe_error(error, logger, "execute", request_id(info, message.header.data))
    return encode_body(error_reply_message(message.service_spec.id, code, text), info)
