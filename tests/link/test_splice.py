"""Two connections joined: every byte arrives, ends are passed on, and nobody's slowness fills this process's memory."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from sfs_core.link.splice import GrpcEnd, SpliceEnd

BIG = os.urandom(8 << 20)
Outside = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  of transports, which tell nobody
        await asyncio.sleep(0)


async def spliced(left: SpliceEnd, right: SpliceEnd, early: bytes = b"") -> tuple[Outside, Outside]:
    """The outer sides of two connections that are joined; `early` arrives at the left one before."""
    outside = []
    for end in (left, right):
        inner, outer = socket.socketpair()
        await asyncio.get_running_loop().create_unix_connection(lambda end=end: end, sock=inner)
        outside.append(await asyncio.open_unix_connection(sock=outer))
    if early:
        outside[0][1].write(early)
        await until(lambda: left._held)
    left.join(right)
    return outside[0], outside[1]


async def close(*outside: Outside) -> None:
    for _, writer in outside:
        writer.close()
        await writer.wait_closed()


def test_every_byte_arrives_and_an_end_leaves_the_way_back_open(run):
    async def main() -> None:
        one, other = await spliced(SpliceEnd(), SpliceEnd(), early=b"early")
        one[1].write(BIG)
        assert await other[0].readexactly(5 + len(BIG)) == b"early" + BIG
        one[1].write_eof()
        assert await other[0].read() == b""
        other[1].write(b"still there")
        assert await one[0].readexactly(11) == b"still there"
        other[1].close()
        assert await one[0].read() == b""
        await close(one, other)

    run(main())


def test_who_does_not_read_stops_the_sender(run):
    async def main() -> None:
        ends = SpliceEnd(), SpliceEnd()
        one, other = await spliced(*ends)
        one[1].write(BIG)
        await until(lambda: not ends[0].transport.is_reading())
        assert ends[1].transport.get_write_buffer_size() < 2 << 20
        assert await other[0].readexactly(len(BIG)) == BIG
        await close(one, other)
        await until(lambda: not ends[0].transport and not ends[1].transport)

    run(main())


def test_grpc_s_end_closes_both(run):
    async def main() -> None:
        one, other = await spliced(SpliceEnd(), GrpcEnd())
        other[1].write_eof()
        assert await one[0].read() == b""
        assert await other[0].read() == b""
        await close(one, other)

    run(main())
