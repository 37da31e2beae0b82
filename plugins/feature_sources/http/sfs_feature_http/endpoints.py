"""Whom a request goes to: the endpoints in turn, each perhaps at all addresses of its host's name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

__all__ = ["Endpoint", "Endpoints", "LookUpError", "Target"]

_RESOLVE_SECONDS: Final = 5.0
_REST_SECONDS: Final = 5.0
"""How long an endpoint that could not be reached is passed over, while others are there."""


class LookUpError(Exception):
    """A host's name cannot be looked up."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address to post to.

    Args:
        url: of it.
        headers: to send in addition.
        tls_name: what the certificate must be made out to, where it is not the URL's host.
    """

    url: URL
    headers: dict[str, str] = field(default_factory=dict)
    tls_name: str | None = None


class Endpoint:
    """One URL of the config.

    Args:
        url: of it.
        resolve_all: whether all addresses of its host's name are used in turn.
    """

    def __init__(self, url: URL, resolve_all: bool) -> None:
        self.url = url
        self.resting_until = 0.0
        self._addresses = _Addresses(url) if resolve_all else None
        self._target = Target(url)

    async def target(self) -> Target:
        """Where the next request to it goes.

        Raises:
            LookUpError: the host's name cannot be looked up.
        """
        return self._target if self._addresses is None else await self._addresses.next()


class Endpoints:
    """All of them in turn; those that could not be reached rest for a while."""

    def __init__(self, urls: Iterable[URL], *, resolve_all: bool) -> None:
        self._all = [Endpoint(url, resolve_all) for url in urls]
        self._turn = 0

    def next(self) -> Endpoint:
        """The next one that does not rest; if all do, the one whose turn it is."""
        now = asyncio.get_running_loop().time()
        for _ in self._all:
            self._turn = (self._turn + 1) % len(self._all)
            if self._all[self._turn].resting_until <= now:
                break
        return self._all[self._turn]

    def rest(self, endpoint: Endpoint) -> None:
        """Pass it over for a while: it could not be reached."""
        endpoint.resting_until = asyncio.get_running_loop().time() + _REST_SECONDS


class _Addresses:
    """A URL with each of its host's addresses in turn."""

    def __init__(self, url: URL) -> None:
        self._url = url
        name = url.authority if url.explicit_port is not None else url.host_subcomponent or ""
        self._headers = {"Host": name}
        self._tls_name = url.host if url.scheme == "https" else None
        self._known: list[str] = []
        self._used = 0
        self._stale_at = 0.0

    async def next(self) -> Target:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._stale_at:
            await self._look_up(loop)
        self._used += 1
        return Target(self._url.with_host(self._known[self._used % len(self._known)]), self._headers, self._tls_name)

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._known:  # others go on with these meanwhile
            self._stale_at = loop.time() + _RESOLVE_SECONDS
        try:
            found = await loop.getaddrinfo(self._url.host, self._url.port, type=socket.SOCK_STREAM)
        except OSError:
            if not self._known:
                raise LookUpError from None
            return
        self._known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        self._stale_at = loop.time() + _RESOLVE_SECONDS
