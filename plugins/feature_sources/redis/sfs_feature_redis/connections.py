"""Connections to Redis, to one server or to those of a cluster: pooled, never out of step, renewed when lost."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["Cluster", "Command", "Connections", "Place", "Server"]

Command = tuple[Any, ...]
"""Name, key, and what follows these."""
Place = tuple[str, int]
_SLOTS: Final = "CLUSTER SLOTS"
_MOST_REDIRECTIONS: Final = 3


class Connections(Protocol):
    """Whom commands are sent to; belongs to the event loop where it is used."""

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """One answer per command, in order; errors that Redis answers are among them.

        Raises:
            InvalidResponse: there are more or fewer answers than commands.
            RedisError, OSError: the connection fails, also when it is made anew.
        """

    async def look(self) -> None:
        """See that somebody answers.

        Raises:
            RedisError, OSError: nobody does.
        """

    async def drop(self) -> None:
        """Close the connections that are not in use: nobody knows what the next answer on one belongs to."""

    async def close(self) -> None:
        """Close all connections."""


class Server:
    """One server.

    Redis' answers do not say what they answer. Each batch ends with a PING of a random text, whose answer nothing else
    equals: it shows that the connection was not out of step, as then all rows would be other ids'.

    Args:
        pool: its connections, which are made when they are used; not more than `most`.
        most: batches under way at a time; others wait.
    """

    def __init__(self, pool: ConnectionPool, most: int) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(most)
        self._closed = False

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """See Connections."""
        async with self._turns:
            try:
                return await self._asked(commands)
            except (AuthenticationError, AuthorizationError):
                raise
            except (InvalidResponse, NoPermissionError):
                await self.drop()
                raise
            except (RedisConnectionError, OSError):
                if self._closed:
                    raise
                return await self._asked(commands)

    async def look(self) -> None:
        """See Connections."""
        await self.ask([])

    async def _asked(self, commands: Sequence[Command]) -> list[Any]:
        """What redis-py's pipelines do, without the half of the time that these need for a small batch."""
        mark = secrets.token_bytes(8)
        connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(connection.pack_commands([*commands, ("PING", mark)]))
            answers = [await _answer(connection) for _ in commands]
            last = await _answer(connection)
        except BaseException:
            await connection.disconnect(nowait=True)  # answers may still be under way
            raise
        finally:
            await self._pool.release(connection)
        if last != mark:
            raise last if isinstance(last, NoPermissionError) else InvalidResponse("answers out of step")
        return [
            _mapping(answer) if name == "HGETALL" else answer
            for (name, *_), answer in zip(commands, answers, strict=True)
        ]

    async def drop(self) -> None:
        """See Connections."""
        await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """See Connections."""
        self._closed = True
        await self._pool.disconnect()
        if isinstance(self._pool, SentinelConnectionPool):
            for sentinel in self._pool.sentinel_manager.sentinels:
                await sentinel.aclose()


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


class Cluster:
    """The servers of a cluster, each asked for the keys that it has, and each with a mark of its own.

    Args:
        first: a node, asked which the others are.
        server_at: makes a connection to one.
    """

    def __init__(self, first: Place, server_at: Callable[[Place], Server]) -> None:
        self._first = first
        self._server_at = server_at
        self._servers: dict[Place, Server] = {}
        self._owners: list[Place | None] = []
        """Of each slot; empty where they are to be asked for."""
        self._closed = False

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """See Connections."""
        try:
            return await self._ask(commands)
        except (AuthenticationError, AuthorizationError, InvalidResponse):
            raise
        except (RedisConnectionError, OSError):  # a server is gone: another one may have taken over
            if self._closed:
                raise
            self._owners = []
            return await self._ask(commands)

    async def look(self) -> None:
        """See Connections."""
        await self._look_owners_up()

    async def drop(self) -> None:
        """See Connections."""
        await _all(server.drop() for server in self._servers.values())

    async def close(self) -> None:
        """See Connections."""
        self._closed = True
        servers, self._servers = self._servers, {}
        await _all(server.close() for server in servers.values())

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        owners = self._owners or await self._look_owners_up()
        waiting: dict[tuple[Place, bool], list[int]] = defaultdict(list)
        for i, command in enumerate(commands):
            place = owners[key_slot(command[1])]
            if place is None:
                raise RedisConnectionError("no node has the slot of a key")
            waiting[place, False].append(i)
        answers: list[Any] = [None] * len(commands)
        for _ in range(1 + _MOST_REDIRECTIONS):
            await _all(self._ask_one(*to, places, commands, answers) for to, places in waiting.items())
            waiting = self._redirected(waiting, answers)
            if not waiting:
                break
        return answers

    async def _ask_one(
        self, place: Place, asking: bool, indices: Sequence[int], commands: Sequence[Command], answers: list[Any]
    ) -> None:
        """Have one server answer some of the commands.

        Args:
            place: the server's.
            asking: whether it is only about to get these keys: it then must be told that this is known.
            indices: of the commands.
            commands: all of them.
            answers: where these commands' answers go.
        """
        told = [("ASKING",)] if asking else []
        found = await self._server(place).ask([each for i in indices for each in (*told, commands[i])])
        for i, answer in zip(indices, found[1::2] if asking else found, strict=True):
            answers[i] = answer

    def _redirected(
        self, asked: dict[tuple[Place, bool], list[int]], answers: Sequence[Any]
    ) -> dict[tuple[Place, bool], list[int]]:
        """Whom to ask for what was answered with the name of another server."""
        waiting: dict[tuple[Place, bool], list[int]] = defaultdict(list)
        for ((host, _), _), indices in asked.items():
            for i in indices:
                answer = answers[i]
                if isinstance(answer, AskError):
                    moved = isinstance(answer, MovedError)
                    waiting[(answer.host or host, answer.port), not moved].append(i)
                    if moved:
                        self._owners = []
        return waiting

    async def _look_owners_up(self) -> list[Place | None]:
        """Ask any server that answers who has which slots, and forget those that have none."""
        failure: Exception = RedisConnectionError()
        for place in (*self._servers, self._first):
            try:
                (ranges,) = await self._server(place).ask([(_SLOTS,)])
            except (AuthenticationError, AuthorizationError):
                raise
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                failure = error
                continue
            if isinstance(ranges, Exception):
                raise ranges
            owners: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for start, end, (host, port, *_), *_ in ranges:
                owners[start : end + 1] = [(host.decode() if host else place[0], port)] * (end + 1 - start)
            gone = self._servers.keys() - set(owners)
            await _all(self._servers.pop(each).close() for each in gone)
            self._owners = owners
            return owners
        raise failure

    def _server(self, place: Place) -> Server:
        if place not in self._servers:
            self._servers[place] = self._server_at(place)
        return self._servers[place]


def _mapping(answer: Any) -> Any:
    """A list of fields and values in turn, as which protocol version 2 has a mapping, made into one."""
    if type(answer) is not list or len(answer) % 2 or not set(map(type, answer)) <= {bytes}:
        return answer
    return dict(zip(answer[::2], answer[1::2], strict=True))


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do it all at once, and to the end also where some of it fails."""
    pending = list(work)
    if len(pending) == 1:  # without the price of a task
        await pending[0]
        return
    for outcome in await asyncio.gather(*pending, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
