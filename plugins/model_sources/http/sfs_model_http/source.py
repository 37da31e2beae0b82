"""The HTTP model source: downloads a file."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

import aiohttp
from pydantic import Field
from yarl import URL

from sfs_core import ErrorCode, ModelSource, PackageError, PluginContext, Progress
from sfs_core.spi import ClientTls, HeaderName, HeaderValue, Seconds, TlsOptions

__all__ = ["HttpModelConfig", "HttpModelSource"]

_CHUNK: Final = 1 << 20
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PARTIAL_CONTENT: Final = 206
_STRONG_TAG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_QUOTED: Final = re.compile(r"[\x21-\x7e]*")


class HttpModelConfig(TlsOptions):
    """How a web server is asked."""

    token: HeaderValue | None = None
    """A bearer token to send."""
    http_headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Further HTTP headers to send, such as an API key's."""
    redirects: int = Field(default=5, ge=0)
    """How many redirects are followed, never from https to http. Token, headers and the own certificate go to the first
    server only."""
    resumptions: int = Field(default=3, ge=0)
    """How often a download that breaks off goes on where it was, from servers that tell versions of a file apart."""
    connect_timeout: Seconds = 60.0
    """Seconds for opening a connection."""
    timeout: Seconds = 120.0
    """Seconds for the whole download."""


class HttpModelSource(ModelSource):
    """A file of a web server; `path` is its URL."""

    Config = HttpModelConfig

    config: HttpModelConfig

    async def download(self, path: str, to: Path, progress: Progress) -> None:
        """Fetch the file.

        Raises:
            PackageError: `path` is no URL (code 3), the server does not deliver (code 4), or the file cannot be
                written (code 10).
            ConfigError: a file for TLS cannot be used (code 3).
        """
        url = _checked_url(path)
        tls = _Tls(self.config, self.context, url)
        connector = aiohttp.TCPConnector(socket_factory=_Guard())
        try:
            async with (
                asyncio.timeout(self.config.timeout),
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,  # a package is compressed itself, and some servers say so
                    headers={"Accept-Encoding": "identity", "User-Agent": "sfs"},
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.config.connect_timeout),
                ) as session,
            ):
                with to.open("xb") as file:  # core removes it when this fails
                    await self._save(session, url, tls, _Partial(file, progress))
        except aiohttp.ClientError as error:
            if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, PermissionError):
                raise _failed("the web server redirects from outside to an address inside this network", url) from None
            raise _failed(f"the web server does not deliver ({type(error).__name__})", url) from None
        except TimeoutError:
            raise _failed("the download takes too long", url, "a longer `timeout` may help") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PackageError(f"the model package cannot be written: {reason}", where=str(to)) from None

    async def _save(self, session: aiohttp.ClientSession, url: URL, tls: _Tls, partial: _Partial) -> None:
        """Download; what breaks off is gone on with, where the server can say that it is still the same file."""
        for attempt in count(1):
            try:
                async with self._answer(session, url, tls, partial.range_headers()) as response:
                    partial.begin(response, url)
                    await partial.append(response)
                    return
            except aiohttp.ClientError:
                if attempt > self.config.resumptions or not partial.version:
                    raise

    @asynccontextmanager
    async def _answer(
        self, session: aiohttp.ClientSession, first: URL, tls: _Tls, more: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer at the end of the redirects."""
        url = first
        for _ in range(self.config.redirects + 1):
            headers = self._own_headers() if url.origin() == first.origin() else {}
            headers = {**headers, **more}
            async with session.get(url, headers=headers, ssl=tls.towards(url), allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    if not 200 <= response.status < 300:
                        raise _failed(f"the web server answers with HTTP status {response.status}", url)
                    yield response
                    return
                url = _redirected(url, response.headers)
        raise _failed(f"there are more than {self.config.redirects} redirects", first, "name the final URL as `path`")

    def _own_headers(self) -> dict[str, str]:
        token = self.config.token
        headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        return headers | {name: value.get_secret_value() for name, value in self.config.http_headers.items()}


class _Tls:
    """TLS of one download: its certificate is shown to the first server only.

    Raises:
        ConfigError: a file cannot be used.
    """

    def __init__(self, config: TlsOptions, context: PluginContext, first: URL) -> None:
        self._origin = first.origin()
        self._own = ClientTls("the web server", config, context).current()
        others = TlsOptions(ca_file=config.ca_file)
        self._others = ClientTls("web servers", others, context).current() if config.certificate_file else self._own

    def towards(self, url: URL) -> ssl.SSLContext:
        return self._own if url.origin() == self._origin else self._others


def _checked_url(path: str) -> URL:
    """`path` as a URL without an account in it.

    Raises:
        PackageError: it is none (code 3).
    """
    try:
        url = _as_written(path)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise PackageError("`path` is no URL http://… or https://…", code=ErrorCode.INVALID_ARGUMENT)
    if url.user is not None or url.password is not None:
        raise PackageError("`path` holds an account: use `token` or `http_headers`", code=ErrorCode.INVALID_ARGUMENT)
    return url


def _as_written(text: str) -> URL:
    """The URL, quoted as it is where it is quoted at all: signatures cover that."""
    return URL(text, encoded=_QUOTED.fullmatch(text) is not None)


def _redirected(url: URL, headers: Mapping[str, str]) -> URL:
    if "Location" not in headers:
        raise _failed("the web server redirects to nowhere", url)
    try:
        target = _checked_url(str(url.join(_as_written(headers["Location"]))))
    except (ValueError, PackageError):
        raise _failed("the web server redirects to something that cannot be fetched", url) from None
    if url.scheme == "https" and target.scheme == "http":
        raise _failed("the web server redirects from https to http, which is not followed", url)
    return target


class _Guard:
    """Makes the sockets of one download, none of which leads inside once one has led outside.

    A server out there could otherwise make this machine ask servers that only this machine can reach.
    """

    def __init__(self) -> None:
        self._outside = False

    def __call__(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (host, *_) = address
        inside = _is_inside(str(host))
        if inside and self._outside:
            raise PermissionError
        self._outside |= not inside
        return socket.socket(family, kind, protocol)


def _is_inside(host: str) -> bool:
    """Whether an address is one that not everybody can reach: private, loopback, link-local."""
    return not ipaddress.ip_address(host.partition("%")[0]).is_global


class _Partial:
    """The part of the file that has arrived.

    Args:
        file: what it is written to.
        progress: told how much it is.
    """

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._done = 0
        self._total: int | None = None
        self.version = ""

    def range_headers(self) -> dict[str, str]:
        """What asks for the rest, of the same version of the file only; nothing at the beginning."""
        return {"Range": f"bytes={self._done}-", "If-Range": self.version} if self._done else {}

    def begin(self, response: aiohttp.ClientResponse, url: URL) -> None:
        """Go on with an answer: with the rest if it is that, else from the beginning."""
        if response.status == _PARTIAL_CONTENT:
            given = response.headers.get("Content-Range", "")
            if not self._done or not given.startswith(f"bytes {self._done}-"):
                raise _failed("the web server answers with another part of the file than asked for", url)
        elif self._done:
            self._file.seek(0)
            self._file.truncate()
            self._done = 0
        tag = response.headers.get("ETag", "")
        self.version = tag if _STRONG_TAG.fullmatch(tag) else ""
        length = response.content_length
        self._total = None if length is None else self._done + length
        self._progress(self._done, self._total)  # a package that is too large is refused before it is fetched

    async def append(self, response: aiohttp.ClientResponse) -> None:
        """Write an answer's body."""
        async for chunk in response.content.iter_chunked(_CHUNK):
            self._file.write(chunk)
            self._done += len(chunk)
            self._progress(self._done, self._total)


def _failed(text: str, url: URL, hint: str = "") -> PackageError:
    return PackageError(
        text, code=ErrorCode.NETWORK_ERROR, where=str(url.with_query(None).with_fragment(None)), hint=hint
    )
