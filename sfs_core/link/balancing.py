"""Calls to a party over several channels, to its replicas or to workers of one: the less busy of two, around those that
fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import Message

from sfs_core.codec.execution import names_unknown_model
from sfs_core.errors import SfsError
from sfs_core.link.outgoing import Channel, OutgoingCall, TransportError
from sfs_core.link.replicas import Replicas
from sfs_core.link.retry import FailureKind, RetryPolicy
from sfs_core.proto.apis_pb2 import ExecuteResponse

__all__ = ["BalancedChannel"]

logger = logging.getLogger("sfs.link")

FAILURES: Final = 3
"""So many failures in a row end the use of a replica for a while; one is enough where the call cannot have run."""
FIRST_PAUSE: Final = 0.5
"""Seconds that a replica is left alone when it fails first; doubled from one time to the next."""
LONGEST_PAUSE: Final = 15.0

OpenChannel = Callable[[str], Channel]
"""The channel to the replica at an address."""


@dataclass(slots=True, eq=False)
class _Replica:
    """One channel to a replica, and how it has been doing.

    Attributes:
        key: the replica's address, and the channel's number of those to it.
        under_way: calls that it has not answered yet.
        failures: in a row.
        pauses: in a row.
        paused_until: loop time; 0 for one that is in use.
        on_trial: a pause is over and one call is under way to see how it does.
        idle: it is no longer listed, and nothing is under way to it any more.
    """

    key: tuple[str, int]
    channel: Channel
    under_way: int = 0
    failures: int = 0
    pauses: int = 0
    paused_until: float = 0.0
    on_trial: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def usable(self, now: float) -> bool:
        """Whether it may be given a call."""
        return not self.paused_until or (now >= self.paused_until and not self.on_trial)

    def failed(self, now: float, kind: FailureKind) -> bool:
        """Take note of a failure; whether it begins a pause."""
        self.failures += 1
        was_paused = bool(self.paused_until)
        self.on_trial = False
        if not was_paused and not kind.cannot_have_run and self.failures < FAILURES:
            return False
        self.paused_until = now + min(FIRST_PAUSE * 2**self.pauses, LONGEST_PAUSE)
        self.pauses += 1
        return not was_paused

    def succeeded(self) -> None:
        """Take note of an answer."""
        self.failures = self.pauses = 0
        self.paused_until, self.on_trial = 0.0, False


class BalancedChannel(Channel):
    """Calls to whichever replica has fewer calls under way, of two picked at random.

    A call that cannot have run is tried at another replica at once, and only then as the policy for retries says.

    Args:
        party: the peer's id.
        replicas: where its replicas are.
        open_channel: makes a channel to one; it must not retry on its own.
        retry: what to try again once every replica was tried.
        connections: channels to each; where several processes listen at its address, the system gives each to one.
    """

    def __init__(
        self, party: str, replicas: Replicas, open_channel: OpenChannel, retry: RetryPolicy, connections: int = 1
    ) -> None:
        super().__init__(party, retry)
        self._addresses = replicas
        self._open_channel = open_channel
        self._numbers = range(connections)
        self._replicas: dict[tuple[str, int], _Replica] = {}
        self._waiting: deque[OutgoingCall] = deque()
        self._following: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    # ---------------------------------------------------------------- sending
    def _send(self, call: OutgoingCall) -> None:
        if self._following is None:
            self._following = asyncio.ensure_future(self._follow())
        if self._replicas:
            self._send_to(self._pick(()), call, [])
        else:
            self._waiting.append(call)

    def _pick(self, tried: Sequence[_Replica]) -> _Replica:
        now = asyncio.get_running_loop().time()
        untried = [replica for replica in self._replicas.values() if replica not in tried]
        usable = [replica for replica in untried if replica.usable(now)]
        if not usable:  # better one that may be down than none
            return min(untried, key=lambda replica: replica.paused_until)
        if len(usable) == 1:
            return usable[0]
        first, second = random.sample(usable, 2)
        return first if first.under_way <= second.under_way else second

    def _send_to(self, replica: _Replica, call: OutgoingCall, tried: list[_Replica]) -> None:
        left = call.deadline - call.get_loop().time()
        replica.on_trial = bool(replica.paused_until)
        replica.under_way += 1
        sent: asyncio.Future[Any] = replica.channel.call(
            call.service, call.method, call.request, call.response_type, left, call.headers
        )
        call.key = sent
        sent.add_done_callback(lambda _: self._over(replica, call, sent, tried))

    def _over(self, replica: _Replica, call: OutgoingCall, sent: asyncio.Future[Any], tried: list[_Replica]) -> None:
        replica.under_way -= 1
        if not replica.under_way and self._replicas.get(replica.key) is not replica:
            replica.idle.set()
        now = sent.get_loop().time()
        if sent.cancelled():  # see `_drop`
            if call.cancelled():  # which says nothing of the replica
                replica.on_trial = False
            else:  # its time was up
                self._failed(replica, now, FailureKind.FINAL)
            return
        error = sent.exception()
        tried.append(replica)
        if error is None:
            answer = sent.result()
            replica.succeeded()
            if not (_has_other_model(answer) and self._send_elsewhere(call, tried)):
                self._succeed(call, answer)
            return
        assert isinstance(error, TransportError)
        self._failed(replica, now, error.kind)
        if not (error.kind.cannot_have_run and self._send_elsewhere(call, tried)):
            self._fail(call, error)

    def _send_elsewhere(self, call: OutgoingCall, tried: list[_Replica]) -> bool:
        """Try a replica that was not tried; False where there is none, or nobody waits."""
        untried = any(other not in tried for other in self._replicas.values())
        if not untried or call.done() or self._closed:
            return False
        self._send_to(self._pick(tried), call, tried)
        return True

    def _failed(self, replica: _Replica, now: float, kind: FailureKind) -> None:
        if replica.failed(now, kind):
            logger.warning("%s: the replica at %s fails and is left alone for a while", self.party, replica.key[0])

    def _drop(self, call: OutgoingCall) -> None:
        if call.key is not None:
            call.key.cancel()
        with contextlib.suppress(ValueError):
            self._waiting.remove(call)

    # --------------------------------------------------------------- replicas
    async def _follow(self) -> None:
        """Keep to the addresses that there are."""
        async for addresses in self._addresses.follow():
            if addresses:
                self._use(addresses)
            waiting, self._waiting = self._waiting, deque()
            for call in waiting:
                if self._replicas:
                    self._send(call)
                else:
                    self._fail(call, self._error("has no known address right now", FailureKind.NOT_RUN))

    def _use(self, addresses: Sequence[str]) -> None:
        wanted = {(address, number) for address in addresses for number in self._numbers}
        for key in sorted(wanted - self._replicas.keys()):
            try:
                self._replicas[key] = _Replica(key, self._open_channel(key[0]))
            except SfsError as error:
                logger.warning("%s: a replica cannot be used: %s", self.party, error.public_text())
        for key in self._replicas.keys() - wanted:
            retired = self._replicas.pop(key)
            if not retired.under_way:
                retired.idle.set()
            closing = asyncio.ensure_future(_close_when_idle(retired))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _disconnect(self) -> None:
        tasks = [*self._closing, *([self._following] if self._following else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self._replicas.values():
            await replica.channel.close()
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            self._fail(call, self._error("was not reached before its channel was closed", FailureKind.FINAL))


def _has_other_model(answer: Message) -> bool:
    """Whether a replica refused a call for a model that others may have, as while they are reloaded one by one."""
    return isinstance(answer, ExecuteResponse) and names_unknown_model(answer)


async def _close_when_idle(replica: _Replica) -> None:
    """Let a replica that is no longer listed finish what it was asked."""
    try:
        await replica.idle.wait()
    finally:
        await replica.channel.close()
