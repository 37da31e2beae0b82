"""What a supervisor and its workers tell each other, over a pair of sockets: MessagePack, each after its length."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final

import msgspec

from sfs_core.errors import ConfigError, ErrorCode, SfsError
from sfs_core.observe.metrics import Samples
from sfs_core.server.desired import Desired
from sfs_core.server.orders import Order, Outcome

__all__ = [
    "Answer",
    "Ask",
    "AskSamples",
    "Control",
    "ErrorText",
    "FellBack",
    "LastSamples",
    "Others",
    "Start",
    "Started",
    "State",
]

_LENGTH_BYTES: Final = 4


class ErrorText(msgspec.Struct):
    """An error, for a process of the same party."""

    code: int
    message: str
    hint: str = ""
    problems: list[str] = []

    @classmethod
    def of(cls, error: SfsError) -> ErrorText:
        """That of an error."""
        problems = list(error.problems) if isinstance(error, ConfigError) else []
        return cls(error.code, error.public_text(), error.hint, problems)

    def error(self) -> SfsError:
        """The error again."""
        if self.problems:
            problems = tuple(self.problems)
            return ConfigError(self.message, code=ErrorCode(self.code), hint=self.hint, problems=problems)
        return SfsError(self.message, code=self.code, hint=self.hint)


# ---------------------------------------------------------------------------------------------- supervisor to worker
class Start(msgspec.Struct, tag=True):
    """The first message: what to serve, the ports to share by their names, and the first `Others`."""

    desired: Desired
    ports: dict[str, int]
    not_ready: list[int]


class Ask(msgspec.Struct, tag=True):
    """An order; `key` comes back with the answer."""

    key: int
    order: Order


class AskSamples(msgspec.Struct, tag=True):
    """A question for what was counted so far."""

    key: int


class Others(msgspec.Struct, tag=True):
    """The numbers of the workers that do not answer predictions at the moment."""

    not_ready: list[int]


# ---------------------------------------------------------------------------------------------- worker to supervisor
class Started(msgspec.Struct, tag=True):
    """The ports are open: the worker serves; or could not begin to, and ends."""

    error: ErrorText | None = None


class Answer(msgspec.Struct, tag=True):
    """What came of an order or a question."""

    key: int
    outcome: Outcome = msgspec.field(default_factory=Outcome)
    samples: list[Samples] = []
    error: ErrorText | None = None


class State(msgspec.Struct, tag=True):
    """Whether the worker answers predictions, and the whole page `/ready`."""

    ready: bool
    page: bytes


class FellBack(msgspec.Struct, tag=True):
    """Callers get another version of a service, because other parties lost the one that they got."""

    service: str
    id: str


class LastSamples(msgspec.Struct, tag=True):
    """What was counted until the end; the last message."""

    samples: list[Samples]


Message = Start | Ask | AskSamples | Others | Started | Answer | State | FellBack | LastSamples
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Message).decode


class Control:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Control:
        """The end that a socket is."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Message) -> None:
        """Send; nothing happens where the other end is gone."""
        if self._writer.is_closing():
            return
        data = _encode(message)
        self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    async def receive(self) -> Any:
        """The next message; None where there is none any more, or none that can be read."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            return _decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            return None

    async def close(self) -> None:
        """Close, once everything has left or nobody reads it any more."""
        with contextlib.suppress(OSError):
            self._writer.close()
            await self._writer.wait_closed()
