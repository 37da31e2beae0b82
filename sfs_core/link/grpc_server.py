"""A gRPC server that serves a listener's routes, with the standard health and reflection services.

It listens on a unix socket for connections that the listener splices to it, see `grpc_backend`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sfs_core.link.connection import Connection, ListenerState
from sfs_core.link.grpc_library import grpc
from sfs_core.link.rpc import CallInfo, Encoding, Handler, Limits, RpcCode

__all__ = ["GrpcServer"]

_STATUS_OF: Final = {
    RpcCode.NO_SERVICE: grpc.StatusCode.UNIMPLEMENTED,
    RpcCode.NO_METHOD: grpc.StatusCode.UNIMPLEMENTED,
    RpcCode.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    RpcCode.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    RpcCode.STOPPING: grpc.StatusCode.UNAVAILABLE,
    RpcCode.LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RpcCode.QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RpcCode.AUTHENTICATION: grpc.StatusCode.UNAUTHENTICATED,
    RpcCode.PERMISSION: grpc.StatusCode.PERMISSION_DENIED,
}
_FASTEST_PINGS: Final = 5.0
"""Seconds between a client's pings; who pings faster is sent away."""

_ELSEWHERE: Final = "calls are taken at the server's ports only"

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]


class GrpcServer:
    """Answers gRPC calls with the listener's handlers.

    Args:
        state: of the listener.
        target: what to listen on.
        connection_at: the listener's connection by the peer name that gRPC tells; None where there is none.
        serving: what the health service says at first.
    """

    def __init__(
        self, state: ListenerState, target: str, connection_at: Callable[[str], Connection | None], serving: bool
    ) -> None:
        self._state = state
        self._connection_at = connection_at
        self._serving = serving
        self._services: dict[str, dict[str, Any]] = defaultdict(dict)
        for (service, method), handler in state.routes.handlers.items():
            self._services[service][method] = grpc.unary_unary_rpc_method_handler(self._behaviour(handler))
        self._health = _Health()
        self._server = grpc.aio.server(options=_options(state.limits))
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, methods) for name, methods in self._services.items()]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        self._server.add_insecure_port(target)

    async def start(self) -> None:
        """Listen."""
        await self.set_serving(self._serving)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What the health service says from now on, of the server and of each service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, status)

    def end_watches(self) -> None:
        """End the calls that would go on for as long as the server does."""
        self._health.end_watches()

    async def stop(self, grace: float) -> None:
        """Wait at most `grace` seconds for calls under way; calls that arrive meanwhile are cancelled."""
        await self._server.stop(grace)

    def _behaviour(self, handler: Handler) -> Behaviour:
        async def answer(body: bytes, context: Any) -> bytes:
            connection = self._connection_at(context.peer())
            if connection is None:
                return await _refuse(context, grpc.StatusCode.PERMISSION_DENIED, _ELSEWHERE)
            metadata = context.invocation_metadata() or ()
            headers = {key: value for key, value in metadata if isinstance(value, str)}
            info = CallInfo(
                Encoding.PROTO, "grpc", connection.peer, headers, context.time_remaining(), connection.names
            )
            answer = await self._state.calls.answer(handler, body, info)
            if isinstance(answer, bytes):
                return answer
            status = _STATUS_OF.get(answer.code, grpc.StatusCode.INTERNAL)
            return await _refuse(context, status, answer.text, ("x-bd-error-code", str(answer.code.value)))

        return answer


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The health service, whose watches end when they are told to: clients stay connected as long as they go on."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = False
        self._watches: set[asyncio.Task[None]] = set()

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the service's name of it
        if not self._ended:
            watch = asyncio.create_task(super().Watch(request, context))
            self._watches.add(watch)
            try:
                await watch
            except asyncio.CancelledError:
                if not self._ended:
                    raise
            finally:
                self._watches.discard(watch)
        await _refuse(context, grpc.StatusCode.UNAVAILABLE, "the server ends")

    def end_watches(self) -> None:
        self._ended = True
        for watch in self._watches:
            watch.cancel()


async def _refuse(context: Any, status: grpc.StatusCode, text: str, *metadata: tuple[str, str]) -> NoReturn:
    """End a call with a status that is not OK."""
    await context.abort(status, text, metadata)
    raise AssertionError("abort() raises")


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.max_body),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.max_header),
        ("grpc.absolute_max_metadata_size", limits.max_header),
        ("grpc.max_concurrent_streams", limits.max_streams),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.header_timeout)),
        # A client that is silent is asked whether it still reads.
        ("grpc.keepalive_time_ms", _milliseconds(limits.idle_timeout)),
        ("grpc.keepalive_timeout_ms", _milliseconds(limits.header_timeout)),
        ("grpc.http2.ping_timeout_ms", _milliseconds(limits.header_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(_FASTEST_PINGS)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _milliseconds(_FASTEST_PINGS)),
    ]


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
