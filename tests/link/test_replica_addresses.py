"""Replicas behind a name that is looked up again, and replicas over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sfs_core.config.certificates import server_context
from sfs_core.link import replicas
from sfs_core.link.channel import PROTOCOLS, Channel, open_replicas
from sfs_core.link.listener import Listener
from sfs_core.link.rpc import CallInfo
from sfs_core.link.tls import FollowedContext
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from tests.link.echo import SERVICE, answer, request, routes
from tests.support.certificates import Certificates, channel_tls
from tests.support.processes import free_ports


@asynccontextmanager
async def replica(host: str, port: int, tls: FollowedContext | None = None) -> AsyncIterator[Listener]:
    """One that answers with its own address."""

    def name(_body: bytes, info: CallInfo) -> bytes:
        return answer(f"{host}:{listener.port}", info)

    listener = Listener(routes(GetModelInfo=name), name="test", tls=tls)
    await listener.start(host, port)
    try:
        yield listener
    finally:
        await listener.stop(0.05)


async def ask(channel: Channel) -> str:
    reply = await channel.call(SERVICE, "GetModelInfo", request("x"), GetModelInfoResponse, 20)
    return reply.model_info.name


class Resolver:
    """Stands in for the system's; what it finds changes."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.asked = 0

    def __call__(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host == "bob.example"
        self.asked += 1
        if not self.found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.found]

    async def asked_again(self) -> None:
        """Until it was asked twice more, so that what it found before is known."""
        wanted = self.asked + 2
        while self.asked < wanted:  # noqa: ASYNC110 - it is asked in a thread
            await asyncio.sleep(0.01)


def test_a_name_is_looked_up_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    first, second = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
    resolver = Resolver()
    monkeypatch.setattr(replicas, "DNS_SECONDS", 0.01)

    async def check() -> None:
        async with replica("127.0.0.1", port), replica("127.0.0.2", port):
            monkeypatch.setattr(socket, "getaddrinfo", resolver)
            channel = open_replicas("bob", f"dns:bob.example:{port}", base_directory=tmp_path)
            try:
                early = asyncio.ensure_future(ask(channel))  # waits until there is an address
                await resolver.asked_again()
                assert not early.done()
                resolver.found = ["127.0.0.1"]
                assert await early == first
                resolver.found = ["127.0.0.2", "127.0.0.1"]
                await resolver.asked_again()
                assert {await ask(channel) for _ in range(100)} == {first, second}
                resolver.found = ["127.0.0.2"]
                await resolver.asked_again()
                assert {await ask(channel) for _ in range(20)} == {second}
                resolver.found = []  # a name server that is down changes nothing
                await resolver.asked_again()
                assert await ask(channel) == second
            finally:
                await channel.close()

    asyncio.run(check())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_replica_without_the_partys_certificate_gets_no_calls(run, tmp_path: Path, protocol: str) -> None:
    certificates = Certificates(tmp_path)
    make = partial(server_context, client_certificates=ssl.CERT_REQUIRED)

    def context(name: str) -> FollowedContext:
        return FollowedContext("the test port", certificates.files(name), make)

    async def check() -> None:
        async with (
            replica("127.0.0.1", 0, context("bob")) as bob,
            replica("127.0.0.1", 0, context("mallory")) as mallory,
        ):
            channel = open_replicas(
                "bob",
                [f"https://127.0.0.1:{each.port}" for each in (mallory, bob)],
                protocol,
                base_directory=tmp_path,
                connect_timeout=20,
                tls=lambda host: channel_tls(certificates.files("alice"), "bob", host),
            )
            try:
                assert {await ask(channel) for _ in range(20)} == {f"127.0.0.1:{bob.port}"}
            finally:
                await channel.close()

    run(check())
