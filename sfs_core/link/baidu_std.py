"""The serving side of `baidu_std`."""

from __future__ import annotations

import logging
from typing import Any

from sfs_core.codec.dialect import BodyError
from sfs_core.link.calls import Failure
from sfs_core.link.connection import NEVER, Connection, ListenerState
from sfs_core.link.framing import (
    CANCEL,
    FrameCutter,
    FrameError,
    cancelled_id,
    error_frame,
    message_of,
    read_meta,
    response_frame,
)
from sfs_core.link.later import Later
from sfs_core.link.rpc import CallInfo, Encoding, RpcCode

__all__ = ["BaiduStdConnection"]

_log = logging.getLogger("sfs.link")


class BaiduStdConnection(Connection):
    """Answers calls as they get ready, in any order; those ready at once leave in one write."""

    def __init__(self, state: ListenerState) -> None:
        super().__init__(state)
        self._cutter = FrameCutter(state.limits.max_body, state.limits.max_header)
        self._owed: dict[object, _Owed] = {}
        self._frame_begin = 0.0

    @property
    def lingers(self) -> bool:
        return True

    @property
    def busy(self) -> bool:
        return bool(self._owed)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        for owed in list(self._owed.values()):
            owed.work.cancel()

    def eof_received(self) -> bool:
        """Peers close as a whole: who sends nothing more waits for no answer."""
        return False

    def data_received(self, data: bytes) -> None:
        was_incomplete = self._cutter.incomplete
        try:
            frames = self._cutter.feed(data)
            replies = [reply for meta, payload in frames if (reply := self._answer(meta, payload))]
        except FrameError as error:
            _log.info("closing the connection of %s: %s", self.peer, error)
            self.close()
            return
        if replies:
            self.write(replies[0] if len(replies) == 1 else b"".join(replies))
        if not self._cutter.incomplete:
            self.deadline = NEVER
        else:
            self._limit_frame_time(new=bool(frames) or not was_incomplete)
        if not self.receive(self._cutter.pending):
            _log.warning("closing the connection of %s: too many bytes are being received", self.peer)
            self.close()

    def _limit_frame_time(self, *, new: bool) -> None:
        """A frame that has begun must end: the header soon, the rest within `body_timeout`, however it trickles in."""
        limits = self.state.limits
        if new:
            self._frame_begin = self.state.loop.time()
        seconds = limits.header_timeout if self._cutter.in_header else limits.body_timeout
        self.deadline = self._frame_begin + seconds

    def _answer(self, meta_bytes: bytes, payload: bytes) -> bytes | None:
        """The reply frame, if it is ready at once."""
        meta = read_meta(meta_bytes)
        call = meta.request
        handler = self.state.routes.find(call.service_name, call.method_name)
        correlation_id = meta.correlation_id
        if handler is None:
            if (call.service_name, call.method_name) == CANCEL:
                return self._cancel(correlation_id, payload)
            return self._unknown(correlation_id, call.service_name)
        if meta.compress_type and (refused := self.state.calls.refusal(len(payload))) is not None:
            return _reply_frame(correlation_id, refused)  # before any work is done for it
        try:
            body = message_of(meta, payload, self.state.limits.max_body)
        except BodyError as error:
            return error_frame(correlation_id, RpcCode.BAD_REQUEST, error.message)
        timeout = call.timeout_ms / 1000 if call.timeout_ms > 0 else None
        info = CallInfo(Encoding.PROTO, "baidu_std", self.peer, {}, timeout, self.names)
        owed = _Owed(self, correlation_id, object() if correlation_id in self._owed else correlation_id)
        answer = self.state.calls.start(handler, body, info, owed)
        if not isinstance(answer, Later):
            return _reply_frame(correlation_id, answer)
        owed.work = answer
        self._owed[owed.key] = owed
        return None

    def _cancel(self, correlation_id: int, payload: bytes) -> bytes:
        """The client waits no longer for a call of this connection, which therefore is not answered."""
        try:
            owed = self._owed.pop(cancelled_id(payload), None)
        except BodyError as error:
            return error_frame(correlation_id, RpcCode.BAD_REQUEST, error.message)
        if owed is not None:
            owed.work.cancel()
        return response_frame(correlation_id, b"")

    def _unknown(self, correlation_id: int, service: str) -> bytes:
        if self.state.routes.has_service(service):
            return error_frame(correlation_id, RpcCode.NO_METHOD, "the service has no such method")
        return error_frame(correlation_id, RpcCode.NO_SERVICE, "no such service is offered on this port")

    def reply(self, owed: _Owed, answer: bytes | Failure) -> None:
        """Send an answer that was owed."""
        if self._owed.get(owed.key) is owed:  # else it was cancelled
            del self._owed[owed.key]
            self.write(_reply_frame(owed.correlation_id, answer))
        self.close_if_done()


class _Owed:
    """An answer that is still worked on; to be called with it."""

    __slots__ = ("connection", "correlation_id", "key", "work")

    def __init__(self, connection: BaiduStdConnection, correlation_id: int, key: object) -> None:
        self.connection = connection
        self.correlation_id = correlation_id
        self.key = key
        self.work: Later[Any]

    def __call__(self, answer: bytes | Failure) -> None:
        self.connection.reply(self, answer)


def _reply_frame(correlation_id: int, answer: bytes | Failure) -> bytes:
    if isinstance(answer, bytes):
        return response_frame(correlation_id, answer)
    return error_frame(correlation_id, answer.code, answer.text)
