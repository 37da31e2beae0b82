"""Where a party's replicas are: a list, a DNS name that is looked up again, or a file that is watched."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from sfs_core.config.address import read_address

__all__ = ["DnsReplicas", "FileReplicas", "ListedReplicas", "Replicas"]

logger = logging.getLogger("sfs.link")

DNS_SECONDS: Final = 5.0
"""Between two look-ups of a name."""
FILE_SECONDS: Final = 1.0
"""Between two looks at a file."""


class Replicas(Protocol):
    """Tells where a party's replicas are."""

    def follow(self) -> AsyncIterator[Sequence[str]]:
        """All addresses now, and again whenever they may have changed; none where they cannot be told right now."""


class ListedReplicas:
    """Replicas that a config lists."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def follow(self) -> AsyncIterator[Sequence[str]]:
        """As of `Replicas`."""
        yield self._addresses


class DnsReplicas:
    """Replicas behind all addresses of a name.

    Args:
        party: for the log.
        address: `host:port`, also with a scheme.
    """

    def __init__(self, party: str, address: str) -> None:
        self._party = party
        self._address = read_address(address)

    async def follow(self) -> AsyncIterator[Sequence[str]]:
        """As of `Replicas`."""
        while True:
            yield await self._look_up()
            await asyncio.sleep(DNS_SECONDS)

    async def _look_up(self) -> Sequence[str]:
        place = self._address
        try:
            found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except OSError as error:
            logger.warning("%s: %s cannot be looked up: %s", self._party, place.host, error.strerror)
            return []
        scheme = f"{place.scheme}://" if place.scheme else ""
        hosts = sorted({str(address[0]) for *_, address in found})
        return [f"{scheme}[{host}]:{place.port}" if ":" in host else f"{scheme}{host}:{place.port}" for host in hosts]


class FileReplicas:
    """Replicas that a file lists: one address a line, empty lines and those that begin with # left out.

    A file that cannot be read, or of which a line is no address, changes nothing.

    Args:
        party: for the log.
        file: the file.
    """

    def __init__(self, party: str, file: Path) -> None:
        self._party = party
        self._file = file

    async def follow(self) -> AsyncIterator[Sequence[str]]:
        """As of `Replicas`."""
        before: str | None = None
        while True:
            text = await asyncio.get_running_loop().run_in_executor(None, self._read)
            if text != before:
                before = text
                yield self._addresses(text)
            await asyncio.sleep(FILE_SECONDS)

    def _read(self) -> str:
        try:
            return self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("%s: its file of addresses cannot be read: %s", self._party, type(error).__name__)
            return ""

    def _addresses(self, text: str) -> Sequence[str]:
        lines = [line.strip() for line in text.splitlines()]
        addresses = [line for line in lines if line and not line.startswith("#")]
        try:
            for address in addresses:
                read_address(address)
        except ValueError as error:
            logger.warning("%s: its file of addresses stays unused: %s", self._party, error)
            return []
        return list(dict.fromkeys(addresses))
