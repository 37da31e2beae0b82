"""Calls that are recognised without a parser, and refused."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core.link.http_call import target_of_call
from sfs_core.link.rpc import Limits
from tests.link.echo import listening

CALL = b"POST /ModelService/GetModelInfo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nX-Api-Key: k\r\n\r\nbody"
PIECES = (
    *(b"POST", b"post", b"GET", b" ", b"/a", b"*", b" HTTP/1.1", b" HTTP/1.0", b"body"),
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0"),
    *(b"Host: a", b"Content-Length: 4", b"content-length:4", b"Content-Length: +4", b"Content-Length : 4"),
    *(b"Transfer-Encoding: chunked", b"Connection: close", b"connection: keep-alive", b"Connection: upgrade"),
    *(b"Expect: 100-continue", b"Upgrade: h2c", b"X: \xff", b" folded", b"X-\xe9: a", b":", b"4\r\nbody\r\n0\r\n\r\n"),
)


class Seen:
    """What the parser makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.ended = 0
        self.body = self.url = b""
        self.kept = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1
        self.kept = self.parser.should_keep_alive()


@st.composite
def nearly_calls(draw: st.DrawFn) -> bytes:
    """A call with pieces put in, left out or doubled."""
    lines = CALL.split(b"\r\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 1))] = [draw(st.sampled_from([*PIECES, b"", CALL]))]
    return b"\r\n".join(lines)


@given(nearly_calls() | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_what_is_taken_for_a_call_is_one_whole_call_to_the_parser(data: bytes) -> None:
    target = target_of_call(data)
    if target is not None:
        seen = Seen(data)
        assert seen.url == target
        assert seen.ended == 1
        assert seen.kept
        assert data.endswith(b"\r\n\r\n" + seen.body)


def test_usual_calls_are_recognised() -> None:
    assert target_of_call(CALL)
    assert target_of_call(CALL.replace(b"Host", b"Connection: keep-alive\r\nAccept: */*\r\nhost"))
    assert target_of_call(CALL.replace(b"Content-Length: ", b"content-length:"))


@pytest.mark.parametrize("line", [b"Transfer-Encoding: chunked", b"Connection: close", b"Expect: 100-continue"])
def test_others_are_not(line: bytes) -> None:
    assert not target_of_call(CALL.replace(b"Host: a", line))
    assert not target_of_call(CALL[:-1])
    assert not target_of_call(CALL + CALL)
    assert not target_of_call(CALL.replace(b"POST", b"GET"))
    assert not target_of_call(CALL.replace(b"POST", b"post"))


def test_refused_calls_leave_the_connection_as_it_was(run) -> None:
    async def main() -> None:
        async with listening(Limits(max_calls=0)) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            answers = []
            for data in (CALL, CALL[:20], CALL[20:], CALL + CALL, CALL):
                writer.write(data)
                if data != CALL[:20]:
                    answers += [await answer(reader) for _ in range(data.count(b"body"))]
            writer.write(b"POST /health HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 OK")
            assert len(answers) == 5
            assert all(one == other for one, other in pairwise(answers))
            assert answers[0].startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1\r\n" in answers[0]
            assert b"Connection: close" not in answers[0]
            assert listener._state.calls.refused == {"concurrency": 5}
            writer.write(CALL.replace(b"Host: a", b"Connection: close"))
            assert b"Connection: close" in await reader.read()
            writer.close()

    run(main())


def test_who_is_refused_by_a_server_that_ends_is_told_to_leave(run) -> None:
    async def main() -> None:
        async with listening(Limits(max_calls=0)) as listener:
            await listener.retire()
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(CALL)
            assert b"Connection: close" in await reader.read()
            writer.close()

    run(main())


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)
