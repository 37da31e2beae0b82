"""A second yardstick: a bare server that sends every `baidu_std` frame back as it came."""

from __future__ import annotations

import asyncio
import struct
import sys

import uvloop

_HEADER = struct.Struct(">4sII")


class Echo(asyncio.Protocol):
    """Cuts frames, and writes those of one read at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        end = 0
        while len(data) - end >= _HEADER.size:
            size = _HEADER.size + _HEADER.unpack_from(data, end)[1]
            if len(data) - end < size:
                break
            end += size
        if end:
            self._transport.write(data[:end])  # type: ignore[attr-defined]
        self._rest = data[end:]


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
