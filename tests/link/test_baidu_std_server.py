"""`baidu_std` as it is served, frame by frame."""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib

import pytest

from sfs_core.codec.dialect import BodyError
from sfs_core.link.framing import (
    CANCEL,
    CANCEL_ID,
    FrameCutter,
    FrameError,
    cancel_frame,
    error_frame,
    request_frame,
    response_frame,
)
from sfs_core.link.listener import Limits
from sfs_core.link.rpc import CallInfo, Encoding
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.proto.brpc_pb2 import RpcMeta
from tests.link.echo import SERVICE, Held, answer, echo, exchange, listening, request

INFO = CallInfo(Encoding.PROTO, "baidu_std", "", {})


def frame(meta: RpcMeta, payload: bytes) -> bytes:
    head = meta.SerializeToString()
    return struct.pack(">4sII", b"PRPC", len(head) + len(payload), len(head)) + head + payload


def call(
    name: str = "x", service: str = SERVICE, method: str = "GetModelInfo", payload: bytes | None = None, **fields
) -> bytes:
    meta = RpcMeta(correlation_id=7, **fields)
    meta.request.service_name, meta.request.method_name = service, method
    return frame(meta, request(name).SerializeToString() if payload is None else payload)


def replies(data: bytes) -> list[tuple[RpcMeta, bytes]]:
    cutter = FrameCutter(1 << 20, 1 << 16)
    frames = [(RpcMeta.FromString(meta), payload) for meta, payload in cutter.feed(data)]
    assert not cutter.incomplete
    return frames


def answered(run, data: bytes, limits: Limits | None = None, **handlers) -> list[tuple[RpcMeta, bytes]]:
    said = b""

    async def main() -> None:
        nonlocal said
        async with listening(limits, **handlers) as listener:
            said = await exchange(listener.port, data)
            assert replies(await exchange(listener.port, call("next")))[0][1] == answer("next", INFO)

    run(main())
    return replies(said)


@pytest.mark.parametrize("service", [SERVICE, "ModelService"])
def test_answers_echo_the_correlation_id(run, service):
    ((meta, payload),) = answered(run, call(service=service))
    assert (meta.correlation_id, meta.response.error_code, meta.compress_type) == (7, 0, 0)
    assert meta.HasField("response")
    assert payload == answer("x", INFO)


@pytest.mark.parametrize("correlation_id", [0, 1, 127, 128, 1 << 32, (1 << 63) - 1, -1, -(1 << 63)])
def test_correlation_ids_of_any_size(correlation_id):
    for data in (response_frame(correlation_id, b"abc"), error_frame(correlation_id, 1, "x")):
        assert replies(data)[0][0].correlation_id == correlation_id
    ((meta, payload),) = replies(request_frame(SERVICE, "Method", correlation_id, 2000, b"abc"))
    assert meta.correlation_id == correlation_id
    assert (meta.request.service_name, meta.request.method_name) == (SERVICE, "Method")
    assert (meta.request.timeout_ms, payload) == (2000, b"abc")


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (call(service="evil.Service"), 1001, "no such service"),
        (call(method="Evil"), 1002, "no such method"),
        (frame(RpcMeta(correlation_id=7), b""), 1001, "no such service"),
        (call(compress_type=1), 1003, "compress_type 1 is not supported"),
        (call(compress_type=99), 1003, "compress_type 99 is not supported"),
        (call(compress_type=2), 1003, "damaged"),
        (call(compress_type=2, payload=gzip.compress(b" " * 5000)), 1003, "expands to more than 1000 bytes"),
        (call(compress_type=3, payload=zlib.compress(b" " * 5000)), 1003, "expands to more than 1000 bytes"),
        (call(compress_type=3, payload=zlib.compress(b"x" * 50)[:-2]), 1003, "cut off"),
        (call(attachment_size=99), 1003, "attachment_size"),
        (call(attachment_size=-1), 1003, "attachment_size"),
        (call(method="Broken"), 2001, "its log says more"),
        (call(method="Picky"), 1003, "a list is expected"),
    ],
)
def test_refusals(run, data, code, text):
    def broken(body: bytes, info: CallInfo) -> bytes:
        raise RuntimeError("evil")

    def picky(body: bytes, info: CallInfo) -> bytes:
        raise BodyError("a list is expected")

    ((meta, payload),) = answered(run, data, Limits(max_body=1000), Broken=broken, Picky=picky)
    assert (meta.correlation_id, meta.response.error_code, payload) == (7, code, b"")
    assert text in meta.response.error_text
    assert "evil" not in meta.response.error_text.lower()


@pytest.mark.parametrize(("kind", "compress"), [(2, gzip.compress), (3, zlib.compress)])
def test_compressed_requests(run, kind, compress):
    payload = compress(request("small" * 100).SerializeToString())
    ((_, got),) = answered(run, call(compress_type=kind, payload=payload))
    assert got == answer("small" * 100, INFO)


def test_calls_that_are_cancelled_are_not_answered(run):
    """Of two under one correlation id, the first; an id that is not owed an answer is none of anybody's business."""

    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(call("first", method="Held") + call("second", method="Held") + cancel_frame(99))
            await held.arrived(2)
            writer.write(cancel_frame(7) + call("again", method="Held") + call(service=CANCEL[0], method="Evil"))
            writer.write(call(service=CANCEL[0], method=CANCEL[1], payload=b"\xff"))
            await held.arrived(3)
            assert [future.cancelled() for future in held.futures] == [True, False, False]
            held.release(1)
            held.release(2)
            writer.write(call("last"))
            cutter, frames = FrameCutter(1000, 1000), []
            while len(frames) < 7:
                frames += cutter.feed(await reader.read(1000))
            writer.close()
        metas = [RpcMeta.FromString(meta) for meta, _ in frames]
        got = [(meta.correlation_id, meta.response.error_code) for meta in metas]
        assert got[:4] == [(CANCEL_ID, 0), (CANCEL_ID, 0), (7, 1001), (7, 1003)]
        assert sorted(payload for _, payload in frames[4:]) == sorted(
            answer(name, INFO) for name in ("second", "again", "last")
        )

    run(main())


def test_attachments_are_left_out(run):
    payload = request("x").SerializeToString() + b"attached"
    ((_, got),) = answered(run, call(payload=payload, attachment_size=8))
    assert got == answer("x", INFO)


def test_the_callers_time_limit_reaches_the_handler(run):
    seen: list[float | None] = []

    def note(body: bytes, info: CallInfo) -> bytes:
        seen.append(info.timeout)
        return echo(body, info)

    limited = RpcMeta(correlation_id=7)
    limited.request.service_name, limited.request.method_name, limited.request.timeout_ms = SERVICE, "Note", 1500
    answered(run, call(method="Note") + frame(limited, b""), Note=note)
    assert seen == [None, 1.5]


def test_a_burst_is_answered_in_one_go(run):
    frames = answered(
        run,
        b"".join(
            request_frame(SERVICE, "GetModelInfo", i, 1000, request(str(i)).SerializeToString()) for i in range(500)
        ),
    )
    assert [(meta.correlation_id, payload) for meta, payload in frames] == [
        (i, answer(str(i), INFO)) for i in range(500)
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"PRPC\xff\xff\xff\xff\x00\x00\x00\x04",
        b"PRPC\x00\x00\x00\x04\x00\x00\x00\x05....",
        b"PRPC\x00\x10\x00\x00\x00\x10\x00\x00",
        b"PRPC\x00\x00\x00\x02\x00\x00\x00\x02\xff\xff",
        call() + b"nonsense....",
        b"nonsense",
        b"\x16\x03\x01\x02\x00\x01",
        b"PRX",
    ],
)
def test_bytes_that_are_no_frames_close_the_connection(run, data):
    async def main() -> None:
        async with listening(Limits(max_body=1 << 16)) as listener:
            await exchange(listener.port, data, end=False)
            ((_, payload),) = replies(await exchange(listener.port, call("next")))
            assert payload == answer("next", INFO)

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P",
        b"GE",
        b"PRPC",
        call()[:-1],
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n123",
    ],
)
def test_whoever_dawdles_is_closed(run, data):
    async def main() -> None:
        async with listening(Limits(header_timeout=0.1, body_timeout=0.2, idle_timeout=0.1)) as listener:
            assert await exchange(listener.port, data, end=False) == b""
            assert not listener._state.connections

    run(main())


@pytest.mark.parametrize("data", [call("x" * 400), b"POST /%b HTTP/1.1\r\nContent-Length: 900\r\n\r\n" % (b"x" * 400)])
def test_trickling_bytes_does_not_help(run, data):
    async def main() -> None:
        async with listening(Limits(header_timeout=0.1, body_timeout=0.2)) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            closed = asyncio.ensure_future(reader.read())
            for byte in data:
                if closed.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.wait([closed], timeout=0.005)
            assert closed.done()
            closed.exception()
            writer.close()

    run(main())


def test_a_long_call_outlives_idle_and_header_timeouts(run):
    async def main() -> None:
        held = Held()
        limits = Limits(header_timeout=0.2, body_timeout=0.2, idle_timeout=0.2)
        async with listening(limits, Held=held) as listener:
            posted = b"POST /ModelService/Held HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
            tasks = [asyncio.ensure_future(exchange(listener.port, data, end=False)) for data in (posted,)]
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(call(method="Held"))
            await held.arrived(2)
            done, _ = await asyncio.wait(tasks, timeout=0.5)
            assert not done
            held.release(0)
            held.release(1)
            assert (await tasks[0]).startswith(b"HTTP/1.1 200 OK")
            cutter = FrameCutter(1000, 1000)
            while not (frames := cutter.feed(await reader.read(1000))):
                pass
            assert GetModelInfoResponse.FromString(frames[0][1]).status.code == 1
            writer.close()

    run(main())


def test_too_many_connections(run):
    async def main() -> None:
        async with listening(Limits(max_connections=2)) as listener:
            kept = []
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                writer.write(call())
                await reader.readexactly(12)
                kept.append(writer)
            assert await exchange(listener.port, b"", end=False) == b""
            for writer in kept:
                writer.close()

    run(main())


def test_who_reads_no_answers_is_not_read_either(run):
    async def main() -> None:
        served = 0

        def big(body: bytes, info: CallInfo) -> bytes:
            nonlocal served
            served += 1
            return bytes(1 << 20)

        async with listening(Big=big) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1 << 10)
            writer.transport.pause_reading()
            for _ in range(200):
                writer.write(call(method="Big", payload=bytes(10_000)))
                await asyncio.sleep(0.001)
            assert 0 < served < 100
            writer.transport.abort()
            del reader

    run(main())


def test_frames_cut_at_every_position():
    data = request_frame(SERVICE, "M", 1, 5, b"abc") + request_frame(SERVICE, "M", 2, 5, b"")
    whole = FrameCutter(100, 100).feed(data)
    assert [payload for _, payload in whole] == [b"abc", b""]
    for cut in range(len(data) + 1):
        cutter = FrameCutter(100, 100)
        assert cutter.feed(data[:cut]) + cutter.feed(data[cut:]) == whole
        assert not cutter.incomplete
    cutter = FrameCutter(100, 100)
    assert [frame for byte in data for frame in cutter.feed(bytes([byte]))] == whole


def test_a_claimed_size_allocates_nothing():
    cutter = FrameCutter(64 << 20, 64 << 10)
    assert cutter.feed(struct.pack(">4sII", b"PRPC", 64 << 20, 4)) == []
    assert len(cutter._pending) == 12
    with pytest.raises(FrameError):
        FrameCutter(64 << 20, 64 << 10).feed(struct.pack(">4sII", b"PRPC", (64 << 20) + 5, 4))
