"""Answers that come later, without an event loop's help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Later"]

A = TypeVar("A")


class Later(Generic[A]):
    """What a handler may give back instead of its answer: it gives the answer itself when it has it.

    A future does the same, but tells of its result in a later turn of the event loop, which costs more than all that a
    request computes. Who waits for this one is told at once.

    Attributes:
        outcome: the answer, or why there is none (`CancelledError` where nobody waits for it any more); None before.
    """

    __slots__ = ("_tell", "outcome")

    def __init__(self) -> None:
        self.outcome: A | BaseException | None = None
        self._tell: Callable[[A | BaseException], None] | None = None

    @classmethod
    def of(cls, awaitable: Awaitable[A]) -> Later[A]:
        """What a coroutine or a future is going to give."""
        return _OfFuture(asyncio.ensure_future(awaitable))

    def over(self) -> bool:
        """Whether there is an outcome, so that nobody waits any longer."""
        return self.outcome is not None

    def give(self, outcome: A | BaseException) -> None:
        """This is the outcome; the first one counts."""
        if self.outcome is None:
            self.outcome = outcome
            tell, self._tell = self._tell, None  # which may refer to this
            if tell is not None:
                tell(outcome)

    def cancel(self) -> None:
        """Nobody waits any longer."""
        self.give(asyncio.CancelledError())

    def tell(self, tell: Callable[[A | BaseException], None]) -> None:
        """Have the outcome told, once; to be called once, before there is one."""
        self._tell = tell

    async def wait(self) -> A:
        """The answer, for coroutines; cancels it when it is cancelled itself.

        Raises:
            BaseException: why there is none.
        """
        if self.outcome is None:
            told = asyncio.Event()
            self.tell(lambda _: told.set())
            try:
                await told.wait()
            except asyncio.CancelledError:
                self.cancel()
                raise
        assert self.outcome is not None
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class _OfFuture(Later[A]):
    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[A]) -> None:
        super().__init__()
        self._future = future
        future.add_done_callback(self._done)

    def _done(self, future: asyncio.Future[A]) -> None:
        if future.cancelled():
            super().cancel()
        else:
            self.give(future.exception() or future.result())

    def cancel(self) -> None:
        # Not at once: a coroutine that never began would leave those that it was given unawaited.
        self._future.get_loop().call_soon(self._future.cancel)
