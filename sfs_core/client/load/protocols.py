"""Load over HTTP/1.1, `baidu_std` and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import httptools

from sfs_core.client.load.transport import Call, Connection, Pool, Transport
from sfs_core.client.target import Target
from sfs_core.client.tls import Tls, channel_tls
from sfs_core.config.address import parse_address
from sfs_core.errors import RequestError
from sfs_core.link.framing import FrameCutter, FrameError, message_of, read_meta, request_frame
from sfs_core.link.tls import ChannelTls

if TYPE_CHECKING:
    from sfs_core.link.grpc_entrance import GrpcEntrance

__all__ = ["open_transport"]

_MAX_ANSWER: Final = 64 << 20
_MAX_META: Final = 64 << 10
_CONNECT_SECONDS: Final = 5.0
_NOBODY: Final = "peer '' "
"""How errors of connections begin that are to nobody by name."""
_CONTENT_TYPES: Final = {"http": "application/json", "http:proto": "application/proto"}


def open_transport(
    target: Target,
    service: str,
    method: str,
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    tls: Tls | None = None,
) -> Transport:
    """The way to a method of a server; connects when it is first used.

    Args:
        target: the server.
        service: fully qualified name.
        method: its name.
        connections: most connections of HTTP, which carries one call at a time on each; the others use one.
        seconds: how long a call may take, for protocols that tell the server.
        headers: HTTP headers or gRPC metadata, none for `baidu_std`; see `sfs_core.client.credentials.sent_headers`.
        tls: as of `AsyncClient`.

    Raises:
        ConfigError: a certificate or key cannot be used.
    """
    headers = headers or {}
    over_tls = channel_tls(target, tls)
    if target.protocol == "baidu_std":
        return Pool(
            target.host,
            target.port,
            lambda pool: _BaiduStd(pool, service, method, int(seconds * 1000)),
            connections=1,
            tls=over_tls,
        )
    if target.protocol == "h2:grpc":
        return _Grpc(target, service, method, seconds, headers, over_tls)
    lines = [
        f"POST /{service}/{method} HTTP/1.1",
        f"Host: {target.address}",
        f"Content-Type: {_CONTENT_TYPES[target.protocol]}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
    return Pool(target.host, target.port, lambda pool: _Http(pool, head), connections=connections, tls=over_tls)


class _Http(Connection):
    exclusive = True

    def __init__(self, pool: Pool, head: bytes) -> None:
        super().__init__(pool)
        self._head = head
        self._call: Call | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def calls(self) -> list[Call]:
        return [self._call] if self._call is not None else []

    def send(self, call: Call, message: bytes) -> None:
        assert self.transport is not None
        self._call = call
        self.transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(message), message))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("no HTTP")
            self.abort()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        if not self._parser.should_keep_alive():
            self.abort()
        self._end("" if status == 200 else f"HTTP {status}")

    def _end(self, problem: str) -> None:
        body, self._body = b"".join(self._body), []
        call, self._call = self._call, None
        if self.is_open:
            self.pool.freed(self)
        if call is not None and not call.over:
            self.pool.finished(call, body, problem)


class _BaiduStd(Connection):
    exclusive = False

    def __init__(self, pool: Pool, service: str, method: str, timeout_ms: int) -> None:
        super().__init__(pool)
        self._service, self._method, self._timeout_ms = service, method, timeout_ms
        self._cutter = FrameCutter(_MAX_ANSWER, _MAX_META)
        self._under_way: dict[int, Call] = {}
        self._last_id = 0

    def calls(self) -> list[Call]:
        return list(self._under_way.values())

    def send(self, call: Call, message: bytes) -> None:
        assert self.transport is not None
        self._last_id += 1
        self._under_way[self._last_id] = call
        self.transport.write(request_frame(self._service, self._method, self._last_id, self._timeout_ms, message))

    def data_received(self, data: bytes) -> None:
        try:
            for meta_bytes, payload in self._cutter.feed(data):
                self._answered(meta_bytes, payload)
        except (FrameError, RequestError):
            self.abort()

    def _answered(self, meta_bytes: bytes, payload: bytes) -> None:
        meta = read_meta(meta_bytes)
        call = self._under_way.pop(meta.correlation_id, None)
        if call is None or call.over:
            return
        code = meta.response.error_code
        body = b"" if code else message_of(meta, payload, _MAX_ANSWER)
        self.pool.finished(call, body, f"brpc {code}" if code else "")


class _Grpc(Transport):
    """Calls over one HTTP/2 connection."""

    def __init__(
        self,
        target: Target,
        service: str,
        method: str,
        seconds: float,
        headers: Mapping[str, str],
        tls: ChannelTls | None,
    ) -> None:
        import grpc.aio  # noqa: PLC0415 - slow to import

        options: list[tuple[str, Any]] = [("grpc.max_receive_message_length", _MAX_ANSWER)]
        address = target.address
        self._entrance: GrpcEntrance | None = None
        if tls is not None:
            from sfs_core.link.grpc_entrance import GrpcEntrance  # noqa: PLC0415 - likewise

            self._entrance = GrpcEntrance("", parse_address("", address), _CONNECT_SECONDS, tls)
            options.append(("grpc.default_authority", address))
            address = self._entrance.target
        self._channel: Any = grpc.aio.insecure_channel(address, options)
        self._method: Any = self._channel.unary_unary(f"/{service}/{method}")
        self._error = grpc.aio.AioRpcError
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, call: Call, message: bytes) -> None:
        task = asyncio.ensure_future(self._call(call, message))
        call.key = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, call: Call, message: bytes) -> None:
        try:
            body = await self._method(message, timeout=self._seconds, metadata=self._metadata)
        except self._error as error:
            failure = self._entrance.failure if self._entrance is not None else None
            problem = f": {failure.message.removeprefix(_NOBODY)}" if failure is not None else ""
            self._end(call, b"", f"gRPC {error.code().name}{problem}")
        else:
            self._end(call, body, "")

    def _end(self, call: Call, body: bytes, problem: str) -> None:
        if not call.over:
            self.finished(call, body, problem)

    def drop(self, call: Call) -> None:
        if isinstance(call.key, asyncio.Task):
            call.key.cancel()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._channel.close()
        if self._entrance is not None:
            await self._entrance.closed()
