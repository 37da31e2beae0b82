"""The commands of `sfs admin` over HTTP, for administrators who are known.

`GET /admin/v1/status`, and `POST /admin/v1/VERB` with what else there is to say as a JSON object.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.schema import AdminHttp
from sfs_core.errors import ErrorCode
from sfs_core.link.listener import Limits, Listener
from sfs_core.link.refusal import RefusalError
from sfs_core.link.rpc import CallInfo, Resource, Routes, RpcCode, WebAnswer
from sfs_core.link.sniff import WireProtocol
from sfs_core.link.tls import FollowedContext
from sfs_core.sdk.authenticator import Authenticator
from sfs_core.server.admin import LONGEST_COMMAND, AdminCommand, Administration, AdminReply
from sfs_core.server.gate import authenticated, close_authenticators, open_authenticators

__all__ = ["AdminPort"]

logger = logging.getLogger("sfs.admin")

VERBS: Final = ("load", "unload", "reload", "cancel", "rollback", "log-level")
_STATUS_OF: Final = {ErrorCode.OK: 200, 0: 200, ErrorCode.NOT_FOUND: 404, ErrorCode.NOT_READY: 503}
_OURS: Final = (ErrorCode.UNEXPECTED_ERROR, ErrorCode.IO_ERROR)


class AdminPort:
    """The port for administrators.

    Args:
        loaded: the config.
        settings: its `admin.http`.
        administration: carries the commands out.
        tls: what connections are served with; None for plain ones.
    """

    def __init__(
        self, loaded: LoadedConfig, settings: AdminHttp, administration: Administration, tls: FollowedContext | None
    ) -> None:
        self._loaded, self._settings, self._administration = loaded, settings, administration
        self._authenticators: list[Authenticator] = []
        resources = [Resource("GET", "/admin/v1/status", self._status)]
        resources += [Resource("POST", f"/admin/v1/{verb}", _Verb(verb, self)) for verb in VERBS]
        self._listener = Listener(
            Routes({}, resources=resources),
            limits=Limits(max_body=LONGEST_COMMAND, max_calls=100),
            name="admin",
            protocols=[WireProtocol.HTTP1],
            tls=tls,
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            SfsError: an authenticator cannot work, or the port cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._authenticators = await loop.run_in_executor(
            None, open_authenticators, self._loaded.administrators, self._loaded
        )
        await self._listener.start(self._settings.host, self._settings.port)
        logger.info("administrators are answered at %s:%d", self._settings.host, self._listener.port)

    async def stop(self) -> None:
        """Listen no more."""
        await self._listener.stop(0)
        close_authenticators(self._authenticators)

    async def _status(self, _body: bytes, info: CallInfo) -> WebAnswer:
        return await self.answer(AdminCommand("status"), info)

    async def answer(self, command: AdminCommand, info: CallInfo) -> WebAnswer:
        """Do what an administrator says.

        Raises:
            RefusalError: the caller is none.
        """
        return _answer(await self._administration.answer(command, self.administrator(info)))

    def administrator(self, info: CallInfo) -> str:
        """The name of the administrator who calls.

        Raises:
            RefusalError: the caller is not known, or no administrator.
        """
        name = authenticated(self._authenticators, info).name
        if name not in self._settings.administrators:
            logger.info("a caller at %s is refused: it is no administrator", info.peer)
            raise RefusalError(RpcCode.PERMISSION, "this caller may not manage this party")
        return name


class _Verb:
    """`POST /admin/v1/VERB`; the body has what else there is to say."""

    def __init__(self, verb: str, port: AdminPort) -> None:
        self._verb = verb
        self._port = port

    async def __call__(self, body: bytes, info: CallInfo) -> WebAnswer:
        self._port.administrator(info)  # nobody else is told what is wrong with a command
        try:
            fields = msgspec.json.decode(body or b"{}", type=dict[str, object])
            if not isinstance(fields.get("definition", ""), str):
                fields["definition"] = msgspec.json.encode(fields["definition"]).decode()
            command = msgspec.convert({**fields, "do": self._verb}, AdminCommand)
        except (msgspec.MsgspecError, ValueError):
            return _answer(AdminReply(error="the command cannot be read", code=ErrorCode.INVALID_ARGUMENT))
        return await self._port.answer(command, info)


def _answer(reply: AdminReply) -> WebAnswer:
    status = _STATUS_OF.get(reply.code) or (500 if reply.code in _OURS else 400)
    return WebAnswer(status, "application/json", msgspec.json.encode(reply) + b"\n")
