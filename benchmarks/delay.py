"""A proxy that delivers everything late: python benchmarks/delay.py PORT TARGET_PORT MILLISECONDS (each way)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import cast


class Delayed(asyncio.Protocol):
    """One end; what it receives is written to the other a while later, in order."""

    def __init__(self, seconds: float, made: Callable[[Delayed], None] = lambda _: None) -> None:
        self._seconds = seconds
        self._made = made
        self.other: asyncio.Future[Delayed] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self._deliver, lambda end: end.transport.write(data))

    def connection_lost(self, error: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self._deliver, lambda end: end.transport.close())

    def _deliver(self, act: Callable[[Delayed], None]) -> None:
        self.other.add_done_callback(lambda other: act(other.result()))


async def main(port: int, target: int, seconds: float) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    connecting = set()

    async def connect(near: Delayed) -> None:
        try:
            _, far = await loop.create_connection(lambda: Delayed(seconds), "127.0.0.1", target)
        except OSError:
            near.transport.close()
            return
        far.other.set_result(near)
        near.other.set_result(far)

    def accept(near: Delayed) -> None:
        task = loop.create_task(connect(near))
        connecting.add(task)
        task.add_done_callback(connecting.discard)

    server = await loop.create_server(lambda: Delayed(seconds, accept), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
