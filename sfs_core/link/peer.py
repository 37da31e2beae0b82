"""Another party, as the engine and the handshake see it."""

from __future__ import annotations

import asyncio

from sfs_core.codec.entries import TRACE_ENTRIES, crossing
from sfs_core.codec.execute_templates import ReplyTemplates
from sfs_core.codec.execution import (
    MODEL,
    SAFE_TEXT_MARK,
    ExecuteCall,
    ExecuteReply,
    call_to_message,
    names_unknown_model,
    reply_from_message,
)
from sfs_core.errors import ErrorCode, PeerAnswerError, PeerError, PeerModelError, SfsError
from sfs_core.link.outgoing import Channel
from sfs_core.link.text import short_text
from sfs_core.proto import apis_pb2, tools_pb2

__all__ = ["PeerClient"]

_EXECUTION_SERVICE = "secretflow.serving.apis.ExecutionService"
_MODEL_SERVICE = "secretflow.serving.apis.ModelService"
_CONTROL_SERVICE = "secretflow.serving.tools.InferenceControlService"


class PeerClient:
    """Asks a party for its part.

    Args:
        party: its id.
        channel: the way there.
        entries: names of entries of a request's header that it is told besides those for tracing; None for all.
    """

    def __init__(self, party: str, channel: Channel, entries: frozenset[str] | None = None) -> None:
        self.party = party
        self._channel = channel
        self._entries = entries
        self._answers = _ExecuteAnswers()

    def execute(self, call: ExecuteCall, timeout: float) -> asyncio.Future[ExecuteReply]:
        """Have an execution run; it is under way when this returns.

        Returns:
            A future of the reply. All failures are `PeerError`s (code 4) that name the party: it cannot be reached,
            does not answer within `timeout` seconds, answers with an error (the message has its code, and its text if
            that comes from a party of this software),
            or sends tables that cannot be read; a `PeerModelError` where it has not the model that the call names.
        """
        if self._entries is not None:
            call.headers = crossing(call.headers, self._entries)
        headers = {name: call.headers[name] for name in TRACE_ENTRIES if name in call.headers}
        execution = call.execution
        per_row_count = len(call.ids) if call.per_row and call.ids is not None else None

        def read(response: ExecuteReply | apis_pb2.ExecuteResponse) -> ExecuteReply:
            if isinstance(response, ExecuteReply):
                return response
            if response.status.code != ErrorCode.OK and call.model and names_unknown_model(response):
                raise PeerModelError(f"peer {self.party!r} has another model now")
            self._check_status(response.status)
            try:
                reply = reply_from_message(response, execution, per_row_count)
            except SfsError as error:
                raise PeerAnswerError(
                    f"peer {self.party!r} sent an answer that cannot be used: {error.message}"
                ) from None
            self._answers.templates.expect(call.service, reply)
            return reply

        return self._channel.call(
            _EXECUTION_SERVICE, "Execute", call_to_message(call), self._answers, timeout, headers, read
        )

    def model_info(
        self, service: str, timeout: float, version: str = ""
    ) -> asyncio.Future[apis_pb2.GetModelInfoResponse]:
        """What the party says of its model for a service, and what it can do beyond the reference.

        A party that has several models tells of that of `version`, if it has it, else of that which it serves.
        Failures as of `execute`, but code 5 where the party serves no such service.
        """

        def read(response: apis_pb2.GetModelInfoResponse) -> apis_pb2.GetModelInfoResponse:
            if response.status.code == ErrorCode.NOT_FOUND:
                raise PeerError(f"peer {self.party!r} serves no service {service!r}", code=ErrorCode.NOT_FOUND)
            self._check_status(response.status)
            return response

        request = apis_pb2.GetModelInfoRequest()
        request.header.SetInParent()
        if version:
            request.header.data[MODEL] = version
        request.service_spec.id = service
        return self._channel.call(
            _MODEL_SERVICE, "GetModelInfo", request, apis_pb2.GetModelInfoResponse, timeout, read=read
        )

    def control(self, request: tools_pb2.ControlRequest, timeout: float) -> asyncio.Future[tools_pb2.ControlResponse]:
        """Send a control message of bulk scoring; fails only where no answer comes."""
        return self._channel.call(_CONTROL_SERVICE, "Push", request, tools_pb2.ControlResponse, timeout)

    async def close(self) -> None:
        """Close the way there; calls under way fail."""
        await self._channel.close()

    def _check_status(self, status: apis_pb2.Status) -> None:
        if status.code == ErrorCode.OK:
            return
        # A party that runs other software may quote anything in its text, ids and features too.
        marked = status.msg.startswith(SAFE_TEXT_MARK)
        reason = short_text(status.msg.removeprefix(SAFE_TEXT_MARK)) if marked else "its log says why"
        raise PeerAnswerError(f"peer {self.party!r} answered code {status.code}: {reason}")


class _ExecuteAnswers:
    """What answers to Execute are read as: records where that is quick, else messages."""

    def __init__(self) -> None:
        self.templates = ReplyTemplates()

    def FromString(self, data: bytes, /) -> ExecuteReply | apis_pb2.ExecuteResponse:  # noqa: N802 - as of messages
        return self.templates.read(data) or apis_pb2.ExecuteResponse.FromString(data)

    def __call__(self) -> apis_pb2.ExecuteResponse:
        return apis_pb2.ExecuteResponse()
