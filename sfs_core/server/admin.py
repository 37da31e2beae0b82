"""The socket over which `sfs admin` manages a running server: one JSON object a line in, one a line out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from sfs_core.errors import ConfigError, ErrorCode, SfsError
from sfs_core.server.reload import NewModel, Reloads

__all__ = ["AdminCommand", "AdminReply", "AdminSocket"]

LONGEST_COMMAND: Final = 64 << 10


class AdminCommand(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be done; `path`, `sha256` and `version` as of `NewModel`."""

    do: Literal["status", "reload", "rollback", "unload"]
    service: str = ""
    path: str = ""
    sha256: str = ""
    version: str = ""


class AdminReply(msgspec.Struct, omit_defaults=True):
    """What came of a command: an error's text, or else the id of the model concerned, or the status."""

    error: str = ""
    hint: str = ""
    id: str = ""
    services: list[dict[str, Any]] = []


class AdminSocket:
    """Listens for commands of this machine's user.

    Args:
        path: of the socket.
        reloads: what carries the commands out.
    """

    def __init__(self, path: Path, reloads: Reloads) -> None:
        self._path = path
        self._reloads = reloads
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
            return await self._carry_out(command)
        except SfsError as error:
            return AdminReply(error=error.public_text(), hint=error.hint)
        except (msgspec.MsgspecError, ValueError):
            return AdminReply(error="the command cannot be read")
        except Exception as error:  # noqa: BLE001 - the server goes on, and whoever asked is told
            return AdminReply(error=f"unexpected {type(error).__name__}")

    async def _carry_out(self, command: AdminCommand) -> AdminReply:
        if command.do == "status":
            return AdminReply(services=self._reloads.status())
        if command.do == "reload":
            new = NewModel(command.path, command.sha256, command.version)
            return AdminReply(id=await self._reloads.reload(command.service, new))
        if command.do == "rollback":
            return AdminReply(id=self._reloads.roll_back(command.service))
        return AdminReply(id=self._reloads.unload(command.service))


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
