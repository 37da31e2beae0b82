"""A small service for tests of the transports: GetModelInfo, whose answer repeats the service id of the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from sfs_core.codec.dialect import from_json, to_json
from sfs_core.link.listener import Limits, Listener
from sfs_core.link.rpc import CallInfo, Encoding, Handler, Routes
from sfs_core.proto.apis_pb2 import GetModelInfoRequest, GetModelInfoResponse

SERVICE = "secretflow.serving.apis.ModelService"


def request(name: str) -> GetModelInfoRequest:
    message = GetModelInfoRequest()
    message.service_spec.id = name
    return message


def read(body: bytes, info: CallInfo) -> str:
    message = GetModelInfoRequest()
    if info.encoding is Encoding.JSON:
        from_json(body, message)
    else:
        message.ParseFromString(body)
    return message.service_spec.id


def answer(name: str, info: CallInfo) -> bytes:
    message = GetModelInfoResponse()
    message.status.code = 1
    message.model_info.name = name
    return to_json(message) if info.encoding is Encoding.JSON else message.SerializeToString()


def echo(body: bytes, info: CallInfo) -> bytes:
    return answer(read(body, info), info)


class Held:
    """A handler whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.infos: list[CallInfo] = []
        self.futures: list[asyncio.Future[bytes]] = []
        self._arrived = asyncio.Event()

    def __call__(self, body: bytes, info: CallInfo) -> Awaitable[bytes]:
        self.names.append(read(body, info))
        self.infos.append(info)
        self.futures.append(asyncio.get_running_loop().create_future())
        self._arrived.set()
        return self.futures[-1]

    async def arrived(self, count: int) -> None:
        while len(self.names) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def release(self, index: int) -> None:
        self.futures[index].set_result(answer(self.names[index], self.infos[index]))


def routes(**handlers: Handler) -> Routes:
    """Handlers by method name; `GetModelInfo` echoes unless given."""
    pages = {"/health": lambda: (200, "text/plain", b"OK"), "/broken": _broken_page}
    methods = {"GetModelInfo": echo, **handlers}
    return Routes({(SERVICE, method): handler for method, handler in methods.items()}, pages)


def _broken_page() -> tuple[int, str, bytes]:
    raise RuntimeError("secret-detail")


@asynccontextmanager
async def listening(limits: Limits | None = None, port: int = 0, **handlers: Handler) -> AsyncIterator[Listener]:
    listener = Listener(routes(**handlers), limits=limits, name="test")
    await listener.start("127.0.0.1", port)
    try:
        yield listener
    finally:
        await listener.stop(0.05)


async def exchange(port: int, data: bytes, *, end: bool = True) -> bytes:
    """Everything a server says to `data`, until it closes, as it must."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
