"""The handshake: before a service is served, every peer tells what it has loaded, and all must agree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sfs_core.codec.execution import AGREED_EXTENSION, EXTENSIONS, MODEL
from sfs_core.errors import ErrorCode, PeerError
from sfs_core.link.outgoing import TransportError
from sfs_core.link.retry import FailureKind
from sfs_core.model.consistency import compare_models
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.proto.serving_pb2 import ModelInfo

__all__ = ["HandshakePeer", "Patience", "agree"]

logger = logging.getLogger("sfs.handshake")

FIRST_INTERVAL: Final = 0.05
"""Seconds before the second attempt; doubled from one to the next, so that parties started together meet soon."""
LONGEST_INTERVAL: Final = 1.0
"""Seconds between attempts at most, whatever `Patience.interval`, so that a late party is not kept waiting."""


class HandshakePeer(Protocol):
    """Another party, as the handshake sees it."""

    def model_info(self, service: str, timeout: float, version: str = "") -> Awaitable[GetModelInfoResponse]:
        """What the party has loaded, that of the version if it has several models; PeerError with code NOT_FOUND when
        it serves no such service."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for peers: `attempts` times `interval` seconds; `timeout` seconds for one answer."""

    attempts: int
    interval: float
    timeout: float
    new_version: bool = False
    """The parties get it one after the other, and serve another one meanwhile."""
    agreed: bool = False
    """Wait also until each peer has agreed with all others, and will answer calls for the version."""


async def agree(
    party: str, service: str, own: ModelInfo, version: str, peers: Mapping[str, HandshakePeer], patience: Patience
) -> dict[str, GetModelInfoResponse]:
    """Ask every peer, all at once, until each has answered, and has this version if it tells of versions.

    Returns:
        What each peer told: its model, and in the header its extensions.

    Raises:
        GraphError: a peer has another model; as soon as that is known.
        PeerError: a peer serves no such service (code 5), or did not answer in time.
    """
    tasks = [
        asyncio.ensure_future(_ask(party, service, own, version, name, peer, patience))
        for name, peer in sorted(peers.items())
    ]
    try:
        answers = dict(zip(sorted(peers), await asyncio.gather(*tasks), strict=True))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return answers


async def _ask(
    party: str, service: str, own: ModelInfo, version: str, name: str, peer: HandshakePeer, patience: Patience
) -> GetModelInfoResponse:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience.attempts * patience.interval
    wait = FIRST_INTERVAL
    while True:
        try:
            answer = await peer.model_info(service, patience.timeout, version)
            header = answer.header.data
            other = bool(id_ := header.get(MODEL, "")) and not id_.startswith(f"{version}.")
            warnings = () if other and patience.new_version else compare_models(party, own, name, answer.model_info)
            if other:
                raise PeerError("it has another version of the model (model.version in the configs)")
            if patience.agreed and id_ and AGREED_EXTENSION not in header.get(EXTENSIONS, "").split(","):
                raise PeerError("it has not agreed on the new version with everybody yet")
        except PeerError as error:
            if error.code == ErrorCode.NOT_FOUND and not patience.new_version:
                raise PeerError(
                    f"serves no service {service!r}",
                    code=ErrorCode.NOT_FOUND,
                    party=name,
                    hint="give the service the same id at all parties",
                ) from None
            if loop.time() + wait > deadline:
                raise PeerError(
                    f"did not answer the handshake for {patience.attempts * patience.interval:g} s: {error.message}",
                    party=name,
                    hint=_hint(error),
                ) from None
            at = f" ({error.detail})" if error.detail else ""
            logger.info("%s: waiting for %s: %s%s", service, name, error.message, at)
            await asyncio.sleep(wait)
            wait = min(2 * wait, patience.interval, LONGEST_INTERVAL)
        else:
            for warning in warnings:
                logger.warning("%s: %s", service, warning)
            return answer


def _hint(error: PeerError) -> str:
    if isinstance(error, TransportError) and error.kind is FailureKind.UNTRUSTED:
        return "do `ca_file` here and the certificate there come from one authority, and is that made out to the party?"
    asked = f" It was asked {error.detail}." if error.detail else ""
    return f"is it running, and is its address right?{asked}"
