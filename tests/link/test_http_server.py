"""HTTP/1.1 as it is served, byte by byte."""

from __future__ import annotations

import asyncio
import gzip
import socket
from itertools import pairwise

import pytest

from sfs_core.link.listener import Limits
from sfs_core.link.rpc import CallInfo, Encoding
from tests.link.echo import SERVICE, Held, answer, exchange, listening, request

JSON_INFO = CallInfo(Encoding.JSON, "http", "", {})
PROTO_INFO = CallInfo(Encoding.PROTO, "http", "", {})


def post(
    name: str = "x", path: str = "/ModelService/GetModelInfo", headers: str = "", body: bytes | None = None
) -> bytes:
    if body is None:
        body = b'{"service_spec":{"id":"%b"}}' % name.encode()
    return f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def ok(name: str = "x", kind: str = "application/json", extra: bytes = b"") -> bytes:
    body = answer(name, PROTO_INFO if "proto" in kind else JSON_INFO)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: %b\r\n%b\r\n" % (len(body), kind.encode(), extra)
        + body
    )


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def check(run, data: bytes, expected: bytes | int, limits: Limits | None = None, **handlers) -> None:
    """`data` is answered by exactly these bytes, or by a plain text with this status."""

    async def main() -> None:
        async with listening(limits, **handlers) as listener:
            reply = await exchange(listener.port, data)
            if isinstance(expected, bytes):
                assert reply == expected
            else:
                head, _, text = reply.partition(b"\r\n\r\n")
                assert status(reply) == expected
                assert b"\r\nContent-Type: text/plain\r\n" in head
                assert b"\r\nx-bd-error-code: " in head
                assert f"\r\nContent-Length: {len(text)}\r\n".encode() in head
                assert b"evil" not in reply
            assert await exchange(listener.port, post()) == ok()  # and the server goes on

    run(main())


@pytest.mark.parametrize(
    "path",
    [
        "/ModelService/GetModelInfo",
        f"/{SERVICE}/GetModelInfo",
        "/ModelService/GetModelInfo/",
        "/ModelService/GetModelInfo/more/of/it",
        "/ModelService/GetModelInfo?a=b",
        "http://host/ModelService/GetModelInfo",
        "//ModelService//GetModelInfo",
    ],
)
def test_paths(run, path):
    check(run, post(path=path), ok())


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_verb_does_not_matter(run, verb):
    check(run, f"{verb} /ModelService/GetModelInfo HTTP/1.1\r\n\r\n".encode(), ok(""))


@pytest.mark.parametrize(
    ("kind", "answered"),
    [
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("text/plain", "application/json"),
        ("application/proto", "application/proto"),
        ("application/x-protobuf", "application/x-protobuf"),
        ("Application/Proto", "application/proto"),
    ],
)
def test_content_types(run, kind, answered):
    body = request("x").SerializeToString() if "proto" in kind.lower() else None
    check(run, post(headers=f"Content-Type: {kind}\r\n", body=body), ok("x", answered))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (post(path="/evil/evil"), 404),
        (post(path="/"), 404),
        (post(path="//evil"), 404),
        (post(path="*"), 404),
        (post(path="/ModelService"), 404),
        (post(path="/ModelService/evil"), 404),
        (b"CONNECT evil:443 HTTP/1.1\r\n\r\n", 404),
        (post(body=b'{"service_spec":[]}'), 400),
        (post(body=b"evil"), 400),
        (post(headers="Content-Type: application/proto-text\r\n"), 415),
        (post(headers="Content-Encoding: br\r\n"), 415),
        (post(headers="Content-Encoding: gzip\r\n"), 400),
        (post(headers="Content-Encoding: gzip\r\n", body=gzip.compress(b"{}")[:-4]), 400),
        (post(headers="Content-Encoding: gzip\r\n", body=gzip.compress(b" " * 3000)), 413),
        (post(body=b" " * 2001), 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d1\r\n" + b" " * 2001, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /health HTTP/7.7\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 2000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 2000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 431),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500),
    ],
)
def test_refusals(run, data, expected):
    check(run, data, expected, Limits(max_body=2000, max_header=1000))


def test_an_endless_head_ends(run):
    async def main() -> None:
        async with listening(Limits(max_header=1000)) as listener:
            for start in (
                b"GET / HTTP/1.1\r\nX: ",
                b"GET /",
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                writer.write(start)
                while not reader.at_eof():
                    writer.write(b"y" * 500)
                    await asyncio.sleep(0)
                    if b" 431 " in await asyncio.wait_for(_some(reader), 60):
                        break
                writer.close()

    async def _some(reader: asyncio.StreamReader) -> bytes:
        try:
            return await asyncio.wait_for(reader.read(100), 0.01)
        except TimeoutError:
            return b""

    run(main())


def test_head_answers_without_body(run):
    reply = ok("")
    head = reply[: reply.index(b"\r\n\r\n") + 4]
    check(run, b"HEAD /ModelService/GetModelInfo HTTP/1.1\r\n\r\n" + post(), head + ok())


def test_pages(run):
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nOK"
    check(run, b"GET /health HTTP/1.1\r\n\r\nPOST /health?x=1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", page + page)


def test_a_gzip_body(run):
    body = gzip.compress(post("zipped").partition(b"\r\n\r\n")[2])
    check(run, post(headers="Content-Encoding: gzip\r\n", body=body), ok("zipped"))


def test_a_chunked_body_with_trailers(run):
    head = b"POST /ModelService/GetModelInfo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [b'{"service_', b'spec":{"id"', b':"x"}}']
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    check(run, head + body + b"0\r\nTrailer: 1\r\n\r\n" + post("y"), ok() + ok("y"))


def test_connection_headers(run):
    closing = ok(extra=b"Connection: close\r\n")
    old = post().replace(b"HTTP/1.1", b"HTTP/1.0")
    check(run, post(headers="Connection: close\r\n") + post(), closing)
    check(run, old + post(), closing)
    kept = post(headers="Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    check(run, kept + post(), ok(extra=b"Connection: keep-alive\r\n") + ok())


def test_an_upgrade_is_answered_without_one(run):
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    check(
        run,
        b"GET /health HTTP/1.1\r\n" + upgrade.encode() + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nOK",
    )


def test_the_body_of_a_request_with_an_upgrade_counts(run):
    """Java's client offers h2c with its first request, whatever that is, and goes on as it is answered."""
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    offers = [post(f"n{i}", headers=upgrade) for i in range(500)]
    check(run, b"".join(offers) + post(), b"".join(ok(f"n{i}") for i in range(500)) + ok())

    async def main() -> None:
        async with listening() as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for begin, end in pairwise(range(len(offers[1]) + 1)):
                writer.write(offers[1][begin:end])
                await asyncio.sleep(0)
            assert await reader.readexactly(len(ok("n1"))) == ok("n1")
            writer.close()

    run(main())


def test_empty_lines_before_a_request_are_ignored(run):
    check(run, b"\r\n\r\n" + post() + b"\r\n" + post(), ok() + ok())


def test_expect_100_continue(run):
    async def main() -> None:
        async with listening() as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            head, mark, body = post(headers="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
            writer.write(head + mark)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert await reader.readexactly(len(ok())) == ok()
            writer.close()

    run(main())


def test_expect_100_continue_for_too_much(run):
    head = b"POST / HTTP/1.1\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
    check(run, head, 413, Limits(max_body=2000))


def test_a_client_that_is_refused_in_the_middle_of_its_body_gets_the_answer(run):
    async def main() -> None:
        async with listening(Limits(max_body=1000)) as listener:
            data = b"POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + bytes(3_000_000)
            assert status(await exchange(listener.port, data)) == 413

    run(main())


def test_pipelined_answers_keep_the_order_of_the_requests(run):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            names = [f"n{i}" for i in range(300)]
            held_path, echo_path = "/ModelService/Held", "/ModelService/GetModelInfo"
            requests = [post(name, held_path if i % 3 else echo_path) for i, name in enumerate(names)]
            task = asyncio.ensure_future(exchange(listener.port, b"".join(requests)))
            for index in range(200):
                await held.arrived(min(index + 2, 200))
                for one in {index ^ 1, index}:  # neighbours swapped
                    if not held.futures[one].done():
                        held.release(one)
            assert await task == b"".join(map(ok, names))

    run(main())


def test_requests_split_anywhere(run):
    async def main() -> None:
        async with listening() as listener:
            data = post("split", headers="Content-Type: application/json\r\n")
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for cut in range(1, len(data)):
                writer.write(data[:cut])
                await asyncio.sleep(0.0005)
                writer.write(data[cut:])
                assert await reader.readexactly(len(ok("split"))) == ok("split")
            for begin, end in pairwise(range(len(data) + 1)):
                writer.write(data[begin:end])
                await asyncio.sleep(0)
            assert await reader.readexactly(len(ok("split"))) == ok("split")
            writer.close()

    run(main())


def test_more_calls_than_allowed(run):
    async def main() -> None:
        held = Held()
        async with listening(Limits(max_calls=1), Held=held) as listener:
            task = asyncio.ensure_future(exchange(listener.port, post("one", "/ModelService/Held")))
            await held.arrived(1)
            refused = await exchange(listener.port, post("two", "/ModelService/Held"))
            assert status(refused) == 503
            assert b"x-bd-error-code: 2004\r\n" in refused
            held.release(0)
            assert await task == ok("one")

    run(main())


def test_stopping_finishes_calls_and_says_over_idle_connections_that_nothing_more_is_run(run):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            port = listener.port
            idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
            idle_writer.write(post())
            await idle_reader.readexactly(len(ok()))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post("last", "/ModelService/Held"))
            await held.arrived(1)
            stopping = asyncio.ensure_future(listener.stop(60))
            await asyncio.sleep(0)
            idle_writer.write(post())
            refused = await idle_reader.read()
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"x-bd-error-code: 2003\r\n" in refused
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            assert not stopping.done()
            held.release(0)
            assert await reader.read() == ok("last", extra=b"Connection: close\r\n")
            await stopping
            idle_writer.close()
            writer.close()

    run(main())


def test_stopping_cuts_off_calls_that_take_too_long(run):
    async def main() -> None:
        held = Held()
        async with listening(Held=held) as listener:
            task = asyncio.ensure_future(exchange(listener.port, post("x", "/ModelService/Held")))
            await held.arrived(1)
            await listener.stop(0.01)
            reply = await task
            assert status(reply) == 503
            assert b"x-bd-error-code: 2003\r\n" in reply

    run(main())
