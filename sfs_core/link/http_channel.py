"""The calling side of HTTP/1.1: a few connections per peer, kept open, one call at a time on each."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from typing import Final, cast

import httptools
from google.protobuf.message import DecodeError, Message

from sfs_core.codec.dialect import from_json, to_json
from sfs_core.config.address import Address
from sfs_core.errors import RequestError
from sfs_core.link.connect import connect
from sfs_core.link.outgoing import Channel, OutgoingCall, TransportError
from sfs_core.link.retry import FailureKind, RetryPolicy
from sfs_core.link.rpc import Encoding, RpcCode
from sfs_core.link.sockets import guard, reset_on_close
from sfs_core.link.text import short_text
from sfs_core.link.tls import ChannelTls, loss_text

__all__ = ["HttpChannel"]

_MAX_ANSWER: Final = 64 << 20
_MAX_HEAD: Final = 64 << 10
_MAX_CONNECTIONS: Final = 64
_KEEP_IDLE: Final = 30.0
"""Seconds; shorter than servers usually keep an idle connection, so that a call seldom meets its closing."""
_LAST_CHANCE: Final = 0.05
"""Seconds for which the answer to a call whose caller has left may still come, which saves the connection."""
_CONTENT_TYPES: Final = {Encoding.JSON: "application/json", Encoding.PROTO: "application/proto"}
_NOT_RUN_CODES: Final = (str(RpcCode.STOPPING.value), str(RpcCode.LIMIT.value))
_PASSING_STATUSES: Final = (408, 429, 500, 502, 503, 504)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class HttpChannel(Channel):
    """Calls as POST requests.

    Args:
        party: the peer's id.
        address: where it listens.
        encoding: of bodies.
        connect_timeout: seconds.
        retry: what to try again.
        tls: how the peer is spoken to over TLS; None for plain connections.
    """

    def __init__(
        self,
        party: str,
        address: Address,
        encoding: Encoding,
        connect_timeout: float,
        retry: RetryPolicy,
        tls: ChannelTls | None = None,
    ) -> None:
        super().__init__(party, retry, address)
        self.tls = tls
        self._address = address
        self._encoding = encoding
        self._connect_timeout = connect_timeout
        self._waiting: deque[OutgoingCall] = deque()
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._connecting: asyncio.Task[None] | None = None

    # ---------------------------------------------------------------- sending
    def _send(self, call: OutgoingCall) -> None:
        connection = self._idle_connection()
        if connection is not None:
            connection.send(call, self._request(call))
            return
        self._waiting.append(call)
        self._connect_if_needed()

    def _idle_connection(self) -> _Connection | None:
        """The connection used last, so that spare ones grow old and get closed."""
        oldest = asyncio.get_running_loop().time() - _KEEP_IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    def _connect_if_needed(self) -> None:
        if self._waiting and self._connecting is None and len(self._open) < _MAX_CONNECTIONS:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            connection = await connect(
                self.party, self._address, self._connect_timeout, lambda: _Connection(self), self.tls
            )
        except TransportError as error:
            self._not_connected(error)
            return
        if not connection.is_open:  # it was accepted and closed at once
            self._not_connected(self._error("closed the connection at once", FailureKind.NOT_RUN))
            return
        self._connecting = None
        self._open.add(connection)
        self.free(connection)
        self._connect_if_needed()

    def _not_connected(self, error: TransportError) -> None:
        """Calls go on waiting as long as other connections may serve them."""
        self._connecting = None
        if self._open:
            return
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._fail(call, error)

    def _request(self, call: OutgoingCall) -> bytes:
        body = self._encode(call.request)
        left = max(call.deadline - call.get_loop().time(), 0.001)
        head = (
            f"POST /{call.service}/{call.method} HTTP/1.1\r\n"
            f"Host: {self._address.authority}\r\n"
            f"Content-Type: {_CONTENT_TYPES[self._encoding]}\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"X-Request-Timeout: {left:.3f}\r\n"
            f"{_header_lines(call.headers)}\r\n"
        )
        return head.encode("ascii") + body

    def _encode(self, message: Message) -> bytes:
        if self._encoding is Encoding.PROTO:
            return message.SerializeToString()
        return to_json(message, defaults=False)

    def _drop(self, call: OutgoingCall) -> None:
        connection = call.key
        if not isinstance(connection, _Connection):
            return
        if call.cancelled():
            call.get_loop().call_later(_LAST_CHANCE, connection.abandon, call)
        else:
            connection.abandon(call)

    # -------------------------------------------------------------- receiving
    def free(self, connection: _Connection) -> None:
        """A connection has nothing to do: it gets the next call that waits."""
        while self._waiting and connection.is_open:
            call = self._waiting.popleft()
            if not call.done():
                connection.send(call, self._request(call))
                return
        if connection.is_open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def answered(self, call: OutgoingCall, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A whole answer has arrived."""
        if status != 200:
            self._fail(call, self._refusal(status, headers, body))
            return
        try:
            if self._encoding is Encoding.PROTO:
                answer = call.response_type.FromString(body)
            else:
                answer = call.response_type()
                from_json(body, answer)
        except (DecodeError, RequestError):
            self._fail(call, self._error("sent an answer that cannot be read", FailureKind.OTHER))
            return
        self._succeed(call, answer)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> TransportError:
        kind = FailureKind.OTHER
        if headers.get("x-bd-error-code") in _NOT_RUN_CODES:
            kind = FailureKind.NOT_RUN
        elif status in _PASSING_STATUSES:
            kind = FailureKind.UNAVAILABLE
        text = short_text(body[:4096].decode("utf-8", "replace"))
        return self._error(f"refused the call with HTTP status {status}: {text}", kind)

    def failed(self, call: OutgoingCall, text: str) -> None:
        """A call's connection broke."""
        self._fail(call, self._error(text, FailureKind.OTHER))

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._closed:
            self._connect_if_needed()

    async def _disconnect(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.gone.wait()
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._fail(call, self._error("was not reached before its channel was closed", FailureKind.FINAL))


def _header_lines(headers: Mapping[str, str]) -> str:
    """Header lines; entries of callers may be anything, so only what cannot break out of a line is sent."""
    return "".join(
        f"{name}: {value}\r\n"
        for name, value in headers.items()
        if _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
    )


class _BadAnswer(Exception):  # noqa: N818  a signal through the parser
    """The answer is larger than accepted, or nobody asked for it."""


class _Connection(asyncio.Protocol):
    """One connection and the call on it."""

    def __init__(self, channel: HttpChannel) -> None:
        self._channel = channel
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._call: OutgoingCall | None = None
        self._head_fed = 0
        self._headers: dict[str, str] = {}
        self._in_head = True
        self._body = bytearray()
        self._used = False
        self.idle_since = 0.0
        self.gone = asyncio.Event()

    # ------------------------------------------------------------ for the pool
    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, call: OutgoingCall, request: bytes) -> None:
        assert self._transport is not None
        self._call = call
        call.key = self
        self._in_head = True
        self._head_fed = 0
        self._transport.write(request)

    def abandon(self, call: OutgoingCall) -> None:
        """Nobody waits for the call: close its connection, by which the server knows, unless the answer was there."""
        if self._call is call and self._transport is not None:
            self._call = None
            reset_on_close(self._transport)
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------- asyncio's callbacks
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        guard(transport)
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        if self._call is None:
            self.abort()  # nobody asked
            return
        try:
            if self._in_head:
                self._head_fed += len(data)
            self._parser.feed_data(data)
            if self._in_head and self._head_fed > _MAX_HEAD:
                raise _BadAnswer
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _BadAnswer):
            self._break("sent an answer that cannot be read")
            return
        if self._call is None and self.is_open:
            self._channel.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.gone.set()
        self._channel.lost(self)
        if self._ends_with_connection() and error is None:
            self._finish()
        elif self._call is not None:
            unused_tls = self._channel.tls is not None and not self._used
            self._break(loss_text(error, unused_tls=unused_tls))

    def _ends_with_connection(self) -> bool:
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        return self._call is not None and not self._in_head and not framed

    def _break(self, text: str) -> None:
        call, self._call = self._call, None
        self.abort()
        if call is not None:
            self._channel.failed(call, text)

    # --------------------------------------------------------- parser's callbacks
    def on_message_begin(self) -> None:
        self._headers = {}
        self._in_head = True
        self._body = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._used = True

    def on_body(self, body: bytes) -> None:
        if len(self._body) + len(body) > _MAX_ANSWER:
            raise _BadAnswer
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:  # before it, `100 Continue` and the like
            self._finish()

    def _finish(self) -> None:
        call, self._call = self._call, None
        if call is None:
            raise _BadAnswer
        if self._transport is not None and not self._parser.should_keep_alive():
            self._transport.close()
        self._channel.answered(call, self._parser.get_status_code(), self._headers, bytes(self._body))
