"""Processes that calculate with large numbers: in this process such work would hold Python's lock, and one core.

A worker is a fresh interpreter at the other end of a pipe. It is told functions by name and numbers, among them what
makes random encryptions under the own key, and ends when the pipe does, which it does with this process however that
ends. Numbers travel through the pipe alone: not through arguments, environment or files, and a worker writes nothing.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Connection, Pipe
from typing import Any, Final

__all__ = ["Workers", "WorkersClosedError", "workers_of"]

_RESTART_SECONDS: Final = 10.0
_IDLE_NICENESS: Final = 19
"""The lowest priority: of cores that others want, such processes get a fiftieth."""


class WorkersClosedError(RuntimeError):
    """This process ends."""


class Workers:
    """Some processes, started at the first call; without any, the calling thread calculates itself.

    Args:
        count: number of processes.
        idle: whether they are to use what nobody else wants of the cores.
    """

    def __init__(self, count: int, *, idle: bool = False) -> None:
        self.count = count
        self._niceness = _IDLE_NICENESS if idle else 0
        self._own = threading.local()
        self._started: list[_Worker] = []
        self._threads = ThreadPoolExecutor(max(count, 1), thread_name_prefix="sfs-phe-worker")
        self._lock, self._preparing = threading.Lock(), threading.Lock()
        atexit.register(self.close)

    def map(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a function of a module returns for each tuple of arguments, in their order.

        Raises:
            ZeroDivisionError: the function does.
            WorkersClosedError: the processes have ended, as this one does.
        """
        if not self.count:
            return [function(*arguments) for arguments in calls]
        try:
            futures = [self._threads.submit(self._call, function, arguments) for arguments in calls]
        except RuntimeError:
            raise WorkersClosedError from None
        return [future.result() for future in futures]

    def prepare(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Have each process call a function, so that what it needs is there: the process itself, modules, tables."""
        barrier = threading.Barrier(max(self.count, 1))
        with self._preparing:  # of two that waited at the same time, each would hold threads that the other needs
            futures = [self._threads.submit(self._call, function, arguments, barrier) for _ in range(self.count)]
            for future in futures:
                future.result()

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            started = list(self._started)
        for worker in started:
            worker.close()

    def _call(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], barrier: threading.Barrier | None = None
    ) -> Any:
        if barrier is not None:
            barrier.wait()
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            worker = self._own.worker = _Worker(self._niceness)
            with self._lock:
                self._started.append(worker)
        return worker.call(function, arguments)


class _Worker:
    """One process, used by one thread; started again if it ends, but not all the time."""

    def __init__(self, niceness: int) -> None:
        self._niceness = niceness
        self._start()

    def _start(self) -> None:
        self._restart_at = time.monotonic() + _RESTART_SECONDS
        ours, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", f"{__package__}.worker", str(theirs.fileno()), str(self._niceness)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._connection: Connection | None = ours

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """What the function returns; calculated here where the process is gone."""
        if self._connection is None and time.monotonic() > self._restart_at:
            self._start()
        connection = self._connection  # `close` may be called meanwhile
        if connection is not None:
            try:
                connection.send((function, arguments))
                succeeded, result = connection.recv()
            except (EOFError, OSError):
                self.close()
            else:
                if not succeeded:
                    raise result
                return result
        return function(*arguments)

    def close(self) -> None:
        """End the process, whatever it does: it holds nothing that anybody needs, and one of the lowest priority may
        not come to its end by itself for seconds."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._process.kill()
            self._process.wait()


@cache
def workers_of(count: int, *, idle: bool = False) -> Workers:
    """The workers of this process; one group for all models with the same setting."""
    return Workers(count, idle=idle)
