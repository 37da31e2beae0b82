"""Posting to one endpoint: connections, time limits, retries."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from itertools import count
from typing import Final

import aiohttp
from yarl import URL

from sfs_core import ErrorCode, SfsError
from sfs_core.spi import FailureKind, retry_policy

from .options import HttpConfig

__all__ = ["HttpClient"]

_PASSING_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_RESOLVE_SECONDS: Final = 5.0
_KEEP_SECONDS: Final = 4.0
"""For idle connections: just under the 5 s after which common servers close theirs."""


class _FailedAttempt(Exception):  # noqa: N818  what is raised of it is an SfsError
    def __init__(self, text: str, kind: FailureKind, hint: str = "") -> None:
        super().__init__(text)
        self.text, self.kind, self.hint = text, kind, hint


class HttpClient:
    """Posts to the endpoint; belongs to the event loop where it is made.

    Args:
        config: the source's options.
        tls: how an https endpoint is spoken to.
    """

    def __init__(self, config: HttpConfig, tls: ssl.SSLContext | None) -> None:
        self._config = config
        self._url = URL(config.endpoint)
        self._addresses = _Addresses(self._url) if config.resolve_all else None
        self._policy = retry_policy(config.retry)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.pool_size, keepalive_timeout=_KEEP_SECONDS, ssl=True if tls is None else tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # one caller's answer must not colour the next request
            headers=_fixed_headers(config, self._url),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The body of the answer.

        Raises:
            SfsError: there is none, not in time, or its status is not 2xx (code 4).
        """
        deadline = asyncio.get_running_loop().time() + self._config.timeout
        try:
            async with asyncio.timeout_at(deadline):
                return await self._with_retries(body, headers, deadline)
        except TimeoutError:
            failure = _FailedAttempt("did not answer in time", FailureKind.FINAL, "a longer `timeout` may help")
        except _FailedAttempt as error:
            failure = error
        where = str(self._url.with_query(None))
        raise SfsError(
            f"the feature service {failure.text}", code=ErrorCode.NETWORK_ERROR, where=where, hint=failure.hint
        )

    async def _with_retries(self, body: bytes, headers: Mapping[str, str], deadline: float) -> bytes:
        is_last = False
        for retry in count(1):
            try:
                return await self._attempt(body, headers)
            except _FailedAttempt as failure:
                wait = self._policy.wait_before(retry, failure.kind)
                if wait is None or is_last:
                    raise
            is_last = wait >= deadline - asyncio.get_running_loop().time()
            if not is_last:  # else there is time for one more only without waiting
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _attempt(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        url = self._url if self._addresses is None else await self._addresses.next()
        name = self._url.host if self._addresses is not None and url.scheme == "https" else None
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, server_hostname=name
            ) as response:
                if not 200 <= response.status < 300:
                    raise _refused(response.status)
                return await self._body(response)
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body, limit = bytearray(), self._config.max_answer_bytes
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise _FailedAttempt(f"sent more than {limit} bytes", FailureKind.FINAL, "see `max_answer_bytes`")
        return bytes(body)


def _fixed_headers(config: HttpConfig, url: URL) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "sfs"}
    if config.resolve_all:
        headers["Host"] = url.authority if url.explicit_port is not None else url.host_subcomponent or ""
    if config.token is not None:
        headers["Authorization"] = f"Bearer {config.token.get_secret_value()}"
    if config.password is not None:
        account = f"{config.user}:{config.password.get_secret_value()}"
        headers["Authorization"] = "Basic " + b64encode(account.encode()).decode()
    return headers | {name: value.get_secret_value() for name, value in config.http_headers.items()}


def _refused(status: int) -> _FailedAttempt:
    kind = FailureKind.UNAVAILABLE if status in _PASSING_STATUSES else FailureKind.OTHER
    hint = "redirects are not followed: name the final URL as `endpoint`" if 300 <= status < 400 else ""
    return _FailedAttempt(f"answered with HTTP status {status}", kind, hint)


def _broken(error: Exception) -> _FailedAttempt:
    """What went wrong, without what the error says of it, as that may quote the answer."""
    kind, text, hint = FailureKind.OTHER, "broke off", ""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        kind, text, hint = FailureKind.FINAL, "has no certificate that is trusted here", "see `ca_file`"
    elif isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        kind, text, hint = FailureKind.NOT_RUN, "cannot be reached", "see whether it runs at `endpoint`"
    return _FailedAttempt(f"{text} ({type(error).__name__})", kind, hint)


class _Addresses:
    """The endpoint's URL with each of its host's addresses in turn."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._known: list[str] = []
        self._used = 0
        self._stale_at = 0.0

    async def next(self) -> URL:
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
                raise _FailedAttempt("has a host name that cannot be looked up", FailureKind.NOT_RUN) from None
            return
        self._known = list(dict.fromkeys(str(address[0]) for *_, address in found))
        self._stale_at = loop.time() + _RESOLVE_SECONDS
