"""More than a port can take: the limit that follows latency, bytes in flight, clients that do not read, retries."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable

import pytest

from sfs_core.codec.dialect import to_json
from sfs_core.errors import PeerError
from sfs_core.link.admission import BURST, FEW, FORGET, HURRY, WINDOW, Admission
from sfs_core.link.channel import open_channel
from sfs_core.link.framing import FrameCutter, read_meta
from sfs_core.link.outgoing import RETRIES_AT_ONCE
from sfs_core.link.retry import RetryPolicy, fixed_backoff
from sfs_core.link.rpc import Limits
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.proto.brpc_pb2 import RpcMeta
from tests.link.echo import SERVICE, Held, exchange, listening, request
from tests.support.processes import free_ports

TARGET = 0.05


class Station:
    """Takes one call at a time, each for `service` seconds, and tells the admission of it."""

    def __init__(self, admission: Admission, service: float) -> None:
        self.admission = admission
        self.service = service
        self.now = 0.0
        self.ends: list[tuple[float, float]] = []
        self.latencies: list[float] = []
        self.refused = 0

    def arrive(self, at: float) -> None:
        """A call; those that end before it are told first."""
        self.now = at
        while self.ends and self.ends[0][1] <= at:
            begin, end = self.ends.pop(0)
            self.admission.over(end - begin, len(self.ends) + 1, end)
            self.latencies.append(end - begin)
        if len(self.ends) >= self.admission.limit:
            self.refused += 1
            self.admission.refused += 1
            return
        free = self.ends[-1][1] if self.ends else at
        self.ends.append((at, max(free, at) + self.service))

    def load(self, rate: float, seconds: float, seed: int = 1) -> tuple[list[float], int]:
        """Latencies of the calls that ended, and how many were refused."""
        self.latencies, self.refused = [], 0
        chance, end = random.Random(seed), self.now + seconds
        while self.now < end:
            self.arrive(self.now + chance.expovariate(rate))
        return self.latencies, self.refused


def p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]


@pytest.mark.parametrize("service", [0.0001, 0.0005])
def test_five_times_the_load_keeps_latency_and_throughput(service: float) -> None:
    station = Station(Admission(10_000, TARGET, 0.0), service)
    usual, refused = station.load(0.8 / service, 10)
    assert not refused
    station.load(5 / service, 2)
    latencies, refused = station.load(5 / service, 30)
    assert p99(latencies) < max(8 * p99(usual), TARGET / HURRY)
    assert p99(latencies) < TARGET
    assert len(latencies) > 0.9 * 30 / service
    assert refused > 3.5 * 30 / service
    latencies, refused = station.load(0.8 / service, 5)
    assert refused < 0.01 * 0.8 / service * 5
    assert p99(latencies) < TARGET


def test_a_sudden_load_does_not_pile_up() -> None:
    station = Station(Admission(10_000, TARGET, 0.0), 0.0001)
    station.load(8000, 10)
    latencies, _ = station.load(50_000, 10)
    assert max(latencies) < 3 * TARGET


def test_a_sudden_load_of_large_calls_is_seen_before_all_wait() -> None:
    station = Station(Admission(10_000, TARGET, 0.0), 0.001)
    station.load(800, 10)
    latencies, _ = station.load(5000, 60)
    assert max(latencies) < 0.6
    assert p99(latencies) < 2 * TARGET


def test_calls_that_are_slow_by_nature_and_become_more_are_let_in() -> None:
    """Three hundred milliseconds each: at first more of them are under way than the few that end let expect."""
    admission = Admission(10_000, TARGET, 0.0)
    for turn in range(100):
        under_way, ended = (60, 10) if turn < 50 else (min(600, 60 + 90 * (turn - 50)), 10 if turn < 56 else 100)
        for _ in range(ended):
            admission.over(0.3, under_way, turn * WINDOW)
        assert admission.limit >= BURST


def test_calls_that_are_slow_by_nature_are_let_in() -> None:
    """A thousand at a time, half a second each, whatever their number."""
    admission = Admission(10_000, TARGET, 0.0)
    for turn in range(200):
        assert admission.limit >= BURST
        admission.over(0.5, 1000, turn * WINDOW)
    assert admission.limit == 2000


def test_calls_that_become_slow_by_nature_are_let_in_after_a_while() -> None:
    admission = Admission(10_000, TARGET, 0.0)
    for turn in range(100):
        admission.over(0.001, 100, turn * WINDOW)
    limits = []
    for turn in range(100, 100 + int(5 * FORGET / WINDOW)):
        under_way = int(min(admission.limit, 1000))
        admission.refused += 1000 - under_way
        admission.over(0.5, under_way, turn * WINDOW)
        limits.append(admission.limit)
    assert min(limits) == FEW
    assert limits.count(FEW) == 1
    assert limits[-1] >= 1000


def test_a_limit_below_all_others_stays() -> None:
    admission = Admission(8, TARGET, 0.0)
    for turn in range(1000):
        admission.refused += 100
        admission.over(0.5, 8, turn * WINDOW)
        assert admission.limit <= 8


def test_one_hiccup_refuses_nobody() -> None:
    admission = Admission(1000, TARGET, 0.0)
    for turn in range(100):
        admission.over(0.5 if turn == 50 else 0.01, 500, turn * WINDOW)
        assert admission.limit == 1000


async def eventually(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  nothing tells of it
        await asyncio.sleep(0.001)


def post(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"POST /ModelService/Held HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def test_bytes_in_flight_are_limited_over_all_connections(run) -> None:
    async def main() -> None:
        held = Held()
        padding = b" " * 600
        async with listening(Limits(max_body=1000, max_bytes=1000), Held=held) as listener:
            calls = listener._state.calls
            first = asyncio.ensure_future(exchange(listener.port, post(to_json(request("one")) + padding)))
            await held.arrived(1)
            assert b"x-bd-error-code: 2004" in await exchange(listener.port, post(padding))
            assert b"x-bd-error-code: 2004" in await exchange(listener.port, post(padding, length=900), end=False)
            held.release(0)
            assert calls.refused == {"bytes": 2}
            assert b"200 OK" in await first
            assert calls._bytes == 0

    run(main())


def test_what_is_refused_is_not_expanded_first(run) -> None:
    """What cannot be expanded is refused as any other call is, so nobody has tried."""

    async def main() -> None:
        async with listening(Limits(max_calls=0)) as listener:
            head = b"POST /ModelService/GetModelInfo HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
            answer = await exchange(listener.port, head + b"junk")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1\r\n" in answer
            meta = RpcMeta(correlation_id=3, compress_type=2)
            meta.request.service_name, meta.request.method_name = SERVICE, "GetModelInfo"
            written = meta.SerializeToString()
            frame = b"PRPC" + struct.pack(">II", len(written) + 4, len(written)) + written + b"junk"
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(frame)
            cutter = FrameCutter(1000, 1000)
            ((refusal, _),) = cutter.feed(await reader.read(1000))
            assert read_meta(refusal).response.error_code == 2004
            writer.close()
            assert listener._state.calls.refused == {"concurrency": 2}

    run(main())


@pytest.mark.parametrize("beginning", [post(b"x" * 600, length=900), b"PRPC\0\0\3\xe8\0\0\0\x10" + b"x" * 600])
def test_bytes_of_connections_that_break_off_are_given_back(run, beginning: bytes) -> None:
    async def main() -> None:
        async with listening(Limits(max_body=1000, max_bytes=1000)) as listener:
            for _ in range(3):
                _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                writer.write(beginning)
                await eventually(lambda: listener._state.calls._bytes > 0)
                writer.transport.abort()
                await eventually(lambda: listener._state.calls._bytes == 0)

    run(main())


def test_who_does_not_read_is_hung_up_on(run) -> None:
    large = GetModelInfoResponse()
    large.model_info.name = "x" * (8 << 20)
    body = to_json(large)

    async def main() -> None:
        async with listening(Limits(write_timeout=0.1), Large=lambda _, info: body) as listener:
            client = socket.create_connection(("127.0.0.1", listener.port))
            with client:
                client.setblocking(False)
                ask = b"POST /ModelService/Large HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                await asyncio.get_running_loop().sock_sendall(client, ask)
                await eventually(lambda: len(listener._state.connections) == 1)
                await eventually(lambda: not listener._state.connections)

    run(main())


@pytest.mark.parametrize("protocol", ["baidu_std", "http", "h2:grpc"])
def test_retries_have_a_budget(run, protocol: str) -> None:
    calls = 200

    async def main() -> None:
        sent = 0
        channel = open_channel(
            "bob", f"127.0.0.1:{free_ports(1)[0]}", protocol, retry=RetryPolicy(3, fixed_backoff(0), budget=0.1)
        )
        send = channel._send

        def counted(call) -> None:
            nonlocal sent
            sent += 1
            send(call)

        channel._send = counted  # type: ignore[method-assign]
        for _ in range(calls):
            with pytest.raises(PeerError):
                await channel.call(SERVICE, "GetModelInfo", request("x"), GetModelInfoResponse, 5.0)
        await channel.close()
        assert calls < sent <= calls * 1.1 + RETRIES_AT_ONCE

    run(main())
