"""Coroutines of the engine run without tasks: to make, register and wake one costs more than a round computes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

__all__ = ["TasklessRun", "in_time"]

T = TypeVar("T")


class TasklessRun:
    """A run of a coroutine: until it first waits at once, on from there by callbacks of the futures that it waits for.

    It must await futures only, and coroutines of the same kind: there is no current task, which timeouts and many
    libraries need. `asyncio.ensure_future` makes a future of anything else. An exception goes to the caller, or to
    the event loop's exception handler once the coroutine has waited.
    """

    __slots__ = ("_awaited", "_cancelled", "_coroutine", "_throw")

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._awaited: asyncio.Future[Any] | None = None
        self._cancelled = False
        self._throw = False
        self._step()

    def _step(self, _: object = None) -> None:
        try:
            awaited = self._coroutine.throw(self._cancellation()) if self._throw else self._coroutine.send(None)
        except StopIteration:
            return
        except asyncio.CancelledError:
            if self._cancelled:
                return
            raise
        self._awaited = awaited
        if awaited is None:  # a bare yield: let others run
            asyncio.get_running_loop().call_soon(self._step)
            return
        awaited._asyncio_future_blocking = False  # what a task does to say that it has seen the future
        awaited.add_done_callback(self._step)

    def cancel(self) -> None:
        """Have CancelledError raised where it waits, whose future is cancelled; for when it waits, or is over."""
        self._cancelled = True
        self._throw = self._awaited is None or not self._awaited.cancel()

    def _cancellation(self) -> asyncio.CancelledError:
        self._throw = False
        return asyncio.CancelledError()


async def in_time(pending: Awaitable[T], deadline: float, error: Exception) -> T:
    """What `pending` gives; needs a task.

    Args:
        pending: is cancelled when the time is up.
        deadline: loop time.
        error: raised then.
    """
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return await pending
    except TimeoutError:
        if not limit.expired():
            raise
        raise error from None
