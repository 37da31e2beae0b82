"""TLS of listeners and channels: who gets through, and what is said to whom where nobody does."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sfs_core.config.certificates import TlsFiles, server_context
from sfs_core.errors import ConfigError, PeerError
from sfs_core.link.channel import PROTOCOLS, open_channel
from sfs_core.link.listener import Limits, Listener
from sfs_core.link.rpc import CallInfo
from sfs_core.link.tls import FollowedContext
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from tests.link.echo import SERVICE, answer, exchange, listening, read, request, routes
from tests.support.certificates import EXPIRED, Certificates, channel_tls, unchecked_client


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def port_context(files: TlsFiles, wanted: ssl.VerifyMode = ssl.CERT_REQUIRED) -> FollowedContext:
    return FollowedContext("the test port", files, partial(server_context, client_certificates=wanted))


@asynccontextmanager
async def secured(
    context: FollowedContext, limits: Limits | None = None, infos: list[CallInfo] | None = None
) -> AsyncIterator[Listener]:
    def echo(body: bytes, info: CallInfo) -> bytes:
        if infos is not None:
            infos.append(info)
        return answer(read(body, info), info)

    listener = Listener(routes(GetModelInfo=echo), limits=limits, name="test", tls=context)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener
    finally:
        await listener.stop(0.05)


async def ask(port: int, files: TlsFiles, protocol: str, party: str = "bob", server_name: str = "127.0.0.1") -> str:
    """The answer of a party to one call."""
    tls = channel_tls(files, party, server_name)
    channel = open_channel(party, f"127.0.0.1:{port}", protocol, connect_timeout=5, tls=tls)
    try:
        reply = await channel.call(SERVICE, "GetModelInfo", request("x"), GetModelInfoResponse, 5)
        return reply.model_info.name
    finally:
        await channel.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_handlers_know_whose_certificate_it_is(run, certificates: Certificates, protocol: str) -> None:
    infos: list[CallInfo] = []

    async def check() -> None:
        async with secured(port_context(certificates.files("bob")), infos=infos) as listener:
            assert await ask(listener.port, certificates.files("alice"), protocol) == "x"

    run(check())
    (info,) = infos
    assert info.names is not None
    assert {"DNS:alice", "URI:sfs://party/alice", "CN:alice"} <= info.names


def client_files(certificates: Certificates, which: str) -> TlsFiles:
    return {
        "no certificate": TlsFiles(ca_file=certificates.ca_file),
        "wrong CA": certificates.files("impostor", authority="other-ca", party="alice"),
        "expired": certificates.files("expired", age=EXPIRED, party="alice"),
    }[which]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("which", "logged"),
    [
        ("no certificate", "it shows no certificate"),
        ("wrong CA", "its certificate is refused: unable to get local issuer certificate"),
        ("expired", "its certificate is refused: certificate has expired"),
    ],
)
def test_clients_that_do_not_belong_are_refused(
    run, certificates: Certificates, caplog: pytest.LogCaptureFixture, protocol: str, which: str, logged: str
) -> None:
    async def check() -> None:
        async with secured(port_context(certificates.files("bob"))) as listener:
            with pytest.raises(PeerError, match="this party's certificate"):
                await ask(listener.port, client_files(certificates, which), protocol)

    run(check())
    lines = warnings(caplog)
    assert lines
    assert all("test port: no TLS connection with 127.0.0.1:" in line and logged in line for line in lines), lines


def server_files(certificates: Certificates, which: str) -> TlsFiles:
    return {
        "wrong CA": certificates.files("impostor-bob", authority="other-ca", party="bob"),
        "expired": certificates.files("expired-bob", age=EXPIRED, party="bob"),
        "another host": certificates.files("elsewhere", "bob", "bob.example"),
        "another party": certificates.files("carol"),
    }[which]


def unchecked_server(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate_file, files.key_file)
    return context


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("wrong CA", "'bob' is refused: certificate verify failed: unable to get local issuer certificate"),
        ("expired", "'bob' is refused: certificate verify failed: certificate has expired"),
        ("another host", "'bob' is refused: certificate verify failed: IP address mismatch"),
        ("another party", "'bob' is refused: its certificate is made out to CN:carol, DNS:carol"),
    ],
)
def test_servers_that_are_not_the_peer_are_refused(
    run, certificates: Certificates, protocol: str, which: str, told: str
) -> None:
    infos: list[CallInfo] = []

    async def check() -> None:
        context = FollowedContext("test", server_files(certificates, which), unchecked_server)
        async with secured(context, infos=infos) as listener:
            with pytest.raises(PeerError, match=told):
                await ask(listener.port, certificates.files("alice"), protocol)

    run(check())
    assert not infos


def test_a_server_name_stands_in_for_the_address(run, certificates: Certificates) -> None:
    async def check() -> None:
        context = FollowedContext("test", server_files(certificates, "another host"), unchecked_server)
        async with secured(context) as listener:
            assert await ask(listener.port, certificates.files("alice"), "baidu_std", server_name="bob.example") == "x"

    run(check())


@pytest.mark.parametrize(
    ("data", "logged"),
    [(b"GET /health HTTP/1.1\r\n\r\n", "it speaks plain HTTP"), (b"PRPC" + bytes(8), "what came is not TLS")],
)
def test_plain_bytes_on_a_tls_port(
    run, certificates: Certificates, caplog: pytest.LogCaptureFixture, data: bytes, logged: str
) -> None:
    async def check() -> None:
        async with secured(port_context(certificates.files("bob"))) as listener:
            assert b"HTTP" not in await exchange(listener.port, data, end=False)

    run(check())
    (line,) = warnings(caplog)
    assert logged in line


def test_tls_on_a_plain_port(run, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with listening() as listener:
            with pytest.raises(PeerError, match="closed the connection at once; does it serve TLS there"):
                await ask(listener.port, certificates.files("alice"), "baidu_std")

    run(check())
    lines = warnings(caplog)
    assert lines
    assert all("TLS is not spoken on this port" in line for line in lines)


def test_slow_handshakes_time_out(run, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with secured(port_context(certificates.files("bob")), Limits(header_timeout=0.1)) as listener:
            assert await exchange(listener.port, b"\x16\x03\x01\x02\x00\x01", end=False) == b""

    run(check())
    (line,) = warnings(caplog)
    assert "it took too long" in line


def test_connections_that_say_nothing_after_the_handshake_are_dropped(run, certificates: Certificates) -> None:
    async def check() -> None:
        async with secured(port_context(certificates.files("bob")), Limits(header_timeout=0.1)) as listener:
            context = unchecked_client(certificates.files("alice"))
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()

    run(check())


def test_handshakes_count_as_connections(run, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with secured(port_context(certificates.files("bob")), Limits(max_connections=1)) as listener:
            with socket.create_connection(("127.0.0.1", listener.port)):
                assert await exchange(listener.port, b"", end=False) == b""

    run(check())
    assert any("a connection is refused" in line for line in warnings(caplog))


def test_old_versions_of_tls_are_refused(run, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        context = unchecked_client(certificates.files("alice"))
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        async with secured(port_context(certificates.files("bob"))) as listener:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)

    run(check())
    (line,) = warnings(caplog)
    assert "older than version 1.2" in line


def test_new_certificates_serve_new_connections(
    run, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used = TlsFiles(tmp_path / "x.crt", tmp_path / "x.key", None, certificates.ca_file)

    def install(files: TlsFiles) -> None:
        for new, old in ((files.certificate_file, used.certificate_file), (files.key_file, used.key_file)):
            assert new is not None
            assert old is not None
            shutil.copy(new, old.with_suffix(".new"))
            old.with_suffix(".new").replace(old)

    async def check() -> None:
        install(certificates.files("bob"))
        context = port_context(used)
        async with secured(context) as listener:
            alice = certificates.files("alice")
            kept = open_channel("bob", f"127.0.0.1:{listener.port}", connect_timeout=5, tls=channel_tls(alice, "bob"))
            await kept.call(SERVICE, "GetModelInfo", request("x"), GetModelInfoResponse, 5)
            install(certificates.files("carol"))
            context.refresh()
            await kept.call(SERVICE, "GetModelInfo", request("x"), GetModelInfoResponse, 5)
            assert await ask(listener.port, alice, "http", "carol") == "x"
            assert used.key_file is not None
            used.key_file.write_text("broken")
            context.refresh()
            assert await ask(listener.port, alice, "http", "carol") == "x"
            context.refresh()  # the same broken file is told once
            await kept.close()

    run(check())
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "goes on with the certificates it has" in line
    assert str(used.key_file) in line


def test_encrypted_keys(run, certificates: Certificates) -> None:
    async def check() -> None:
        files = certificates.files("locked-bob", password="canary", party="bob")
        assert "canary" not in repr(files)
        async with secured(port_context(files)) as listener:
            assert await ask(listener.port, certificates.files("alice"), "baidu_std") == "x"
        for wrong, told in ((None, "is encrypted"), ("nope", "cannot be decrypted")):
            with pytest.raises(ConfigError, match=told):
                port_context(replace(files, key_password=wrong))

    run(check())


def test_tls_is_never_forgotten() -> None:
    with pytest.raises(ConfigError, match="begins with https://"):
        open_channel("bob", "https://bob:1")
