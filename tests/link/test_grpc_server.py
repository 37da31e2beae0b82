"""gRPC clients against a listener: the standard services, statuses, limits, cancelling, the end."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sfs_core.codec.dialect import BodyError
from sfs_core.link import grpc_backend
from sfs_core.link.listener import Limits, Listener
from sfs_core.link.rpc import CallInfo, Encoding
from sfs_core.link.sniff import WireProtocol
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from tests.link.damage import damaged
from tests.link.echo import SERVICE, Held, echo, exchange, listening, request, routes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@asynccontextmanager
async def channel_to(port: int, *options: tuple[str, int]) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1), *options]) as it:
        yield it


def call(
    channel: grpc.aio.Channel, name: str = "x", method: str = "GetModelInfo", **keywords
) -> grpc.aio.UnaryUnaryCall:
    stub = channel.unary_unary(
        f"/{SERVICE}/{method}", lambda message: message.SerializeToString(), GetModelInfoResponse.FromString
    )
    return stub(request(name), timeout=keywords.pop("timeout", 5), **keywords)


async def failure(pending: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pending
    return caught.value.code(), caught.value.details()


async def first_failure(channel: grpc.aio.Channel, answered: Callable[[], None] = lambda: None) -> grpc.StatusCode:
    """The status of the first call that is not answered."""
    while True:
        try:
            await call(channel, timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code()
        answered()


def folders() -> set[Path]:
    return set(Path(os.environ.get("TMPDIR", "/tmp")).glob("sfs-grpc-*"))


def test_a_handler_learns_what_grpc_tells_of_the_caller(run):
    seen: list[CallInfo] = []

    def noting(body: bytes, info: CallInfo) -> bytes:
        seen.append(info)
        return echo(body, info)

    async def main() -> None:
        before = folders()
        async with listening(Noting=noting) as listener:
            assert folders() == before  # nothing is started before it is needed
            async with channel_to(listener.port) as channel:
                metadata = (("x-b3-traceid", "ab"), ("raw-bin", b"\xff"))
                assert (await call(channel, "one", "Noting", metadata=metadata)).model_info.name == "one"
                await call(channel, "two", "Noting", timeout=None)
            (folder,) = folders() - before
            assert folder.stat().st_mode & 0o777 == 0o700
            assert [each.name for each in folder.iterdir()] == ["server"]
        assert folders() == before
        info, without = seen
        assert (info.encoding, info.transport, info.headers["x-b3-traceid"]) == (Encoding.PROTO, "grpc", "ab")
        assert info.peer.startswith("127.0.0.1:")
        assert "raw-bin" not in info.headers
        assert 0 < info.timeout <= 5.1
        assert without.timeout is None

    run(main())


def test_health_and_reflection(run):
    async def main() -> None:
        listener = Listener(routes(), serving=False)
        await listener.start("127.0.0.1", 0)
        async with channel_to(listener.port) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            await listener.set_serving(True)
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
            for name in ("", SERVICE):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            unknown = health.Check(health_pb2.HealthCheckRequest(service="nope"))
            assert (await failure(unknown))[0] is grpc.StatusCode.NOT_FOUND
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter(
                    [
                        reflection_pb2.ServerReflectionRequest(list_services=""),
                        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
                    ]
                )
            )
            listed, file = [each async for each in reflection]
            assert {each.name for each in listed.list_services_response.service} == {
                SERVICE,
                "grpc.health.v1.Health",
                "grpc.reflection.v1alpha.ServerReflection",
            }
            assert b"GetModelInfo" in file.file_descriptor_response.file_descriptor_proto[0]
        await listener.stop(0)

    run(main())


def test_a_watch_keeps_no_server_from_stopping(run, monkeypatch):
    monkeypatch.setattr(grpc_backend, "_LEAVING_SECONDS", 600)

    async def watch(channel: grpc.aio.Channel, seen: asyncio.Event) -> None:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        seen.set()
        assert await watching.code() is grpc.StatusCode.UNAVAILABLE
        assert await watching.details() == "the server ends"

    async def main() -> None:
        async with listening() as listener, channel_to(listener.port) as channel, asyncio.timeout(120):
            seen = asyncio.Event()
            watching = asyncio.create_task(watch(channel, seen))
            await seen.wait()
            await asyncio.gather(watching, listener.stop(600))

    run(main())


def test_failures_of_calls_have_statuses_and_safe_texts(run):
    def broken(body: bytes, info: CallInfo) -> bytes:
        raise RuntimeError("secret-detail")

    def picky(body: bytes, info: CallInfo) -> bytes:
        raise BodyError("field 'a': a list is expected")

    async def main() -> None:
        limits = Limits(max_body=1 << 20, max_header=8 << 10)
        async with listening(limits, Broken=broken, Picky=picky) as listener, channel_to(listener.port) as channel:
            texts = "the server failed to answer; its log says more"
            assert await failure(call(channel, method="Broken")) == (grpc.StatusCode.INTERNAL, texts)
            assert await failure(call(channel, method="Picky")) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "field 'a': a list is expected",
            )
            assert (await failure(call(channel, method="Nope")))[0] is grpc.StatusCode.UNIMPLEMENTED
            for compression in grpc.Compression.NoCompression, grpc.Compression.Gzip:  # a bomb, too
                big = call(channel, "x" * (2 << 20), compression=compression)
                assert (await failure(big))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            long = call(channel, metadata=(("x", "y" * (9 << 10)),))
            assert (await failure(long))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (await call(channel, "still there")).model_info.name == "still there"

    run(main())


def test_work_ends_with_its_caller_or_its_deadline(run):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            async with channel_to(listener.port) as channel:
                cancelled = call(channel, "cancelled", "Held")
                await held.arrived(1)
                cancelled.cancel()
                late = await failure(call(channel, "late", "Held", timeout=0.1))
                assert late[0] is grpc.StatusCode.DEADLINE_EXCEEDED
                gone = call(channel, "gone", "Held")
                await held.arrived(3)
            with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
                await gone
            await asyncio.wait(held.futures, timeout=5)
            assert all(future.cancelled() for future in held.futures)

    run(main())


def test_limits_on_calls(run):
    async def main() -> None:
        held = Held()
        limits = Limits(max_calls=3, max_streams=2)
        async with (
            listening(limits, Held=held) as listener,
            channel_to(listener.port) as one,
            channel_to(listener.port) as two,
        ):
            pending = [call(one, f"{i}", "Held") for i in range(3)]  # the third waits for its turn
            await held.arrived(2)
            other = call(two, "other", "Held")
            await held.arrived(3)
            status, text = await failure(call(two, "too many", "Held"))
            assert (status, text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls are under way")
            for index in range(3):
                held.release(index)
            await held.arrived(4)
            held.release(3)
            names = [(await each).model_info.name for each in (*pending, other)]
            assert sorted(names) == ["0", "1", "2", "other"]

    run(main())


@pytest.mark.parametrize("finishes", [True, False])
def test_stopping_lets_calls_finish_for_a_while(run, finishes):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener, channel_to(listener.port) as channel:
            pending = call(channel, "under way", "Held")
            await held.arrived(1)
            stopping = asyncio.ensure_future(listener.stop(10 if finishes else 0.05))
            if finishes:
                assert await first_failure(channel) is grpc.StatusCode.UNAVAILABLE
                assert not stopping.done()
                held.release(0)
                assert (await pending).model_info.name == "under way"
                del pending  # it holds the connection
            else:
                assert (await failure(pending))[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            async with asyncio.timeout(60):
                await stopping

    run(main())


def test_a_call_that_comes_too_late_can_be_made_again(run):
    """It is never cancelled, which clients do not make again."""

    async def calls_until_the_end(port: int, answered: asyncio.Semaphore) -> grpc.StatusCode:
        async with channel_to(port) as channel:
            return await first_failure(channel, answered.release)

    async def main() -> None:
        for _ in range(5):
            answered = asyncio.Semaphore(0)
            async with listening() as listener:
                callers = [asyncio.ensure_future(calls_until_the_end(listener.port, answered)) for _ in range(8)]
                for _ in range(40):
                    await answered.acquire()
                await listener.stop(10)
                assert set(await asyncio.gather(*callers)) == {grpc.StatusCode.UNAVAILABLE}

    run(main())


def test_a_port_for_grpc_alone(run):
    async def main() -> None:
        listener = Listener(routes(), protocols=[WireProtocol.HTTP2])
        await listener.start("127.0.0.1", 0)
        async with channel_to(listener.port) as channel:
            assert (await call(channel, "one")).model_info.name == "one"
        assert await exchange(listener.port, b"GET /health HTTP/1.1\r\n\r\n") == b""
        await listener.stop(0)

    run(main())


def test_many_big_messages_at_a_time(run):
    async def main() -> None:
        unlimited = ("grpc.max_receive_message_length", -1)
        async with listening() as listener, channel_to(listener.port, unlimited) as channel:
            names = [f"{i}" * (1 << 20) for i in range(10)]
            answers = await asyncio.gather(*(call(channel, name, timeout=20) for name in names))
            assert [each.model_info.name for each in answers] == names

    run(main())


# -------------------------------------------------------------------- hostile clients
def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


SETTINGS = frame(4, 0, 0)
HEADERS = b"".join(
    literal(*each)
    for each in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"here"),
        (b":path", f"/{SERVICE}/Held".encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)


def test_hostile_http2(run):
    """Garbage behind the preface, frames cut off, broken frames, rapid resets, endless headers, floods."""
    dice = random.Random(7)
    held = Held()
    good = [PREFACE, SETTINGS, frame(1, 4, 1, HEADERS), frame(0, 1, 1, b"\0\0\0\0\0"), frame(6, 0, 0, b"x" * 8)]
    resets = b"".join(frame(1, 4, i, HEADERS) + frame(3, 0, i, b"\0\0\0\x08") for i in range(1, 4001, 2))
    attacks = [
        PREFACE,
        PREFACE + b"\x00" * 1000,
        PREFACE + os.urandom(5000),
        PREFACE + SETTINGS + frame(1, 4, 1, HEADERS)[:-3],
        PREFACE + SETTINGS + resets,
        PREFACE + SETTINGS + frame(1, 0, 1, HEADERS) + frame(9, 0, 1, literal(b"x", b"y" * 100) * 50) * 100,
        PREFACE + SETTINGS + SETTINGS * 5000,
        PREFACE + SETTINGS + frame(6, 0, 0, b"x" * 8) * 5000,
        PREFACE + SETTINGS + frame(1, 4, 1, HEADERS) + frame(0, 0, 1, b"\0\xff\xff\xff\xff"),
        PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\x01",
        *(b"".join(good[: dice.randrange(1, 6)]) + damaged(dice, good) for _ in range(60)),
    ]

    async def attack(port: int, data: bytes, end: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for start in range(0, len(data), 4096):
                writer.write(data[start : start + 4096])
                await writer.drain()
            if end:
                writer.write_eof()
            await reader.read()
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        limits = Limits(header_timeout=0.3, idle_timeout=0.3, max_header=16 << 10)
        async with listening(limits, Held=held) as listener:
            async with channel_to(listener.port) as channel, asyncio.timeout(60):
                assert (await call(channel, "before")).model_info.name == "before"
                await asyncio.gather(*(attack(listener.port, data, i % 2 == 0) for i, data in enumerate(attacks)))
                assert (await call(channel, "after")).model_info.name == "after"
            for connection in list(listener._state.connections):
                await connection.gone.wait()
            await asyncio.wait(held.futures, timeout=5)  # some were well-formed
            assert not listener._state.calls._running

    run(main())
