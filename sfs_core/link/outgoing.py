"""How a party calls another: one channel per peer, whatever the protocol."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import Message

from sfs_core.config.address import Address
from sfs_core.errors import PeerError, SfsError
from sfs_core.link.retry import FailureKind, RetryPolicy

__all__ = ["AnswerType", "Channel", "OutgoingCall", "TransportError"]

M = TypeVar("M", bound=Message)
T = TypeVar("T")
RETRIES_AT_ONCE: Final = 10.0
"""Retries that may be made beyond the policy's budget, or as many as it has for one call."""
_TICK: Final = 0.001
"""Seconds by which an event loop's timers may be early."""
_NO_HEADERS: Final[Mapping[str, str]] = {}


class TransportError(PeerError):
    """A call did not get an answer.

    Args:
        message: names the peer.
        kind: what that says about the call.
        detail: the address that was tried, for this party's own log.
    """

    def __init__(self, message: str, kind: FailureKind, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.kind = kind


class AnswerType(Protocol):
    """What answers are read as: a message class, or what knows a quicker way than one for some messages."""

    def FromString(self, data: bytes, /) -> Any:  # noqa: N802 - as message classes have it
        """What an answer in protobuf's binary form says; raises DecodeError."""

    def __call__(self) -> Message:
        """An empty message, for answers in JSON."""


class OutgoingCall(asyncio.Future[Any]):
    """One call on its way; the transport sends `request` and gives back the answer or a `TransportError`.

    It is the future that its caller waits for, and may cancel.
    """

    __slots__ = (
        "channel",
        "deadline",
        "failures",
        "headers",
        "key",
        "method",
        "read",
        "request",
        "response_type",
        "seconds",
        "service",
    )

    def __init__(
        self,
        channel: Channel,
        service: str,
        method: str,
        request: Message,
        response_type: AnswerType,
        read: Callable[[Any], Any] | None,
        headers: Mapping[str, str],
        loop: asyncio.AbstractEventLoop,
        seconds: float,
    ) -> None:
        super().__init__(loop=loop)
        self.channel = channel
        self.service = service
        self.method = method
        self.request = request
        self.response_type = response_type
        self.read = read
        self.headers = headers
        self.seconds = seconds
        self.deadline = loop.time() + max(seconds, 0)
        self.failures = 0
        self.key: Any = None
        """Whatever the transport finds the call by while it is under way."""

    def cancel(self, msg: Any = None) -> bool:
        """Nobody waits any longer: as of the base, and the channel lets go of the call."""
        if not super().cancel(msg):
            return False
        self.channel.left(self)
        return True


class Channel(ABC):
    """Calls to one peer. It connects when it has to, and again after a loss.

    Belongs to the event loop that first uses it. Subclasses are transports: they send, and report back with
    `_succeed` and `_fail`.

    Args:
        party: the peer's id, named in errors.
        retry: what to try again.
        address: where it is, told in this party's log; None of a peer at several.
    """

    def __init__(self, party: str, retry: RetryPolicy, address: Address | None = None) -> None:
        self.party = party
        self._at = f"at {address.authority}" if address else ""
        self._retry = retry
        self._most_retries_left = max(RETRIES_AT_ONCE, retry.retries)
        self._retries_left = self._most_retries_left
        self._closed = False
        self._unanswered: set[OutgoingCall] = set()
        self._expiry: asyncio.TimerHandle | None = None

    def call(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[M] | AnswerType,
        timeout: float,
        headers: Mapping[str, str] = _NO_HEADERS,
        read: Callable[[Any], T] | None = None,
    ) -> asyncio.Future[T]:
        """Start a call; it is under way when this returns.

        Args:
            service: fully qualified name.
            method: name.
            request: must not be changed until the call is over.
            response_type: message class of the answer, or what stands for it.
            timeout: seconds for everything: connecting, retries, the answer.
            headers: extra HTTP headers; `baidu_std` has no place for them. Those with characters that headers
                cannot have are left out.
            read: makes the future's result of the answer; without it, the answer is the result.

        Returns:
            A future. Cancelling it has the peer stop, if it can be told; other calls go on.
            Failures are `PeerError`s (code 4) that name the peer, and the errors of `read`.
        """
        loop = asyncio.get_running_loop()
        call = OutgoingCall(self, service, method, request, response_type, read, headers, loop, timeout)
        if self._closed:
            call.set_exception(TransportError(f"the channel to peer {self.party!r} is closed", FailureKind.FINAL))
            return call
        self._retries_left = min(self._retries_left + self._retry.budget, self._most_retries_left)
        self._unanswered.add(call)
        if self._expiry is None or call.deadline < self._expiry.when():
            self._expire_at(loop, call.deadline)
        self._send(call)
        return call

    async def close(self) -> None:
        """Fail what is under way, close connections; further calls fail."""
        self._closed = True
        await self._disconnect()
        if self._expiry is not None:
            self._expiry.cancel()

    def left(self, call: OutgoingCall) -> None:
        """The caller has cancelled the call; for `OutgoingCall`."""
        self._unanswered.discard(call)
        self._drop(call)

    # ----------------------------------------------------------- for transports
    @abstractmethod
    def _send(self, call: OutgoingCall) -> None:
        """Send, or queue until a connection is there."""

    @abstractmethod
    def _drop(self, call: OutgoingCall) -> None:
        """The call's time is up, or its caller has left: let go of it, and have the peer stop if it can be told."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close connections and fail their calls."""

    def _succeed(self, call: OutgoingCall, answer: Any) -> None:
        self._unanswered.discard(call)
        if call.done():
            return
        try:
            result = answer if call.read is None else call.read(answer)
        except SfsError as error:
            call.set_exception(error)
        else:
            call.set_result(result)

    def _fail(self, call: OutgoingCall, error: TransportError) -> None:
        """End the call with an error, unless it is to be tried again."""
        if call.done():
            self._unanswered.discard(call)
            return
        call.failures += 1
        wait = None if self._closed else self._retry.wait_before(call.failures, error.kind)
        if wait is None or self._retries_left < 1:
            self._unanswered.discard(call)
            call.set_exception(error)
            return
        self._retries_left -= 1
        loop = call.get_loop()
        # A wait that would outlive the call is skipped, as the reference does.
        loop.call_later(wait if loop.time() + wait < call.deadline else 0, self._send_again, call)

    def _send_again(self, call: OutgoingCall) -> None:
        if self._closed and not call.done():
            self._fail(call, TransportError(f"the channel to peer {self.party!r} is closed", FailureKind.FINAL))
        elif not call.done():
            self._send(call)

    def _expire_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """One timer is enough: most calls are over long before their time is, and those that follow have more."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = loop.call_at(when, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expiry = None
        now = loop.time() + _TICK
        for call in [call for call in self._unanswered if call.deadline <= now]:
            self._unanswered.discard(call)
            self._drop(call)
            if not call.done():
                text = f"peer {self.party!r} did not answer within {call.seconds:g} s"
                call.set_exception(TransportError(text, FailureKind.FINAL))
        if self._unanswered:
            self._expire_at(loop, min(call.deadline for call in self._unanswered))

    def _error(self, text: str, kind: FailureKind) -> TransportError:
        """`text` follows the peer's name."""
        return TransportError(f"peer {self.party!r} {text}", kind, self._at)
