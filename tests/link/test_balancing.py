"""Which of several channels a call takes: a replica that failed is tried by a single one, connections share them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sfs_core.errors import ConfigError
from sfs_core.link import balancing
from sfs_core.link.channel import open_replicas
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from tests.link.echo import SERVICE, Held, echo, listening, request
from tests.support.processes import free_ports


@pytest.mark.parametrize("protocol", ["baidu_std", "http"])
def test_a_replica_on_trial_has_one_call(run, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "FIRST_PAUSE", 0.02)
    held = Held()

    async def main() -> None:
        (down,) = free_ports(1)
        async with listening(Ask=echo) as listener:
            addresses = [f"127.0.0.1:{port}" for port in (listener.port, down)]
            channel = open_replicas("bob", addresses, protocol, base_directory=Path())

            def ask() -> asyncio.Future[object]:
                return channel.call(SERVICE, "Ask", request("x"), GetModelInfoResponse, 60.0)

            async with asyncio.timeout(60):
                while not channel._replicas or not channel._replicas[addresses[1], 0].paused_until:
                    await ask()  # each is answered by the other replica
                async with listening(port=down, Ask=held):
                    trials: list[asyncio.Future[object]] = []
                    while not held.names:
                        trials.append(ask())
                        await asyncio.wait(trials, timeout=0.01)
                    for _ in range(50):
                        await ask()
                    assert len(held.names) == 1
                    held.release(0)
                    await asyncio.gather(*trials)
                    assert not channel._replicas[addresses[1], 0].paused_until
            await channel.close()

    run(main())


@pytest.mark.parametrize("protocol", ["baidu_std", "h2:grpc"])
def test_several_connections_to_one_address_share_the_calls(run, protocol: str) -> None:
    held = Held()

    async def main() -> None:
        async with listening(Ask=held) as listener:
            address = f"127.0.0.1:{listener.port}"
            channel = open_replicas("bob", address, protocol, base_directory=Path(), connections=3)
            asked = [channel.call(SERVICE, "Ask", request(f"{i}"), GetModelInfoResponse, 60.0) for i in range(30)]
            await held.arrived(30)
            assert len({info.peer for info in held.infos}) == 3
            for i in range(30):
                held.release(i)
            assert [answer.model_info.name for answer in await asyncio.gather(*asked)] == [f"{i}" for i in range(30)]
            await channel.close()

    run(main())


def test_who_leaves_says_nothing_of_replicas(run) -> None:
    held = Held()

    async def main() -> None:
        async with listening(Ask=held) as listener:
            channel = open_replicas("bob", [f"127.0.0.1:{listener.port}"] * 2, base_directory=Path(), connections=2)
            for i in range(balancing.FAILURES * 3):
                asked = channel.call(SERVICE, "Ask", request("x"), GetModelInfoResponse, 60.0)
                await held.arrived(i + 1)
                asked.cancel()
                await asyncio.wait([held.futures[i]])
                assert held.futures[i].cancelled()
            assert not any(replica.failures for replica in channel._replicas.values())
            await channel.close()

    run(main())


def test_an_address_that_cannot_be_used_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="nothing is said of TLS"):
        open_replicas("bob", "https://bob:1", base_directory=Path(), connections=2)
