"""The commands by which a running server is managed, and the socket over which `sfs admin` gives them.

Over the socket, a command and the answer to it are one line of JSON each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from sfs_core.errors import ConfigError, ErrorCode, SfsError
from sfs_core.link.text import short_text
from sfs_core.server.desired import Package
from sfs_core.server.manager import Manager
from sfs_core.server.orders import ServiceStatus

__all__ = ["AdminCommand", "AdminReply", "AdminSocket", "Administration", "Level", "WorkerStatus"]

logger = logging.getLogger("sfs.admin")

LONGEST_COMMAND: Final = 2 << 20
"""Bytes; a definition may be as long as a config."""

Level = Literal["debug", "info", "warning", "error", "default"]


class AdminCommand(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be done.

    Args:
        do: the verb.
        service: the service's id, of all verbs that concern one.
        path, sha256, version: of `reload`, as of `Package`.
        definition: of `load`: what an entry of `services` says, as YAML or JSON; without it `service` of the config.
        name: of `load`: the file that the definition is from, for errors.
        room, level: of `log-level`, as of `set_log_levels`; without a level, nothing is changed.
    """

    do: Literal["status", "load", "unload", "reload", "cancel", "rollback", "log-level"]
    service: str = ""
    path: str = ""
    sha256: str = ""
    version: str = ""
    definition: str = ""
    name: str = "the definition"
    room: str = ""
    level: Level | None = None


class WorkerStatus(msgspec.Struct):
    """One of several processes: its number, its process id, whether it serves, and how often it was started again."""

    number: int
    pid: int
    up: bool
    restarts: int


class AdminReply(msgspec.Struct, omit_defaults=True):
    """What came of a command: an error, or else the id of the model or service concerned, or what was asked for.

    Args:
        error, problems, hint, code: of an error; the code is one of `ErrorCode`.
        id: of the model, or of the service that is loaded.
        services: their status.
        workers: where there are several.
        levels: log levels by room.
    """

    error: str = ""
    problems: list[str] = []
    hint: str = ""
    code: int = 0
    id: str = ""
    services: list[ServiceStatus] = []
    workers: list[WorkerStatus] = []
    levels: dict[str, str] = {}


class Administration:
    """Carries commands out, whoever gives them.

    Args:
        manager: of the server.
        workers: tells of the processes, where there are several.
    """

    def __init__(self, manager: Manager, workers: Callable[[], Sequence[WorkerStatus]] = tuple) -> None:
        self._manager = manager
        self._workers = workers

    async def answer(self, command: AdminCommand, who: str) -> AdminReply:
        """Do it; never fails.

        Args:
            command: what.
            who: gave it, for the log.
        """
        if command.do != "status":
            logger.info("%s: %s %s", who, command.do, short_text(command.service or command.room))
        try:
            return await self._carry_out(command)
        except SfsError as error:
            problems = list(error.problems) if isinstance(error, ConfigError) else []
            if problems == [error.message]:  # which `error` tells, with its place
                problems = []
            return AdminReply(error=error.public_text(), problems=problems, hint=error.hint, code=error.code)
        except Exception as error:  # noqa: BLE001 - the server goes on, and whoever asked is told
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"unexpected {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            logger.warning("%s failed: %s", command.do, text)
            return AdminReply(error=text, code=ErrorCode.UNEXPECTED_ERROR)

    async def _carry_out(self, command: AdminCommand) -> AdminReply:
        manager, service = self._manager, command.service
        if command.do == "status":
            return AdminReply(services=await manager.status(), workers=list(self._workers()))
        if command.do == "log-level":
            levels: dict[str, str] = {} if command.level is None else {command.room: command.level}
            return AdminReply(levels=await manager.set_log_levels(levels))
        if command.do == "load":
            return AdminReply(id=await manager.load(service, command.definition, command.name))
        if command.do == "unload":
            await manager.unload(service)
            return AdminReply(id=service)
        if command.do == "reload":
            return AdminReply(id=await manager.reload(service, _package(command)))
        if command.do == "cancel":
            return AdminReply(id=await manager.cancel(service))
        return AdminReply(id=await manager.roll_back(service))


def _package(command: AdminCommand) -> Package:
    return Package(command.path, command.sha256, command.version or None)


class AdminSocket:
    """Listens for commands of this machine's user.

    Args:
        path: of the socket.
        administration: carries the commands out.
    """

    def __init__(self, path: Path, administration: Administration) -> None:
        self._path = path
        self._administration = administration
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: there is something at the path already, or it cannot be listened on.
        """
        listening = socket.socket(socket.AF_UNIX)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._path.is_socket() and not _is_answered(self._path):
                self._path.unlink()
            before = os.umask(0o177)  # nobody else may connect, not even for a moment
            try:
                listening.bind(str(self._path))
            finally:
                os.umask(before)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=LONGEST_COMMAND)
        except OSError as error:
            listening.close()
            raise ConfigError(
                f"the admin socket cannot be listened on: {error.strerror or error}",
                code=ErrorCode.IO_ERROR,
                where="admin.socket",
                hint="is another server running with the same config?",
            ) from None

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(await self._answer(reader)) + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> AdminReply:
        try:
            command = msgspec.json.decode(await reader.readline(), type=AdminCommand)
        except (msgspec.MsgspecError, ValueError):
            return AdminReply(error="the command cannot be read", code=ErrorCode.INVALID_ARGUMENT)
        return await self._administration.answer(command, "sfs admin")


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
