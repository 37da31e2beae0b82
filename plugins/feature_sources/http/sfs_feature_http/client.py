"""Posting to a feature service: connections, time limits, retries, other endpoints."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import Final

import aiohttp

from sfs_core import ErrorCode, SfsError
from sfs_core.spi import ClientTls, FailureKind, retry_policy

from .endpoints import Endpoint, Endpoints, UnknownHostError
from .options import HttpConfig

__all__ = ["HttpClient"]

_PASSING_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_KEEP_SECONDS: Final = 4.0
"""For idle connections: just under the 5 s after which common servers close theirs."""


class _FailedAttempt(Exception):  # noqa: N818  what is raised of it is an SfsError
    def __init__(self, text: str, kind: FailureKind, hint: str = "") -> None:
        super().__init__(text)
        self.text, self.kind, self.hint = text, kind, hint


class HttpClient:
    """Posts to the endpoints in turn; belongs to the event loop where it is made.

    Args:
        config: the source's options.
        tls: how an https endpoint is spoken to.
    """

    def __init__(self, config: HttpConfig, tls: ClientTls | None) -> None:
        self._config = config
        self._tls = tls
        self._endpoints = Endpoints(config.urls, resolve_all=config.resolve_all)
        self._policy = retry_policy(config.retry)
        self._under_way = 0
        self._retired = False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=config.pool_size, keepalive_timeout=_KEEP_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),  # one caller's answer must not colour the next request
            headers=_fixed_headers(config),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def retire(self) -> None:
        """Close all connections once what was asked is answered; the client is to be asked nothing more."""
        self._retired = True
        if not self._under_way:
            await self.close()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The body of the answer.

        Raises:
            SfsError: there is none, not in time, or its status is not 2xx (code 4).
        """
        self._under_way += 1
        try:
            return await self._post(body, headers)
        finally:
            self._under_way -= 1
            if self._retired and not self._under_way:
                await self.close()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        deadline = asyncio.get_running_loop().time() + self._config.timeout
        tried: list[Endpoint] = []
        try:
            async with asyncio.timeout_at(deadline):
                return await self._with_retries(body, headers, deadline, tried)
        except TimeoutError:
            failure = _FailedAttempt("did not answer in time", FailureKind.FINAL, "a longer `timeout` may help")
            self._endpoints.failed(tried[-1], asyncio.get_running_loop().time())
        except _FailedAttempt as error:
            failure = error
        raise SfsError(
            f"the feature service {failure.text}",
            code=ErrorCode.NETWORK_ERROR,
            where=tried[-1].place,
            hint=failure.hint,
        )

    async def _with_retries(
        self, body: bytes, headers: Mapping[str, str], deadline: float, tried: list[Endpoint]
    ) -> bytes:
        """The body of the first answer; `tried` gets the endpoints that were asked."""
        loop = asyncio.get_running_loop()
        retry, is_last = 0, False
        while True:
            endpoint = self._endpoints.next(tried, loop.time())
            tried.append(endpoint)
            try:
                return await self._attempt(endpoint, body, headers)
            except _FailedAttempt as failure:
                self._endpoints.failed(endpoint, loop.time())
                if failure.kind.cannot_have_run and not self._endpoints.all_tried(tried):
                    continue
                retry += 1
                wait = self._policy.wait_before(retry, failure.kind)
                if wait is None or is_last:
                    raise
            is_last = wait >= deadline - loop.time()
            if not is_last:  # else there is time for one more only without waiting
                await asyncio.sleep(wait)

    async def _attempt(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> bytes:
        if endpoint.host is not None:
            headers = {**headers, "Host": endpoint.host}
        try:
            async with self._session.post(
                await endpoint.next_url(),
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls.current(),
                server_hostname=endpoint.server_hostname,
            ) as response:
                if not 200 <= response.status < 300:
                    raise _refused(response.status)
                return await self._body(response)
        except UnknownHostError:
            raise _FailedAttempt("has a host name that cannot be looked up", FailureKind.NOT_RUN) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size, limit = [], 0, self._config.max_answer_bytes
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise _FailedAttempt(f"sent more than {limit} bytes", FailureKind.FINAL, "see `max_answer_bytes`")
        return b"".join(chunks)


def _fixed_headers(config: HttpConfig) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "sfs"}
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
        kind, text, hint = FailureKind.UNTRUSTED, "has no certificate that is trusted here", "see `ca_file`"
    elif isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        kind, text, hint = FailureKind.NOT_RUN, "cannot be reached", "see whether it runs at `endpoint`"
    return _FailedAttempt(f"{text} ({type(error).__name__})", kind, hint)
