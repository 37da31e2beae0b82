"""The calling side of `baidu_std`: one connection per peer, many calls on it at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

from google.protobuf.message import DecodeError

from sfs_core.codec.dialect import BodyError
from sfs_core.config.address import Address
from sfs_core.link.connect import connect
from sfs_core.link.framing import CANCEL_ID, FrameCutter, FrameError, cancel_frame, message_of, read_meta, request_frame
from sfs_core.link.outgoing import Channel, OutgoingCall, TransportError
from sfs_core.link.retry import FailureKind, RetryPolicy
from sfs_core.link.rpc import RpcCode
from sfs_core.link.sockets import guard
from sfs_core.link.text import short_text
from sfs_core.link.tls import ChannelTls, loss_text

__all__ = ["BaiduStdChannel"]

_MAX_ANSWER: Final = 64 << 20
_MAX_META: Final = 64 << 10
_NOT_RUN: Final = (RpcCode.STOPPING, RpcCode.LIMIT)


class BaiduStdChannel(Channel):
    """Calls over one multiplexed connection, opened by the first call and again by the first after its loss."""

    def __init__(
        self,
        party: str,
        address: Address,
        connect_timeout: float,
        retry: RetryPolicy,
        tls: ChannelTls | None = None,
    ) -> None:
        super().__init__(party, retry, address)
        self._tls = tls
        self._address = address
        self._connect_timeout = connect_timeout
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: deque[OutgoingCall] = deque()
        self._under_way: dict[int, OutgoingCall] = {}
        self._last_id = 0
        self._stopping = False

    # ---------------------------------------------------------------- sending
    def _send(self, call: OutgoingCall) -> None:
        if self._connection is not None:
            self._write(self._connection, call)
            return
        self._waiting.append(call)
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())

    def _write(self, connection: _Connection, call: OutgoingCall) -> None:
        call.key = self._last_id = self._last_id + 1
        self._under_way[call.key] = call
        left = call.deadline - call.get_loop().time()
        message = call.request.SerializeToString()
        connection.write(request_frame(call.service, call.method, call.key, max(int(left * 1000), 1), message))

    async def _connect(self) -> None:
        error = None
        try:
            connection = await connect(
                self.party, self._address, self._connect_timeout, lambda: _Connection(self), self._tls
            )
            if connection.is_open:  # else it was accepted and closed at once
                self._connection, self._stopping = connection, False
            else:
                error = self._error("closed the connection at once", FailureKind.NOT_RUN)
        except TransportError as failed:
            error = failed
        self._connecting = None
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if error is not None:
                self._fail(call, error)
            elif not call.done():
                self._send(call)

    def _drop(self, call: OutgoingCall) -> None:
        sent = self._under_way.pop(call.key, None)
        if sent is not None and self._connection is not None and self._connection.cancels:
            self._connection.write(cancel_frame(call.key))

    # -------------------------------------------------------------- receiving
    def received(self, meta_bytes: bytes, payload: bytes) -> None:
        """An answer has arrived. Raises FrameError where it cannot be read at all."""
        meta = read_meta(meta_bytes)
        call = self._under_way.pop(meta.correlation_id, None)
        if call is None:
            if meta.correlation_id == CANCEL_ID and meta.response.error_code and self._connection is not None:
                self._connection.cancels = False
            return  # nobody waits for it any longer
        if meta.response.error_code:
            self._stopping |= meta.response.error_code == RpcCode.STOPPING
            self._fail(call, self._refusal(meta.response.error_code, meta.response.error_text))
            self._leave_if_stopping()
            return
        try:
            answer = call.response_type.FromString(message_of(meta, payload, _MAX_ANSWER))
        except (DecodeError, BodyError):
            self._fail(call, self._error("sent an answer that cannot be read", FailureKind.OTHER))
            return
        self._succeed(call, answer)
        self._leave_if_stopping()

    def _leave_if_stopping(self) -> None:
        """Close the connection to a server that stops: of what is sent as it closes, nobody knows whether it ran."""
        if self._stopping and not self._under_way and self._connection is not None:
            connection, self._connection = self._connection, None
            connection.leave()

    def _refusal(self, code: int, text: str) -> TransportError:
        kind = FailureKind.NOT_RUN if code in _NOT_RUN else FailureKind.OTHER
        return self._error(f"refused the call with code {code}: {short_text(text)}", kind)

    def lost(self, connection: _Connection, error: Exception | None) -> None:
        """The connection is gone: nothing that was sent over it gets an answer any more."""
        if self._connection is not connection:
            return
        self._connection = None
        calls, self._under_way = self._under_way, {}
        text = loss_text(error, unused_tls=self._tls is not None and not connection.used)
        for call in calls.values():
            self._fail(call, self._error(text, FailureKind.OTHER))

    async def _disconnect(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await self._connection.close()
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._fail(call, self._error("was not reached before its channel was closed", FailureKind.FINAL))


class _Connection(asyncio.Protocol):
    def __init__(self, channel: BaiduStdChannel) -> None:
        self._channel = channel
        self._cutter = FrameCutter(_MAX_ANSWER, _MAX_META)
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()
        self.used = False
        """Whether the peer has ever answered."""
        self.cancels = True
        """Whether the peer may know how to stop calls; it has not said that it does not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        guard(transport)
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        try:
            for meta, payload in self._cutter.feed(data):
                self.used = True
                self._channel.received(meta, payload)
        except FrameError:
            self._abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._gone.set()
        self._channel.lost(self, error)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def leave(self) -> None:
        """Send what has been written, then close."""
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        self._abort()
        await self._gone.wait()
