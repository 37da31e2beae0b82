"""The endpoints of a feature service: in turn, around those that failed a moment ago."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Sequence
from typing import Final

from yarl import URL

__all__ = ["Endpoint", "Endpoints", "UnknownHostError"]

_RESOLVE_SECONDS: Final = 5.0
_REST_SECONDS: Final = 5.0
"""For which an endpoint that failed is not asked, if another one can be."""


class UnknownHostError(Exception):
    """An endpoint's host name has no address."""


class Endpoint:
    """One URL that is posted to.

    Args:
        url: the URL.
        resolve_all: whether all addresses of its host name are used in turn.

    Attributes:
        place: the URL as it may be told, without its query.
        host: for the HTTP header Host; None for the one that follows from the URL.
        server_hostname: whose certificate is wanted; None for the one that follows from the URL.
        rests_until: loop time before which another endpoint is asked rather.
    """

    def __init__(self, url: URL, *, resolve_all: bool) -> None:
        self.place = str(url.with_query(None))
        self.host: str | None = None
        self.server_hostname: str | None = None
        self.rests_until = 0.0
        self._url = url
        self._resolve_all = resolve_all
        self._known: list[str] = []
        self._used = 0
        self._stale_at = 0.0
        if resolve_all:
            self.host = url.authority if url.explicit_port is not None else url.host_subcomponent
            self.server_hostname = url.host if url.scheme == "https" else None

    async def next_url(self) -> URL:
        """The URL, with the next one of its host's addresses if all are to be used.

        Raises:
            UnknownHostError: it has none.
        """
        if not self._resolve_all:
            return self._url
        loop = asyncio.get_running_loop()
        if loop.time() >= self._stale_at:
            await self._look_up(loop)
        self._used += 1
        return self._url.with_host(self._known[self._used % len(self._known)])

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._known:  # others go on with these meanwhile
            self._stale_at = loop.time() + _RESOLVE_SECONDS
        try:
            found = await loop.getaddrinfo(self._url.host, self._url.port, type=socket.SOCK_STREAM)
        except OSError:
            if not self._known:
                raise UnknownHostError from None
            return
        self._known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        self._stale_at = loop.time() + _RESOLVE_SECONDS


class Endpoints:
    """Gives endpoints in turn.

    Args:
        urls: of all of them.
        resolve_all: see Endpoint.
    """

    def __init__(self, urls: Sequence[URL], *, resolve_all: bool) -> None:
        self._all = [Endpoint(url, resolve_all=resolve_all) for url in urls]
        self._turn = -1

    def next(self, tried: Collection[Endpoint], now: float) -> Endpoint:
        """The one whose turn it is among those that were not tried yet and do not rest, as far as there are any."""
        self._turn += 1
        start = self._turn % len(self._all)
        in_turn = self._all[start:] + self._all[:start]
        return min(in_turn, key=lambda each: (each in tried, each.rests_until > now))

    def all_tried(self, tried: Collection[Endpoint]) -> bool:
        """Whether there is none but those."""
        return len(tried) >= len(self._all)  # none is asked again before the last one

    def failed(self, endpoint: Endpoint, now: float) -> None:
        """Let it rest."""
        endpoint.rests_until = now + _REST_SECONDS
