"""A replica that failed is tried by a single call before it is given others again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

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
                while not channel._replicas or not channel._replicas[addresses[1]].paused_until:
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
                    assert not channel._replicas[addresses[1]].paused_until
            await channel.close()

    run(main())
