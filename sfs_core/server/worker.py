"""One of the processes of a server with several: it serves, and does what its supervisor says."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Final

import orjson

from sfs_core.config.loaded import LoadedConfig
from sfs_core.errors import SfsError
from sfs_core.observe.worker import VARIABLE
from sfs_core.server.app import Server
from sfs_core.server.control import (
    Answer,
    Ask,
    AskSamples,
    Control,
    ErrorText,
    FellBack,
    LastSamples,
    Others,
    Start,
    Started,
    State,
)
from sfs_core.server.run import serve_until_stopped

__all__ = ["run_worker"]

STATE_SECONDS: Final = 0.1
"""Between two looks at whether predictions are answered."""


async def run_worker(loaded: LoadedConfig) -> int:
    """Serve until told to stop, or until the supervisor is gone.

    Returns:
        The process's exit code: 1 where it could not begin; the supervisor was told why.
    """
    descriptor = int(os.environ[VARIABLE].partition(":")[2])
    control = await Control.over(socket.socket(fileno=descriptor))
    start = await control.receive()
    if not isinstance(start, Start):
        return 1
    config = loaded.config
    loaded = loaded.changed(listen=config.listen.model_copy(update=start.ports))
    server = Server(loaded, start.desired)
    server.readiness.others = start.not_ready
    try:
        await _Worker(server, control).serve()
    except SfsError as error:
        control.send(Started(ErrorText.of(error)))
        return 1
    finally:
        await control.close()
    return 0


class _Worker:
    """Serves and listens to its supervisor at the same time."""

    def __init__(self, server: Server, control: Control) -> None:
        self._server, self._control = server, control
        self._doing: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        server, control = self._server, self._control
        server.versions.fell_back = lambda service, id_: control.send(FellBack(service, id_))
        listening = asyncio.ensure_future(self._listen())
        telling = asyncio.ensure_future(self._tell_state())
        try:
            await serve_until_stopped([server], self._started, until=[listening])
            control.send(LastSamples(server.samples()))
        finally:
            tasks = [listening, telling, *self._doing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _started(self, _server: Server) -> None:
        self._tell_of(*self._server.readiness.own())
        self._control.send(Started())

    async def _listen(self) -> None:
        """Do what the supervisor says, until it is gone."""
        while (message := await self._control.receive()) is not None:
            if isinstance(message, Ask):
                task = asyncio.ensure_future(self._carry_out(message))
                self._doing.add(task)
                task.add_done_callback(self._doing.discard)
            elif isinstance(message, AskSamples):
                self._control.send(Answer(message.key, samples=self._server.samples()))
            elif isinstance(message, Others):
                self._server.readiness.others = message.not_ready

    async def _carry_out(self, ask: Ask) -> None:
        try:
            answer = Answer(ask.key, await self._server.versions.carry_out(ask.order))
        except SfsError as error:
            answer = Answer(ask.key, error=ErrorText.of(error))
        except Exception as error:  # noqa: BLE001 - the worker goes on, and whoever asked is told
            answer = Answer(ask.key, error=ErrorText.of(SfsError(f"unexpected {type(error).__name__}")))
        self._control.send(answer)

    async def _tell_state(self) -> None:
        told = None
        while True:
            ready, body = self._server.readiness.own()
            if told != (ready, body):
                told = ready, body
                self._tell_of(ready, body)
            await asyncio.sleep(STATE_SECONDS)

    def _tell_of(self, ready: bool, body: dict[str, Any]) -> None:
        self._control.send(State(ready, orjson.dumps(body)))
