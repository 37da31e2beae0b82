"""Requests whose head a connection has seen before are answered as by a connection that sees it for the first time."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sfs_core.link.calls import Calls
from sfs_core.link.connection import ListenerState
from sfs_core.link.http1 import HttpConnection
from sfs_core.link.http_head import Head, KnownHeads
from sfs_core.link.rpc import CallInfo, Limits, Routes
from tests.link.damage import damaged

BODIES = [b"", b"{}", b"x" * 40, b"0\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello", b"\r\n\r\n"]
HEADS = [
    b"POST /S/M HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
    b"POST /S/M?x HTTP/1.1\r\ncontent-length:%d\r\nContent-Type: application/proto; a=b\r\n\r\n",
    b"POST /S/M HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\nX-B3-TraceId: 5\r\n\r\n",
    b"POST /S/M HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
    b"POST /S/M HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
    b"POST /S/M HTTP/1.1\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /S/M HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /S/M HTTP/1.1\r\nContent-Length: %d\r\nContent-Length: 2\r\n\r\n",
    b"POST /S/M HTTP/1.1\nContent-Length: %d\n\n",
    b"POST /S/M HTTP/1.1\nContent-Length: 29\n\n\r\nContent-Length: %d\r\n\r\n",
    b"HEAD /S/M HTTP/1.1\r\nContent-Length: %d\r\n\r\n",
    b"GET /S/M HTTP/1.1\r\n\r\n",
    b"POST /S/N HTTP/1.1\r\nContent-Length: %d\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
]


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return True

    def can_write_eof(self) -> bool:
        return False


class _Connection:
    """A connection whose answers say what the handler was given."""

    def __init__(self, limits: Limits) -> None:
        state = ListenerState(Routes({("S", "M"): _told}), limits, Calls(None), asyncio.get_running_loop())
        self._protocol, self.transport = HttpConnection(state), _Transport()
        self._protocol.connection_made(self.transport)

    def answer(self, data: bytes) -> tuple[bytes, bool]:
        self.transport.written = b""
        self._protocol.data_received(data)
        return self.transport.written, self.transport.closed

    @property
    def between_requests(self) -> bool:
        return not self._protocol._reading and not self.transport.closed


def _told(body: bytes, info: CallInfo) -> bytes:
    return repr((body, info.encoding, sorted(info.headers.items()))).encode()


def _request(dice: random.Random, heads: list[bytes]) -> bytes:
    head, body = dice.choice(heads), dice.choice(BODIES)
    data = (head % len(body) + body) if b"%d" in head else head
    return damaged(dice, [data]) if dice.random() < 0.05 else data


def test_like_new_connections():
    dice = random.Random(5)
    known = 0

    async def main() -> None:
        nonlocal known
        for _ in range(300):
            connection, heads = _Connection(Limits(max_body=100)), dice.sample(HEADS, 2)
            while connection.between_requests and dice.random() < 0.95:
                data = _request(dice, heads)
                known += connection._protocol._known.cut(data) is not None
                assert connection.answer(data) == _Connection(Limits(max_body=100)).answer(data), data

    asyncio.run(main())
    assert known > 300


def test_a_known_head_s_body_is_limited():
    async def main() -> None:
        connection = _Connection(Limits(max_body=10))
        assert b" 200 " in connection.answer(HEADS[0] % 2 + b"{}")[0]
        assert b" 413 " in connection.answer(HEADS[0] % 11 + b"x" * 11)[0]

    asyncio.run(main())


@pytest.mark.parametrize("size", [3, 3000])
def test_what_is_remembered_is_bounded(size):
    known = KnownHeads()
    head = Head("POST", b"/", {}, keep_alive=True, old=False, peer="", names=None)
    for i in range(10):
        data = b"POST / HTTP/1.1\r\nX: %d%s\r\nContent-Length: 1\r\n\r\nx" % (i, b"0" * size)
        known.learn(data, head, "1", b"x")
        assert known.cut(data) == ((head, b"x") if size < 100 else None)
        assert len(known._heads) <= 4


def test_clients_whose_heads_all_differ_are_not_tried_for_ever():
    known = KnownHeads()
    head = Head("POST", b"/", {}, keep_alive=True, old=False, peer="", names=None)
    for i in range(100):
        known.learn(b"POST / HTTP/1.1\r\nX: %d\r\nContent-Length: 1\r\n\r\nx" % i, head, "1", b"x")
    assert not known._heads
