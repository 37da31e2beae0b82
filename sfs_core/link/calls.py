"""Calls under way at a listener: they are started, counted, finished, and their failures made fit to be sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from sfs_core.codec.dialect import BodyError
from sfs_core.errors import BusyError, SfsError
from sfs_core.link.admission import Admission
from sfs_core.link.later import Later
from sfs_core.link.refusal import RefusalError
from sfs_core.link.rpc import CallInfo, Handler, RpcCode, WebAnswer

__all__ = ["LIMIT", "STOPPING", "Calls", "Failure", "failure_of"]

_log = logging.getLogger("sfs.link")


@dataclass(frozen=True, slots=True)
class Failure:
    """What the caller gets instead of an answer; `text` is safe for other parties.

    `retry_after`: seconds after which it may be asked again, where that makes sense.
    """

    code: RpcCode
    text: str
    retry_after: float | None = None


STOPPING: Final = Failure(RpcCode.STOPPING, "the server is stopping", 1.0)
LIMIT: Final = Failure(RpcCode.LIMIT, "too many calls are under way", 1.0)
_INTERNAL: Final = Failure(RpcCode.INTERNAL, "the server failed to answer; its log says more")

A = TypeVar("A", bound=bytes | WebAnswer)
"""What a handler answers."""


class Calls:
    """Starts handlers and waits for those that answer later.

    Args:
        limit: how many may be under way, None for any number.
        max_bytes: how many bytes their bodies may have together, those being received included.
        target: seconds that calls may take before fewer are let in, None for any time.

    Attributes:
        refused: how many were refused so far, by reason: `concurrency`, `latency`, `bytes`, `waiting_rows`, `stopping`,
            and those of `RefusalError`.
    """

    def __init__(self, limit: int | None, max_bytes: float = math.inf, target: float | None = None) -> None:
        self.refused: Counter[str] = Counter()
        self._limit = math.inf if limit is None else limit
        self._adapts = target is not None
        self._admission = Admission(self._limit, target, time.perf_counter())
        self._max_bytes = max_bytes
        self._bytes = 0
        self._running: set[Later[Any]] = set()
        self._all_done: asyncio.Event | None = None
        self.stopping = False

    def start(
        self,
        handler: Callable[[bytes, CallInfo], A | Later[A] | Awaitable[A]],
        body: bytes,
        info: CallInfo,
        done: Callable[[A | Failure], None],
    ) -> A | Failure | Later[A]:
        """The answer, if there is one at once; else the work for it, to be cancelled when nobody waits any longer, and
        `done` gets the answer later."""
        begun = self._begin(handler, body, info)
        if isinstance(begun, Later):
            begun.tell(partial(self._finish, begun, done, len(body), time.perf_counter()))
        return begun

    @property
    def under_way(self) -> int:
        """How many calls are being answered now."""
        return len(self._running)

    @property
    def full(self) -> bool:
        """Whether so many calls are under way that no further one is begun."""
        return len(self._running) >= self._admission.limit

    async def answer(self, handler: Handler, body: bytes, info: CallInfo) -> bytes | Failure:
        """The answer, for transports whose calls are coroutines; when this is cancelled, the handler's work is, too."""
        begun = self._begin(handler, body, info)
        if not isinstance(begun, Later):
            return begun
        outcome: Later[bytes | Failure] = Later()
        begun.tell(partial(self._finish, begun, outcome.give, len(body), time.perf_counter()))
        try:
            return await outcome.wait()
        except asyncio.CancelledError:
            begun.cancel()
            raise

    def _begin(
        self, handler: Callable[[bytes, CallInfo], A | Later[A] | Awaitable[A]], body: bytes, info: CallInfo
    ) -> A | Failure | Later[A]:
        refusal = self.refusal(len(body))
        if refusal is not None:
            return refusal
        try:
            answer = handler(body, info)
            if isinstance(answer, (bytes, WebAnswer)):
                return answer
            later: Later[A] = answer if isinstance(answer, Later) else Later.of(answer)
        except Exception as error:  # noqa: BLE001  a handler's failure must not end the connection
            return self._failed(error)
        if later.outcome is not None:
            return self._answer_of(later.outcome)
        self._running.add(later)
        self._bytes += len(body)
        return later

    def refusal(self, size: int) -> Failure | None:
        """Why a call with a body of so many bytes is not begun now, which is counted; None where it may be."""
        if self.stopping:
            self.refused["stopping"] += 1
            return STOPPING
        if self.full:
            self._admission.refused += 1
            self.refused["concurrency" if len(self._running) >= self._limit else "latency"] += 1
            return LIMIT
        if self._bytes + size > self._max_bytes:
            self.refused["bytes"] += 1
            return LIMIT
        return None

    def receive(self, size: int) -> bool:
        """Count bytes of a body that is being received, in or (negative) out; False where they are too many."""
        self._bytes += size
        if size <= 0 or self._bytes <= self._max_bytes:
            return True
        self.refused["bytes"] += 1
        return False

    def _finish(
        self, later: Later[A], done: Callable[[A | Failure], None], size: int, begin: float, outcome: A | BaseException
    ) -> None:
        if self._adapts and not isinstance(outcome, asyncio.CancelledError):
            now = time.perf_counter()
            self._admission.over(now - begin, len(self._running), now)
        self._running.discard(later)
        self._bytes -= size
        if self._all_done is not None and not self._running:
            self._all_done.set()
        done(self._answer_of(outcome))

    def _answer_of(self, outcome: A | BaseException) -> A | Failure:
        if not isinstance(outcome, BaseException):
            return outcome
        if isinstance(outcome, asyncio.CancelledError):
            return STOPPING if self.stopping else _INTERNAL
        return self._failed(outcome)

    def _failed(self, error: BaseException) -> Failure:
        if isinstance(error, RefusalError):
            self.refused[error.reason] += 1
        elif isinstance(error, BusyError):
            self.refused["waiting_rows"] += 1
        return failure_of(error)

    async def drain(self, grace: float) -> None:
        """Refuse new calls; wait for running ones, and cancel those that take longer than `grace` seconds."""
        self.stopping = True
        if not self._running:
            return
        self._all_done = asyncio.Event()
        try:
            async with asyncio.timeout(grace):
                await self._all_done.wait()
        except TimeoutError:
            _log.warning("%d calls were cut off: they took longer than %g s to finish", len(self._running), grace)
            for later in set(self._running):
                later.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._all_done.wait()


def failure_of(error: BaseException) -> Failure:
    """What the caller is told of an exception; the rest goes to the log."""
    if isinstance(error, RefusalError):
        return Failure(error.code, error.text, error.retry_after)
    if isinstance(error, BusyError):
        return LIMIT
    if isinstance(error, BodyError):
        return Failure(RpcCode.BAD_REQUEST, error.public_text())
    # An unknown exception's text may quote what was being worked on: its kind and place must do.
    what: Any = error.public_text() if isinstance(error, SfsError) else type(error).__name__
    place = traceback.extract_tb(error.__traceback__)[-1:]
    _log.error("a handler failed: %s, at %s", what, ", ".join(f"{p.filename}:{p.lineno}" for p in place))
    return _INTERNAL
