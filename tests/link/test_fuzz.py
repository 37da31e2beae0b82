"""Random and damaged bytes for everything that reads what others send: a coded error or a clean close, never more.

`SFS_FUZZ=100` in the environment tries a hundred times as much.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sfs_core.link.baidu_std import BaiduStdConnection
from sfs_core.link.calls import Calls
from sfs_core.link.channel import open_channel
from sfs_core.link.connection import Connection, ListenerState
from sfs_core.link.framing import FrameCutter, FrameError, request_frame
from sfs_core.link.http1 import HttpConnection
from sfs_core.link.rpc import Limits
from sfs_core.link.sniff import WireProtocol, recognise
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from tests.link.damage import damaged
from tests.link.echo import SERVICE, exchange, listening, request, routes

TIMES = int(os.environ.get("SFS_FUZZ", "1"))
COUNT = 10_000 * TIMES


def pieces(dice: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(4)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_frame_cutter(dice):
    good = [request_frame(SERVICE, "M", i, 1000, b"x" * size) for i, size in enumerate((0, 3, 200))]
    good.append(b"".join(good))
    for _ in range(COUNT):
        cutter = FrameCutter(300, 100)
        try:
            for piece in pieces(dice, damaged(dice, good)):
                for meta, payload in cutter.feed(piece):
                    assert len(meta) <= 100
                    assert len(payload) <= 300
        except FrameError:
            continue


@pytest.mark.parametrize("decoder", ["tables", "execute_requests"])
def test_native_decoders(dice, decoder):
    """In a process of its own: what goes wrong inside pyarrow or protobuf may end the process."""
    seed = dice.randrange(1 << 32)
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.link.damage", decoder, str(seed), str(COUNT)]
    child = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    assert int(child.stdout) > 0  # some damage does no harm


class _Transport(asyncio.Transport):
    """Takes what a connection writes; the parsers are fed without sockets here, to feed them more."""

    def __init__(self) -> None:
        super().__init__({"peername": ("test", 1)})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


HTTP = [
    b'POST /ModelService/GetModelInfo HTTP/1.1\r\nContent-Length: 29\r\nX-A: b\r\n\r\n{"service_spec":{"id":"abc"}}',
    b"POST /ModelService/GetModelInfo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nT: 1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\nHEAD /health HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Encoding: gzip\r\n\r\n",
    # Shapes by which requests are smuggled past what stands in front of a server.
    b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\nTransfer-Encoding : chunked\r\n\r\n5c\r\nGET /x\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff;x=y\r\n{}\r\n-1\r\n0x2\r\n{}\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\nContent-Length: +2\nContent-Length: 2,2\r\n X: folded\r\n\r\n{}GET http://a/ HTTP/1.1\r\n\r\n",
]


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b"")
"""HTTP/2's first bytes, and settings."""
HTTP2 = [
    PREFACE + http2_frame(1, 4, 1, b"\x83\x86\x44\x02/x\x41\x01a") + http2_frame(0, 1, 1, b"\0\0\0\0\2{}"),
    PREFACE + http2_frame(1, 0, 1, b"\x83") + http2_frame(9, 0, 1, b"\x86" * 200) + http2_frame(9, 4, 1, b"\x44\xff"),
    PREFACE
    + b"".join(http2_frame(1, 4, stream, b"\x83") + http2_frame(3, 0, stream, b"\0\0\0\x08") for stream in (1, 3, 5)),
    PREFACE
    + http2_frame(8, 0, 0, b"\x7f\xff\xff\xff")
    + http2_frame(6, 0, 0, b"pingpong")
    + http2_frame(5, 4, 1, b"\0"),
]
"""A call, headers in pieces, resets at once, windows and pings."""


@pytest.mark.parametrize(
    ("kind", "good", "answers"),
    [
        (HttpConnection, HTTP, (b"HTTP/1.1 ",)),
        (
            BaiduStdConnection,
            [request_frame(SERVICE, "GetModelInfo", 1, 1, request("x").SerializeToString())],
            (b"PRPC",),
        ),
    ],
)
def test_connections(dice, kind: Callable[[ListenerState], Connection], good, answers):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        state = ListenerState(routes(), Limits(max_body=1000, max_header=1000), Calls(None), loop)
        for _ in range(COUNT):
            connection, transport = kind(state), _Transport()
            connection.connection_made(transport)
            for piece in pieces(dice, damaged(dice, good)):
                if piece and not transport.closed:
                    connection.data_received(piece)
            assert not transport.written or transport.written.startswith(answers)
            connection.connection_lost(None)
        assert not state.connections

    asyncio.run(main())


def test_first_bytes(dice):
    assert recognise(b"P") is recognise(b"PR") is recognise(b"") is None
    assert recognise(b"PRPC") is WireProtocol.BAIDU_STD
    assert recognise(b"PRI * HTTP/2.0") is WireProtocol.HTTP2
    assert recognise(b"POST ") is WireProtocol.HTTP1
    for _ in range(COUNT):
        recognise(damaged(dice, [b"PRPC", b"PRI * HTTP/2.0", *HTTP]))


def test_a_port_goes_on_serving_whatever_it_is_sent(run, dice):
    good = [*HTTP, request_frame(SERVICE, "GetModelInfo", 1, 1000, request("x").SerializeToString())]

    async def main() -> None:
        async with listening() as listener:
            for _ in range(300 * TIMES):
                await exchange(listener.port, damaged(dice, good))
            assert b'"name":"abc"' in await exchange(listener.port, HTTP[0])

    run(main())


def tasks_and_files() -> tuple[int, int]:
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


def test_a_port_goes_on_speaking_grpc_and_keeps_nothing(run, dice):
    """The gRPC server behind a port gets damaged HTTP/2; it still answers, and no task or file stays behind."""

    async def main() -> None:
        async with listening(Limits(header_timeout=0.5, idle_timeout=0.5)) as listener:
            channel = open_channel("bob", f"127.0.0.1:{listener.port}", "h2:grpc")
            asked = (SERVICE, "GetModelInfo", request("abc"), GetModelInfoResponse, 60.0)
            assert (await channel.call(*asked)).model_info.name == "abc"
            before = tasks_and_files()
            for _ in range(TIMES):
                data = [damaged(dice, HTTP2) for _ in range(100)]
                await asyncio.gather(*(exchange(listener.port, each) for each in data))
            assert (await channel.call(*asked)).model_info.name == "abc"
            async with asyncio.timeout(60):
                while any(now > old for now, old in zip(tasks_and_files(), before, strict=True)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await channel.close()

    run(main())


@pytest.mark.parametrize("opening", [b"[", b'{"service_spec":', b'{"a":['])
def test_ten_megabytes_of_nesting(run, opening):
    body = opening * (10_000_000 // len(opening))

    async def main() -> None:
        async with listening() as listener:
            head = b"POST /ModelService/GetModelInfo HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
                body
            )
            reply = await exchange(listener.port, head + body)
            assert reply.startswith(b"HTTP/1.1 400 ")
            assert b"nested too deeply" in reply or b"not JSON" in reply

    run(main())
