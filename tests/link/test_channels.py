"""Channels against listeners, over real sockets: both transports, both encodings."""

from __future__ import annotations

import asyncio
import random
import socket
import time

import pytest

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.execution import ExecuteCall, error_reply_message
from sfs_core.errors import ConfigError, ErrorCode, PeerError
from sfs_core.link.channel import PROTOCOLS, Channel, open_channel
from sfs_core.link.framing import FrameCutter, error_frame, response_frame
from sfs_core.link.listener import Limits, Listener
from sfs_core.link.outgoing import TransportError
from sfs_core.link.peer import PeerClient
from sfs_core.link.retry import FailureKind, RetryPolicy, fixed_backoff
from sfs_core.link.rpc import CallInfo, Encoding, Routes
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.proto.brpc_pb2 import RpcMeta
from tests.link.echo import SERVICE, Held, answer, echo, listening, read, request
from tests.support.processes import free_ports

ONCE = RetryPolicy(retries=0)
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


def channel_to(port: int, protocol: str, retry: RetryPolicy = ONCE, host: str = "127.0.0.1") -> Channel:
    return open_channel("bob", f"{host}:{port}", protocol, connect_timeout=60, retry=retry)


def ask(channel: Channel, name: str, timeout: float = 5.0, method: str = "GetModelInfo", **keywords):
    return channel.call(
        SERVICE, method, request(name), GetModelInfoResponse, timeout, read=lambda m: m.model_info.name, **keywords
    )


@protocols
def test_answers_come_back(run, protocol):
    seen: list[CallInfo] = []

    async def later(body: bytes, info: CallInfo) -> bytes:
        seen.append(info)
        return echo(body, info)

    async def main() -> None:
        async with listening(Later=later) as listener:
            channel = channel_to(listener.port, protocol)
            assert await ask(channel, "one") == "one"
            assert await ask(channel, "two", method="Later") == "two"
            await channel.close()
        (info,) = seen
        assert info.encoding is (Encoding.JSON if protocol == "http" else Encoding.PROTO)
        assert info.peer.startswith("127.0.0.1:")
        if protocol == "baidu_std":
            assert (info.transport, info.headers) == ("baidu_std", {})
            assert 4.0 < info.timeout <= 5.0
        elif protocol == "h2:grpc":
            assert info.transport == "grpc"
            assert 4.0 < info.timeout <= 5.1
        else:
            assert info.transport == "http"
            assert 4.0 < info.timeout <= 5.0
            assert info.headers["host"].startswith("127.0.0.1:")

    run(main())


def test_a_thousand_calls_in_flight_on_one_connection_answered_in_random_order(run):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, "baidu_std")
            names = [f"call {i} " + "x" * (i % 300) for i in range(1000)]
            futures = [ask(channel, name, 20.0, "Held") for name in names]
            await held.arrived(1000)
            order = list(range(1000))
            random.Random(5).shuffle(order)
            for index in order:
                held.release(index)
            assert await asyncio.gather(*futures) == names
            assert len({info.peer for info in held.infos}) == 1
            await channel.close()

    run(main())


@pytest.mark.parametrize("protocol", ["http", "http:proto"])
def test_http_calls_share_a_bounded_pool(run, protocol):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, protocol)
            futures = [ask(channel, f"call {i}", 20.0, "Held") for i in range(200)]
            for count in range(1, 201):
                await held.arrived(count)
                if count >= 64:
                    held.release(count - 64)
            for index in range(200):
                if not held.futures[index].done():
                    held.release(index)
            assert await asyncio.gather(*futures) == [f"call {i}" for i in range(200)]
            assert len({info.peer for info in held.infos}) == 64
            await channel.close()

    run(main())


@protocols
def test_a_slow_server_costs_its_time_limit_and_no_more(run, protocol):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, protocol)
            begin = time.perf_counter()
            with pytest.raises(PeerError, match=r"^peer 'bob' did not answer within 0\.2 s$") as caught:
                await ask(channel, "slow", 0.2, "Held")
            assert caught.value.code == ErrorCode.NETWORK_ERROR
            assert 0.19 < time.perf_counter() - begin < 60
            assert await ask(channel, "next") == "next"
            await channel.close()

    run(main())


@protocols
def test_cancelling_a_call_leaves_the_channel_usable(run, protocol):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, protocol)
            future = ask(channel, "unwanted", 5.0, "Held")
            await held.arrived(1)
            other = ask(channel, "of another caller", 60.0, "Held")
            await held.arrived(2)
            future.cancel()
            assert await ask(channel, "wanted") == "wanted"
            async with asyncio.timeout(60):
                await asyncio.wait([held.futures[0]])  # the server knows
            assert held.futures[0].cancelled()
            held.release(1)
            assert await other == "of another caller"
            assert await ask(channel, "next") == "next"
            early = ask(channel, "cancelled before it is sent", 5.0, "Held")
            early.cancel()
            assert await ask(channel, "last") == "last"
            await channel.close()

    run(main())


def test_a_peer_that_cannot_stop_calls_is_told_once(run):
    """As the reference's engine, which takes it for a call of a service that it has not."""
    frames: list[RpcMeta] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cutter = FrameCutter(1000, 1000)
        while data := await reader.read(1000):
            for head, _ in cutter.feed(data):
                frames.append(RpcMeta.FromString(head))
                if frames[-1].request.service_name != SERVICE:
                    writer.write(error_frame(frames[-1].correlation_id, 1001, "Fail to find service"))
                elif frames[-1].request.method_name == "Echo":
                    said = answer("x", CallInfo(Encoding.PROTO, "", "", {}))
                    writer.write(response_frame(frames[-1].correlation_id, said))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        channel = channel_to(server.sockets[0].getsockname()[1], "baidu_std")
        for _ in range(3):
            unwanted = ask(channel, "x", 60.0, "Hang")
            assert await ask(channel, "x", 60.0, "Echo") == "x"
            unwanted.cancel()
            assert await ask(channel, "x", 60.0, "Echo") == "x"
        await channel.close()
        server.close()

    run(main())
    assert [frame.request.service_name for frame in frames].count("sfs.CallService") == 1


@protocols
def test_refused_connection(run, protocol):
    async def main() -> None:
        channel = channel_to(*free_ports(1), protocol)
        with pytest.raises(PeerError, match=r"^peer 'bob' refused the connection$") as caught:
            await ask(channel, "x")
        assert caught.value.kind is FailureKind.NOT_RUN
        await channel.close()

    run(main())


@protocols
def test_a_peer_that_comes_up_late_is_reached_by_retries(run, protocol):
    async def main() -> None:
        (port,) = free_ports(1)
        channel = channel_to(port, protocol, RetryPolicy(retries=200, backoff=fixed_backoff(0.01)))
        futures = [ask(channel, f"{i}") for i in range(10)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(futures[0]), 0.05)
        async with listening(port=port):
            assert await asyncio.gather(*futures) == [f"{i}" for i in range(10)]
            await channel.close()

    run(main())


@protocols
def test_reconnects_after_a_restart(run, protocol):
    async def main() -> None:
        async with listening() as listener:
            port = listener.port
            channel = channel_to(port, protocol)
            assert await ask(channel, "before") == "before"
        with pytest.raises(PeerError):
            await ask(channel, "down")
        async with listening(port=port):
            assert await ask(channel, "after") == "after"
            await channel.close()

    run(main())


@protocols
def test_calls_under_way_fail_at_once_when_the_server_dies(run, protocol):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, protocol)
            futures = [ask(channel, f"{i}", 20.0, "Held") for i in range(5)]
            await held.arrived(5)
            for connection in list(listener._state.connections):
                connection.abort()
            async with asyncio.timeout(15):  # the calls have 20
                errors = await asyncio.gather(*futures, return_exceptions=True)
            assert {str(error) for error in errors} == {"peer 'bob' closed the connection before it answered"}
            assert {error.code for error in errors} == {ErrorCode.NETWORK_ERROR}
            assert await ask(channel, "again") == "again"
            await channel.close()

    run(main())


@protocols
@pytest.mark.parametrize("anything", [False, True])
def test_a_call_that_may_have_run_is_repeated_only_on_demand(run, protocol, anything):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, protocol, RetryPolicy(retries=1, anything=anything))
            future = ask(channel, "x", 5.0, "Held")
            await held.arrived(1)
            for connection in list(listener._state.connections):
                connection.abort()
            if anything:
                await held.arrived(2)
                held.release(1)
                assert await future == "x"
            else:
                with pytest.raises(PeerError, match="closed the connection"):
                    await future
                assert len(held.names) == 1
            await channel.close()

    run(main())


def test_a_server_that_stops_is_left_so_that_no_call_is_lost_with_its_connection(run):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, "baidu_std")
            last = asyncio.ensure_future(ask(channel, "last", method="Held"))
            await held.arrived(1)
            stopping = asyncio.ensure_future(listener.stop(5))
            await asyncio.sleep(0)
            refused = await asyncio.gather(*(ask(channel, "late") for _ in range(3)), return_exceptions=True)
            assert [error.kind for error in refused] == [FailureKind.NOT_RUN] * 3
            held.release(0)
            assert await last == "last"
            with pytest.raises(TransportError, match="refused the connection") as caught:  # a new one
                await ask(channel, "later")
            assert caught.value.kind is FailureKind.NOT_RUN
            assert not stopping.done(), "the server had closed the connection itself"
            await stopping
            await channel.close()

    run(main())


@protocols
def test_a_busy_server_is_asked_again(run, protocol):
    async def main() -> None:
        held = Held()
        async with listening(Limits(max_calls=1), Held=held) as listener:
            channel = channel_to(listener.port, protocol, RetryPolicy(retries=500, backoff=fixed_backoff(0.005)))
            first = ask(channel, "first", 10.0, "Held")
            await held.arrived(1)
            second = ask(channel, "second", 10.0, "Held")
            single = channel_to(listener.port, protocol)
            with pytest.raises(PeerError, match="too many calls are under way"):
                await ask(single, "third")
            held.release(0)
            await held.arrived(2)
            held.release(1)
            assert await asyncio.gather(first, second) == ["first", "second"]
            await single.close()
            await channel.close()

    run(main())


@protocols
def test_a_peer_that_never_accepts(run, protocol):
    async def main() -> None:
        with socket.socket() as sock:  # a full backlog: further connections hang
            sock.bind(("127.0.0.1", 0))
            sock.listen(0)
            fillers = []
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(sock.getsockname())
                fillers.append(filler)
            channel = open_channel(
                "bob", f"127.0.0.1:{sock.getsockname()[1]}", protocol, connect_timeout=0.1, retry=ONCE
            )
            with pytest.raises(PeerError, match=r"^peer 'bob' did not accept a connection within 0\.1 s$"):
                await ask(channel, "x")
            with pytest.raises(PeerError, match=r"^peer 'bob' did not answer within 0\.05 s$"):
                await ask(channel, "x", 0.05)
            await channel.close()
            for filler in fillers:
                filler.close()

    run(main())


@protocols
def test_transport_failures_name_the_peer_and_hide_details(run, protocol):
    def broken(body: bytes, info: CallInfo) -> bytes:
        raise RuntimeError("secret-detail")

    async def broken_later(body: bytes, info: CallInfo) -> bytes:
        raise RuntimeError("secret-detail")

    def picky(body: bytes, info: CallInfo) -> bytes:
        raise BodyError("field 'a': a list is expected, not a string")

    def babbling(body: bytes, info: CallInfo) -> bytes:
        return b"\xff\xff no message"

    missing = {"baidu_std": "no such method", "h2:grpc": "gRPC status UNIMPLEMENTED$"}.get(protocol, "at this path")

    async def main() -> None:
        async with listening(Broken=broken, Later=broken_later, Picky=picky, Babbling=babbling) as listener:
            channel = channel_to(listener.port, protocol)
            for method, text in (
                ("Broken", "the server failed to answer"),
                ("Later", "the server failed to answer"),
                ("Picky", "field 'a': a list is expected"),
                ("Babbling", "sent an answer that cannot be read"),
                ("Missing", missing),
            ):
                with pytest.raises(TransportError, match=text) as caught:
                    await ask(channel, "x", method=method)
                assert caught.value.message.startswith("peer 'bob' ")
                assert "secret" not in caught.value.message
            with pytest.raises(TransportError):
                await channel.call("no.such.Service", "M", request("x"), GetModelInfoResponse, 1.0)
            assert await ask(channel, "still there") == "still there"
            await channel.close()

    run(main())


@protocols
def test_closing_a_channel_fails_its_calls(run, protocol):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            channel = channel_to(listener.port, protocol)
            future = ask(channel, "x", 20.0, "Held")
            await held.arrived(1)
            await channel.close()
            with pytest.raises(PeerError):
                await future
            with pytest.raises(PeerError, match="is closed"):
                await ask(channel, "x")
            connecting = channel_to(listener.port, protocol)
            waiting = ask(connecting, "x")
            await connecting.close()
            with pytest.raises(PeerError):
                await waiting

    run(main())


@protocols
def test_big_messages(run, protocol):
    async def main() -> None:
        async with listening() as listener:
            channel = channel_to(listener.port, protocol)
            name = "x" * 5_000_000
            assert await ask(channel, name, 20.0) == name
            await channel.close()

    run(main())


@protocols
@pytest.mark.parametrize("host", ["localhost", "[::1]", "http://127.0.0.1"])
def test_addresses(run, protocol, host):
    async def main() -> None:
        listener = Listener(Routes({(SERVICE, "GetModelInfo"): echo}), name="test")
        await listener.start("::1" if "::" in host else "127.0.0.1", 0)
        channel = channel_to(listener.port, protocol, host=host)
        assert await ask(channel, "x") == "x"
        await channel.close()
        await listener.stop(0)

    run(main())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "bob..example.com", f"{'b' * 64}.example.com"])
def test_unknown_host(run, host):
    async def main() -> None:
        channel = channel_to(1, "baidu_std", host=host)
        with pytest.raises(PeerError, match=r"peer 'bob' (cannot be found|did not accept)"):
            await ask(channel, "x")
        await channel.close()

    run(main())


@pytest.mark.parametrize("protocol", ["http", "http:proto"])
def test_headers_of_callers_cannot_break_out(run, protocol):
    seen: list[CallInfo] = []

    def note(body: bytes, info: CallInfo) -> bytes:
        seen.append(info)
        return echo(body, info)

    async def main() -> None:
        async with listening(Note=note) as listener:
            channel = channel_to(listener.port, protocol)
            headers = {"X-B3-TraceId": "ab12", "X-B3-SpanId": "1\r\nX-Evil: 1", "X-B3 Sampled": "1", "x-ü": "1"}
            assert await ask(channel, "x", method="Note", headers=headers) == "x"
            await channel.close()
        assert seen[0].headers["x-b3-traceid"] == "ab12"
        assert sorted(seen[0].headers) == [
            "content-type",
            "host",
            "x-b3-traceid",
            "x-request-timeout",
        ]

    run(main())


def test_http_answers_that_end_with_the_connection_or_come_in_chunks(run):
    body = answer("x", CallInfo(Encoding.JSON, "http", "", {}))
    heads = [
        b"HTTP/1.1 200 OK\r\n\r\n" + body,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body,
    ]

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}}")
            writer.write(heads.pop())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        for _ in range(3):
            channel = channel_to(server.sockets[0].getsockname()[1], "http")
            assert await ask(channel, "x") == "x"
            await channel.close()
        server.close()

    run(main())


@protocols
@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"nonsense" * 100,
        b"PRPC\xff\xff\xff\xff\x00\x00\x00\x01",
        b"PRPC\x00\x00\x00\x02\x00\x00\x00\x02\xff\xff",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_peers_that_talk_nonsense(run, protocol, nonsense):
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(nonsense)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        channel = channel_to(server.sockets[0].getsockname()[1], protocol)
        with pytest.raises(
            PeerError, match=r"^peer 'bob' (sent an answer|closed the connection|refused the call|does not speak gRPC)"
        ):
            await ask(channel, "x")
        await channel.close()
        server.close()

    run(main())


# ------------------------------------------------------------------------ peers
@protocols
def test_peer_errors_carry_code_and_text_once(run, protocol):
    def failing(body: bytes, info: CallInfo) -> bytes:
        message = error_reply_message("svc", 103, "{'spi': \"{no such id}\"}\n at row 1")
        if info.encoding is Encoding.JSON:
            from sfs_core.codec.dialect import to_json

            return to_json(message)
        return message.SerializeToString()

    def missing(body: bytes, info: CallInfo) -> bytes:
        if read(body, info) == "other":
            return answer("model of other", info)
        return b'{"status": {"code": 5}}' if info.encoding is Encoding.JSON else b"\x12\x02\x08\x05"

    async def main() -> None:
        api = "secretflow.serving.apis"
        listener = Listener(
            Routes({(f"{api}.ExecutionService", "Execute"): failing, (f"{api}.ModelService", "GetModelInfo"): missing})
        )
        await listener.start("127.0.0.1", 0)
        peer = PeerClient("bob", channel_to(listener.port, protocol))
        with pytest.raises(PeerError) as caught:
            await peer.execute(ExecuteCall("svc", "alice", ids=["1"]), 1.0)
        assert caught.value.code == ErrorCode.NETWORK_ERROR
        assert caught.value.message == "peer 'bob' answered code 103: {'spi': \"{no such id}\"} at row 1"
        with pytest.raises(PeerError) as caught:
            await peer.model_info("svc", 1.0)
        assert caught.value.code == ErrorCode.NOT_FOUND
        assert (await peer.model_info("other", 1.0)).model_info.name == "model of other"
        await peer.close()
        await listener.stop(0)

    run(main())


@pytest.mark.parametrize(
    "address", ["https://bob:1", "bob", "ftp://bob:1", "bob:x", "", "bob:1/path", "u:p@bob:1", ":9"]
)
def test_bad_addresses_are_config_errors(address):
    with pytest.raises(ConfigError, match="'bob'"):
        open_channel("bob", address)


@pytest.mark.parametrize("protocol", ["h2", "grpc"])
def test_protocols_that_are_not_served(protocol):
    with pytest.raises(ConfigError, match="unknown"):
        open_channel("bob", "bob:1", protocol)
