"""A worker as its supervisor sees it: a process that is started, asked, told, and gone at some time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from sfs_core.errors import SfsError
from sfs_core.observe.exposition import ended, merged
from sfs_core.observe.metrics import Samples
from sfs_core.observe.worker import VARIABLE
from sfs_core.server.control import (
    Answer,
    Ask,
    AskSamples,
    Control,
    FellBack,
    LastSamples,
    Message,
    Others,
    Start,
    Started,
    State,
)
from sfs_core.server.orders import Order, Outcome, ProcessGoneError

__all__ = ["WorkerProcess"]

SILENT_SECONDS: Final = 5.0
"""How long a worker may take for an answer before it counts as not ready."""
HUNG_SECONDS: Final = 30.0
"""How long it may take before it is taken for one that hangs."""
SAMPLES_SECONDS: Final = 2.0
"""How long a worker may take to tell what it counted."""


class WorkerProcess:
    """One worker; after its end, the next one with its number.

    Args:
        number: from 1.
        changed: called when something else is to be said of it.
        fell_back: as of `ModelVersions`.

    Attributes:
        restarts: how often it was started again.
        was_stale: whether it was ended because something else was to be served by then.
        served: whether it began to serve.
        error: what kept it from serving when it was started last.
        page: what it says of itself at `/ready`.
    """

    def __init__(self, number: int, changed: Callable[[], None], fell_back: Callable[[str, str], None]) -> None:
        self.number = number
        self.restarts = 0
        self.was_stale = self.served = False
        self.error: SfsError | None = None
        self.page: Mapping[str, Any] = {}
        self._changed, self._fell_back = changed, fell_back
        self._process: asyncio.subprocess.Process | None = None
        self._control: Control | None = None
        self._up = asyncio.Event()
        self._ready = self._silent = False
        self._is_stale: Callable[[], bool] = lambda: False
        self._keys = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._samples: list[Samples] = []
        self._before: list[Samples] = []

    # --------------------------------------------------------------------------------------------- life and death
    async def run(self, start: Start, is_stale: Callable[[], bool]) -> int:
        """Start the process and be there for it until it ends.

        Args:
            start: what to serve.
            is_stale: whether something else is to be served by now; it is then ended as soon as it serves.

        Returns:
            Its exit code; that of a signal as a negative number.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *sys.orig_argv[1:],
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the supervisor, which has the workers finish
                env={**os.environ, VARIABLE: f"{self.number}:{theirs.fileno()}"},
            )
        self.error, self._is_stale = None, is_stale
        self.was_stale = self.served = False
        self._control = await Control.over(ours)
        try:
            self._control.send(start)
            while (message := await self._control.receive()) is not None:
                self._received(message)
            await self._control.close()  # without it the worker ends
            return await self._process.wait()
        finally:
            await self._gone()

    async def _gone(self) -> None:
        self._up.clear()
        self._ready = self._silent = False
        self.page = {}
        self._before, self._samples = merged([self._before, ended(self._samples)]), []
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(ProcessGoneError())
        assert self._control is not None
        await self._control.close()
        self._changed()

    def _received(self, message: Message) -> None:
        if isinstance(message, Answer):
            answer = self._answers.pop(message.key, None)
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif isinstance(message, Started):
            if message.error is not None:
                self.error = message.error.error()
            elif self._is_stale():
                self.was_stale = True
                self.signal(signal.SIGTERM)
            else:
                self.served = True
                self._up.set()
            self._changed()
        elif isinstance(message, State):
            self._ready, self.page = message.ready, orjson.loads(message.page)
            self._changed()
        elif isinstance(message, FellBack):
            self._fell_back(message.service, message.id)
        elif isinstance(message, LastSamples):
            self._samples = message.samples

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it is there."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether there is a process, which may not serve yet."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the process, or of the one before; 0 where there was none yet."""
        return self._process.pid if self._process is not None else 0

    # ------------------------------------------------------------------------------------------- questions, orders
    @property
    def is_up(self) -> bool:
        """As of `Managed`."""
        return self._up.is_set()

    @property
    def is_ready(self) -> bool:
        """Whether it answers predictions."""
        return self._up.is_set() and self._ready and not self._silent

    async def wait_up(self) -> None:
        """As of `Managed`."""
        await self._up.wait()

    async def answers(self) -> bool:
        """Whether it still does what it is told; it is not ready as soon as that takes long."""
        asking = asyncio.ensure_future(self.carry_out(Order("status")))
        try:
            done, _ = await asyncio.wait([asking], timeout=SILENT_SECONDS)
            if not done:
                self._silent = True
                self._changed()
                done, _ = await asyncio.wait([asking], timeout=HUNG_SECONDS - SILENT_SECONDS)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if self._silent and done:
            self._silent = False
            self._changed()
        return bool(done)

    async def carry_out(self, order: Order) -> Outcome:
        """As of `Managed`."""
        answer = await self._ask(lambda key: Ask(key, order))
        if answer.error is not None:
            raise answer.error.error()
        return answer.outcome

    async def _ask(self, question: Callable[[int], Ask | AskSamples]) -> Answer:
        if not self._up.is_set() or self._control is None:
            raise ProcessGoneError
        key = next(self._keys)
        self._answers[key] = answer = asyncio.get_running_loop().create_future()
        self._control.send(question(key))
        try:
            told: Answer = await answer
            return told
        finally:
            self._answers.pop(key, None)

    def tell_others(self, not_ready: Sequence[int]) -> None:
        """Tell it which workers do not answer predictions."""
        if self._control is not None:
            self._control.send(Others(list(not_ready)))

    async def samples(self) -> list[Samples]:
        """What it and those before it counted; of one that does not answer, what it told last."""
        with contextlib.suppress(ProcessGoneError, TimeoutError):
            async with asyncio.timeout(SAMPLES_SECONDS):
                self._samples = (await self._ask(AskSamples)).samples
        return merged([self._before, self._samples])
