"""A supervisor, and workers that do nothing but what a test needs."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sfs_core.config.loader import load
from sfs_core.errors import SfsError
from sfs_core.server import worker_process
from sfs_core.server.control import Start
from sfs_core.server.desired import Desired
from sfs_core.server.orders import Order, ProcessGoneError
from sfs_core.server.start import run_servers
from sfs_core.server.worker_process import WorkerProcess
from tests.support.clusters import linear_files

WORKER = """
import asyncio, os, socket
from sfs_core.server.control import Answer, Ask, Control, Started, State

async def work():
    control = await Control.over(socket.socket(fileno=int(os.environ["SFS_WORKER"].partition(":")[2])))
    await control.receive()
    control.send(State(True, b"{}"))
    control.send(Started())
    while (message := await control.receive()) is not None:
        if isinstance(message, Ask):
            control.send(Answer(message.key))

asyncio.run(work())
"""


def test_workers_that_die_before_they_serve_end_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = linear_files(tmp_path, ["a"], {"alice": {"x": [1.0]}, "bob": {"y": [1.0]}})
    files.configs["alice"] |= {"workers": 2}
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-S", "-c", "import os; os._exit(3)"])
    with pytest.raises(SfsError, match="5 times before it served, with exit code 3"):
        run_servers([load(files.write("alice"))], lambda _: None)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - it is told by another process
            await asyncio.sleep(0.01)


def test_a_worker_that_hangs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", WORKER])
    monkeypatch.setattr(worker_process, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(worker_process, "HUNG_SECONDS", 60)

    async def check() -> None:
        worker = WorkerProcess(1, lambda: None, lambda *_: None)
        running = asyncio.ensure_future(worker.run(Start(Desired(), {}, [1]), lambda: False))
        await worker.wait_up()
        await _until(lambda: worker.is_ready)
        worker.signal(signal.SIGSTOP)
        answering = asyncio.ensure_future(worker.answers())
        await _until(lambda: not worker.is_ready)
        worker.signal(signal.SIGCONT)
        assert await answering
        assert worker.is_ready
        monkeypatch.setattr(worker_process, "HUNG_SECONDS", 0.1)
        worker.signal(signal.SIGSTOP)
        assert not await worker.answers()
        worker.signal(signal.SIGKILL)
        assert await running == -signal.SIGKILL
        assert not worker.is_up
        with pytest.raises(ProcessGoneError):
            await worker.carry_out(Order("status"))

    asyncio.run(check())


def test_a_worker_that_was_started_with_something_else_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", WORKER])

    async def check() -> None:
        worker = WorkerProcess(1, lambda: None, lambda *_: None)
        assert await worker.run(Start(Desired(), {}, [1]), lambda: True) == -signal.SIGTERM
        assert worker.was_stale
        assert not worker.served

    asyncio.run(check())
