"""The calling side of gRPC."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from sfs_core.config.address import Address
from sfs_core.link.grpc_entrance import GrpcEntrance
from sfs_core.link.grpc_library import grpc
from sfs_core.link.outgoing import Channel, OutgoingCall, TransportError
from sfs_core.link.retry import FailureKind, RetryPolicy
from sfs_core.link.rpc import RpcCode
from sfs_core.link.text import short_text
from sfs_core.link.tls import ChannelTls, loss_text

__all__ = ["GrpcChannel"]

_MAX_ANSWER: Final = 64 << 20
_CLOSE_SECONDS: Final = 1.0
_NOT_RUN_CODES: Final = (str(RpcCode.STOPPING.value), str(RpcCode.LIMIT.value))
_NO_CONNECTION: Final = "failed to connect to all addresses"
"""How gRPC's text begins where it found no connection for a call."""
_METADATA_NAME: Final = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_METADATA_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class GrpcChannel(Channel):
    """Calls over HTTP/2, many on one connection at a time.

    Args:
        party: the peer's id.
        address: where it listens.
        connect_timeout: seconds.
        retry: what to try again.
        tls: how the peer is spoken to over TLS; None for plain connections.
    """

    def __init__(
        self,
        party: str,
        address: Address,
        connect_timeout: float,
        retry: RetryPolicy,
        tls: ChannelTls | None = None,
    ) -> None:
        super().__init__(party, retry, address)
        self._tls = tls
        self._used = False
        self._address = address
        self._connect_timeout = connect_timeout
        self._entrance: GrpcEntrance | None = None
        self._grpc: Any = None
        self._calls: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def _send(self, call: OutgoingCall) -> None:
        task = asyncio.ensure_future(self._call(call))
        call.key = task
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _open(self) -> None:
        if self._entrance is None:
            self._entrance = GrpcEntrance(self.party, self._address, self._connect_timeout, self._tls)
        options = [
            ("grpc.default_authority", self._address.authority),
            ("grpc.max_receive_message_length", _MAX_ANSWER),
            ("grpc.max_send_message_length", -1),
            # The entrance gives up in time; this is longer.
            ("grpc.min_reconnect_backoff_ms", int(self._connect_timeout * 1000) + 1000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._grpc = grpc.aio.insecure_channel(self._entrance.target, options)

    async def _call(self, call: OutgoingCall) -> None:
        if self._closed:
            self._fail(call, self._error("was not reached before its channel was closed", FailureKind.FINAL))
            return
        if self._grpc is None:
            self._open()
        left = max(call.deadline - asyncio.get_running_loop().time(), 0.001)
        channel = self._grpc
        method = channel.unary_unary(f"/{call.service}/{call.method}")
        body = call.request.SerializeToString()
        try:
            answer = await method(body, timeout=left, metadata=_metadata(call.headers))
        except grpc.aio.AioRpcError as error:
            if _found_no_connection(error):
                self._retire(channel)
            self._fail(call, self._failure(error))
            return
        try:
            message = call.response_type.FromString(answer)
        except DecodeError:
            self._fail(call, self._error("sent an answer that cannot be read", FailureKind.OTHER))
            return
        self._used = True
        self._succeed(call, message)

    @property
    def _unused_tls(self) -> bool:
        return self._tls is not None and not self._used

    def _failure(self, error: Any) -> TransportError:
        status = error.code()
        if _found_no_connection(error):
            assert self._entrance is not None
            text = loss_text(None, unused_tls=True) if self._unused_tls else "does not speak gRPC"
            return self._entrance.failure or self._error(text, FailureKind.NOT_RUN)
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._error("did not answer in time", FailureKind.FINAL)
        code = dict(error.trailing_metadata() or ()).get("x-bd-error-code")
        if code is not None:  # a server of this software, whose texts are safe
            kind = FailureKind.NOT_RUN if code in _NOT_RUN_CODES else FailureKind.OTHER
            text = f"{status.name}: {short_text(error.details() or '')}"
        elif status is grpc.StatusCode.UNAVAILABLE:
            text = loss_text(None, unused_tls=self._unused_tls)
            return self._error(text, FailureKind.OTHER)
        else:
            kind = FailureKind.UNAVAILABLE if status is grpc.StatusCode.RESOURCE_EXHAUSTED else FailureKind.OTHER
            text = status.name
        return self._error(f"refused the call with gRPC status {text}", kind)

    def _retire(self, channel: Any) -> None:
        """gRPC would wait before it connects again, and fail calls meanwhile; the retry policy knows when to try."""
        if self._grpc is channel and not self._closed:
            self._grpc = None
            closing = asyncio.ensure_future(channel.close(_CLOSE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _drop(self, call: OutgoingCall) -> None:
        if call.key is not None:
            call.key.cancel()

    async def _disconnect(self) -> None:
        if self._entrance is not None:
            self._entrance.close()
        if self._calls or self._closing:
            await asyncio.wait(self._calls | self._closing)
        if self._grpc is not None:
            await self._grpc.close()
        if self._entrance is not None:
            await self._entrance.closed()


def _found_no_connection(error: Any) -> bool:
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(_NO_CONNECTION)


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Entries of callers may be anything; gRPC takes lower-case names and ASCII."""
    lower = ((name.lower(), value) for name, value in headers.items())
    return tuple(
        (name, value) for name, value in lower if _METADATA_NAME.fullmatch(name) and _METADATA_VALUE.fullmatch(value)
    )
