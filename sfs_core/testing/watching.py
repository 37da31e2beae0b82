"""Seeing what code does: connections that it opens, whether it waits, and what it leaves behind."""

from __future__ import annotations

import asyncio
import functools
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

__all__ = ["POOL_NAME", "Connections", "Leftovers", "broken_service", "voluntary_waits"]

POOL_NAME: Final = "sfs-contract"
"""Name of the threads that belong to the contract itself."""
_OWN_THREADS: Final = (POOL_NAME, "asyncio_")
_LOOK_UPS: Final = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_SENDING: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_SETTLING_SECONDS: Final = 3.0


class Connections:
    """Attempts to reach anybody over the network, by any thread of this process, while it is entered.

    What a library sends without Python's `socket` module stays unseen.
    """

    _watching: list[Connections] = []  # noqa: RUF012 - of the process

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __enter__(self) -> Self:
        _install_audit_hook()
        self._watching.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.remove(self)

    @classmethod
    def audit(cls, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's audit hook; such hooks stay for the life of a process."""
        if not cls._watching:
            return
        if event in _LOOK_UPS or (event in _SENDING and arguments[0].family in (socket.AF_INET, socket.AF_INET6)):
            for each in cls._watching:
                each.seen.append(event)


@functools.cache
def _install_audit_hook() -> None:
    sys.addaudithook(Connections.audit)


def voluntary_waits(call: Callable[[], object], repeats: int = 20) -> int:
    """How often `call` gives the processor away of its own accord: the least of several runs, as the rest is chance."""

    def waits() -> int:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        call()
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

    return min(waits() for _ in range(repeats))


class Leftovers:
    """What was not there before: made when all is quiet, asked when all should be quiet again."""

    def __init__(self, kind: Literal["threads", "descriptors", "tasks"]) -> None:
        self._now = {"threads": _threads, "descriptors": _descriptors, "tasks": _tasks}[kind]
        self._before = self._now()

    async def found(self) -> list[str]:
        """What is still there after a while."""
        end = asyncio.get_running_loop().time() + _SETTLING_SECONDS
        # Nothing tells when a thread or a descriptor has gone.
        while (more := self._now().keys() - self._before.keys()) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        now = self._now()
        return sorted(now[key] for key in more if key in now)


def _threads() -> dict[Any, str]:
    return {t: f"thread {t.name}" for t in threading.enumerate() if not t.name.startswith(_OWN_THREADS)}


def _descriptors() -> dict[Any, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            target = str(entry.readlink())
            if not target.startswith("/proc/"):
                found[entry.name, target] = target
    return found


def _tasks() -> dict[Any, str]:
    return {task: f"task {task.get_name()}" for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@contextmanager
def broken_service(how: Literal["absent", "silent", "resetting"]) -> Iterator[tuple[str, int]]:
    """Host and port of a service that refuses connections, never answers, or breaks connections off."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if how != "absent":
            listener.listen(128)  # the system takes connections, and nobody reads from them
        thread = threading.Thread(target=_reset_all, args=[listener], name=POOL_NAME, daemon=True)
        if how == "resetting":
            thread.start()
        try:
            yield listener.getsockname()
        finally:
            if how == "resetting":
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def _reset_all(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            connection.close()
