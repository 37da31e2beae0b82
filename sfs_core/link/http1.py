"""The serving side of HTTP/1.1: RPC paths and a few plain pages, within strict limits."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import httptools

from sfs_core.codec.dialect import BodyError
from sfs_core.link.calls import LIMIT, Failure, failure_of
from sfs_core.link.compression import TooLargeError, gunzip
from sfs_core.link.connection import NEVER, Connection, ListenerState
from sfs_core.link.http_call import target_of_call
from sfs_core.link.http_head import JSON_TYPE, PROTO_TYPES, UNREAD_TYPE, Head, KnownHeads
from sfs_core.link.http_reply import CLOSE, CONTINUE, Reply, encoded_failure, failure_reply, refusal
from sfs_core.link.later import Later
from sfs_core.link.rpc import CallInfo, RpcCode, WebAnswer

__all__ = ["HttpConnection"]

_log = logging.getLogger("sfs.link")

_MOST_WAITING: Final = 64
"""Pipelined requests of one connection that may wait for answers before reading pauses."""
_PROBE_SECONDS: Final = 0.25
"""How often a client that sends nothing more is asked whether it is still there."""
_LINGER: Final = 2.0
"""Seconds for which what a refused client still sends is read and thrown away."""


class _Refused(Exception):  # noqa: N818  a signal through the parser, never seen outside
    """The request is not read any further; the connection ends with this answer."""

    def __init__(self, status: HTTPStatus, text: str, reply: Reply | None = None) -> None:
        super().__init__(text)
        self.reply = reply or refusal(status, RpcCode.BAD_REQUEST, text)


class _Exchange:
    """One request's place in the order of answers, and the answer once it is known.

    `head`: None for what is no request that could be read. `work`: what is under way for it, if anything.
    """

    __slots__ = ("answer", "head", "last", "work")

    def __init__(self, head: Head | None, *, last: bool) -> None:
        self.answer: bytes | None = None
        self.work: Later[Any] | None = None
        self.head = head
        self.last = last


class HttpConnection(Connection):
    """Reads requests one after the other, starts their handlers at once, and answers in the order of the requests."""

    def __init__(self, state: ListenerState) -> None:
        super().__init__(state)
        self._parser = httptools.HttpRequestParser(self)
        self._known = KnownHeads()
        self._exchanges: deque[_Exchange] = deque()
        self._ended = False  # no further request is read
        self._refused = False
        self._reading = False  # inside a request
        self._in_head = False
        self._head_is_new = False
        self._stage_is_new = False
        self._head_fed = 0
        self._begin_request()
        self.set_deadline(state.limits.header_timeout)

    # ------------------------------------------------------------- connection
    @property
    def busy(self) -> bool:
        return bool(self._exchanges)

    @property
    def takes_more(self) -> bool:
        return len(self._exchanges) < _MOST_WAITING

    @property
    def lingers(self) -> bool:
        return not self._ended

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        for exchange in list(self._exchanges):
            if exchange.work is not None:
                exchange.work.cancel()

    def eof_received(self) -> bool:
        stays = super().eof_received()
        head = self._exchanges[-1].head if stays else None
        if head is not None and not head.old:
            self.state.loop.call_later(_PROBE_SECONDS, self._probe)
        return stays

    def _probe(self) -> None:
        """One that has closed its connection looks like one that only sends nothing more, until it refuses data."""
        if self.transport is not None and self._exchanges:
            self.write(CONTINUE)  # which clients take any number of before an answer
            self.state.loop.call_later(_PROBE_SECONDS, self._probe)

    def data_received(self, data: bytes) -> None:
        if self._ended or (self.state.calls.full and self._refused_unread(data)):
            return
        known = None if self._reading else self._known.cut(data)
        if known is not None and len(known[1]) <= self.state.limits.max_body:
            self._end_request(*known)
        else:
            self._parse(data)
        self._send_ready()

    def _parse(self, data: bytes) -> None:
        begins = not self._reading
        self._head_is_new = False
        self._complete = 0
        try:
            self._feed(data)
            if self._reading:
                self._limit_unfinished(len(data))
            elif begins and self._complete == 1:
                self._known.learn(data, self._head, self._length, bytes(self._body))
        except (httptools.HttpParserError, _Refused) as error:
            if not self._ended:
                self._refuse(error if isinstance(error, _Refused) else error.__context__)

    def _refused_unread(self, data: bytes) -> bool:
        """Refuse a call as cheaply as can be, since under overload most are; False where that cannot be said of it."""
        calls = self.state.calls
        if self._reading or self._exchanges or self.state.retiring or calls.stopping:
            return False
        target = target_of_call(data)
        if target is None or self.state.routes.handler_at(target) is None:
            return False
        failure = calls.refusal(len(data))
        if failure is None:
            return False
        self.write(encoded_failure(failure, b"", head_only=False))
        self.set_deadline(self.state.limits.idle_timeout)
        return True

    def _limit_unfinished(self, fed: int) -> None:
        """Bound a request whose end is not in sight, in time and in memory."""
        if self._stage_is_new:
            self._stage_is_new = False
            limits = self.state.limits
            self.set_deadline(limits.header_timeout if self._in_head else limits.body_timeout)
        # The parser holds an unfinished header back, so whole reads count from the second of a head on.
        if self._in_head and not self._head_is_new:
            self._head_fed += fed
            if self._head_fed > self.state.limits.max_header:
                raise _head_too_large()
        if not self.receive(len(self._body)):
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, LIMIT.text, failure_reply(LIMIT))

    def _refuse(self, reason: BaseException | None) -> None:
        """Answer what cannot be read, after all answers owed; then the connection ends."""
        if not isinstance(reason, _Refused):
            reason = _Refused(HTTPStatus.BAD_REQUEST, "the request is not HTTP/1.1")
        _log.info("refusing what %s sent: %s", self.peer, reason)
        self._ended = self._refused = True
        self.receive(0)
        self.deadline = NEVER
        exchange = _Exchange(None, last=True)
        self._exchanges.append(exchange)
        self._answer(exchange, reason.reply)

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer(data[offer.args[0] :])

    def _without_offer(self, rest: bytes) -> bytes:
        """What is to be read instead of a request that offered another protocol, as Java's client does at first.

        It is answered in this protocol, but the parser has skipped its body, which `rest` begins with. One that wants a
        tunnel is answered already; that is all then.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._ended = True
            self._exchanges[-1].last = True
            return b""
        version = self._parser.get_http_version().encode()
        lines = [f"{name}: {value}".encode("latin-1") for name, value in self._headers.items() if name != "upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (method, self._url, version), *lines, b"", rest])

    # ------------------------------------------------------ parser's callbacks
    def _begin_request(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}  # names in lower case
        self._head_size = 0
        self._body: bytes | bytearray = b""

    def on_message_begin(self) -> None:
        self._begin_request()
        self._reading = self._in_head = self._head_is_new = self._stage_is_new = True
        self._head_fed = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self.state.limits.max_header:
            raise _head_too_large()

    def on_headers_complete(self) -> None:
        if self._is_offer():
            return
        self._in_head = False
        self._stage_is_new = True
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.state.limits.max_body:
            raise _body_too_large(self.state.limits.max_body)
        if self._headers.get("expect", "").lower() == "100-continue":
            interim = _Exchange(None, last=False)
            interim.answer = CONTINUE
            self._exchanges.append(interim)
            self._send_ready()

    def on_body(self, body: bytes) -> None:
        self._in_head = False
        if len(self._body) + len(body) > self.state.limits.max_body:
            raise _body_too_large(self.state.limits.max_body)
        if not self._body:
            self._body = body
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body

    def on_chunk_header(self) -> None:
        """Either a piece of the body follows, or trailers, which are limited as headers are."""
        self._in_head = self._head_is_new = True
        self._head_fed = 0

    def _is_offer(self) -> bool:
        """Whether the request is read again, without its offer of another protocol."""
        return "upgrade" in self._headers and self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def on_message_complete(self) -> None:
        if self._is_offer():
            return
        self._reading = self._in_head = False
        self._complete += 1
        self._length = self._headers.pop("content-length", "")  # of no use to handlers
        self._head = Head(
            self._parser.get_method().decode("latin-1"),
            self._url,
            self._headers,
            keep_alive=self._parser.should_keep_alive(),
            old=self._parser.get_http_version() == "1.0",
            peer=self.peer,
            names=self.names,
        )
        self._end_request(self._head, self._body)

    def _end_request(self, head: Head, body: bytes | bytearray) -> None:
        """A request is complete."""
        self.receive(0)
        self.deadline = NEVER
        self._ended = not head.keep_alive or self.state.retiring or self.state.calls.stopping
        exchange = _Exchange(head, last=self._ended)
        self._exchanges.append(exchange)
        self._dispatch(exchange, head, body)

    # ---------------------------------------------------------------- answers
    def _dispatch(self, exchange: _Exchange, head: Head, body: bytes | bytearray) -> None:
        routes = self.state.routes
        handler = routes.handler_at(head.target)
        if handler is not None:
            self._call(exchange, head, body, handler)
            return
        page = routes.page_at(head.target)
        if page is None:
            self._dispatch_resource(exchange, head, body)
            return
        try:
            reply = Reply(*page())
        except Exception as error:  # noqa: BLE001  a page's failure must not end the connection
            reply = failure_reply(failure_of(error))
        self._answer(exchange, reply)

    def _dispatch_resource(self, exchange: _Exchange, head: Head, body: bytes | bytearray) -> None:
        found = self.state.routes.resources_at(head.target)
        handler = found.get("GET" if head.method == "HEAD" else head.method)
        if handler is not None:
            self._call(exchange, head, body, handler)
        elif found:
            text = f"{' and '.join(sorted(found))} is served at this path"
            reply = refusal(HTTPStatus.METHOD_NOT_ALLOWED, RpcCode.NO_METHOD, text)
            reply.lines += f"Allow: {', '.join(sorted(found))}\r\n".encode()
            self._answer(exchange, reply)
        else:
            text = "nothing is served at this path"
            self._answer(exchange, refusal(HTTPStatus.NOT_FOUND, RpcCode.NO_METHOD, text))

    def _call(
        self, exchange: _Exchange, head: Head, body: bytes | bytearray, handler: Callable[[bytes, CallInfo], Any]
    ) -> None:
        try:
            whole = bytes(body) if head.is_plain else self._decoded(head, bytes(body))
        except _Refused as refused:
            self._answer(exchange, refused.reply)
            return
        answer = self.state.calls.start(handler, whole, head.info, partial(self._answer_later, exchange))
        if not isinstance(answer, Later):
            self._answer_call(exchange, answer)
            return
        exchange.work = answer
        if not self.takes_more:
            self.regulate_reading()

    def _decoded(self, head: Head, body: bytes) -> bytes:
        """A call's body without its content coding."""
        if head.content_type == UNREAD_TYPE:
            text = f"{UNREAD_TYPE} is not read here, send {JSON_TYPE} or {PROTO_TYPES[0]}"
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)
        if head.fault:
            raise _Refused(HTTPStatus.BAD_REQUEST, head.fault)
        if head.coding not in ("gzip", "x-gzip"):
            raise _Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this Content-Encoding is not read here, send gzip or none"
            )
        failure = self.state.calls.refusal(len(body))
        if failure is not None:  # before any work is done for it
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, failure.text, failure_reply(failure))
        try:
            return gunzip(body, self.state.limits.max_body)
        except TooLargeError as error:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error.message) from None
        except BodyError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, error.message) from None

    def _answer_later(self, exchange: _Exchange, answer: bytes | WebAnswer | Failure) -> None:
        self._answer_call(exchange, answer)
        self._send_ready()

    def _answer_call(self, exchange: _Exchange, answer: bytes | WebAnswer | Failure) -> None:
        if isinstance(answer, Failure):
            exchange.answer = encoded_failure(answer, self._connection_line(exchange), _is_head_only(exchange))
            return
        if isinstance(answer, WebAnswer):
            self._answer(exchange, Reply(*answer))
            return
        head = exchange.head
        assert head is not None
        if exchange.last or self.state.calls.stopping or _is_head_only(exchange):
            self._answer(exchange, Reply(HTTPStatus.OK, head.answer_type, answer))
        else:
            exchange.answer = head.accepted % len(answer) + answer

    def _answer(self, exchange: _Exchange, reply: Reply) -> None:
        connection = self._connection_line(exchange)
        exchange.answer = reply.encode(connection=connection, head_only=_is_head_only(exchange))

    def _connection_line(self, exchange: _Exchange) -> bytes:
        if self.state.calls.stopping and exchange is self._exchanges[-1]:
            exchange.last = True
        return CLOSE if exchange.last or exchange.head is None else exchange.head.connection

    def _send_ready(self) -> None:
        """Write all answers whose turn it is, in one go."""
        exchanges = self._exchanges
        if exchanges and exchanges[0].answer is None:
            return
        ready: list[bytes] = []
        last = False
        was_full = not self.takes_more
        while exchanges and (answer := exchanges[0].answer) is not None:
            ready.append(answer)
            last = exchanges.popleft().last
        if ready:
            self.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if last:
            self._end()
            return
        if not exchanges and not self._reading:
            self.set_deadline(self.state.limits.idle_timeout)
        if was_full and self.takes_more:
            self.regulate_reading()
        self.close_if_done()

    def _end(self) -> None:
        """Close. A client that was refused may still be sending; closing at once would lose it the answer."""
        self._ended = True
        if self._refused and self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
            self.set_deadline(_LINGER)
        else:
            self.close()


def _is_head_only(exchange: _Exchange) -> bool:
    return exchange.head is not None and exchange.head.method == "HEAD"


def _head_too_large() -> _Refused:
    return _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large")


def _body_too_large(limit: int) -> _Refused:
    return _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request's body is larger than {limit} bytes")
