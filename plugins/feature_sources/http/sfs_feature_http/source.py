"""The HTTP feature source."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Final

from yarl import URL

from sfs_core import (
    Batch,
    ErrorCode,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    PluginConfig,
    SfsError,
)
from sfs_core.spi import ClientTls

from .client import HttpClient
from .messages import TRACE_KEYS, AnswerReader, OtherIdsError, RequestWriter
from .options import HttpConfig

__all__ = ["HttpConfig", "HttpFeatureSource"]

_CLOSING_SECONDS: Final = 5.0
_TRACE_VALUE: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


class HttpFeatureSource(FeatureSource):
    """Rows that a feature service answers to BatchFetchFeature."""

    Config = HttpConfig

    config: HttpConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self._requests: RequestWriter | None = None
        self._answers = AnswerReader(
            self.schema, context.logger.warning, widen=self.config.widen, id_field=self.config.id_field
        )
        self._tls: ClientTls | None = None
        self._client: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def validate(self) -> None:
        """See what `open` sees, which reaches no service."""
        self.open()
        self.close()

    def open(self) -> None:
        """Make ready; the service need not be up yet.

        Raises:
            SfsError: a feature's type cannot be sent, or a certificate cannot be used (code 3).
        """
        self._tls = self._made_tls()
        self._requests = RequestWriter(
            self.context.service,
            self.context.party,
            self.schema,
            self.config.headers,
            id_field=self.config.id_field,
            per_row=self.context.report_missing,
        )

    def close(self) -> None:
        """Close all connections, on the event loop that they belong to."""
        self._requests = None
        client, self._client = self._client, None
        loop, self._loop = self._loop, None
        if client is None or loop is None or loop.is_closed():
            return
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(client.close(), loop).result(_CLOSING_SECONDS)
        else:
            loop.run_until_complete(client.close())

    def check(self) -> None:
        """Connect to an endpoint, without a request: any request would fetch something.

        Raises:
            SfsError: none can be reached, or shows a certificate that is trusted (code 4).
        """
        tls = self._made_tls()
        failures = []
        for url in self.config.urls:
            try:
                self._connect(url, tls)
            except OSError as error:
                failures.append((url, type(error).__name__))
            else:
                return
        url, failure = failures[0]
        raise SfsError(
            f"the feature service cannot be reached ({failure})",
            code=ErrorCode.NETWORK_ERROR,
            where=str(url.with_query(None)),
        )

    def _connect(self, url: URL, tls: ClientTls | None) -> None:
        with socket.create_connection((url.host, url.port), self.config.connect_timeout) as connection:
            if tls is not None:
                tls.current().wrap_socket(connection, server_hostname=url.host).close()

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids.

        Raises:
            SfsError: the service cannot be asked (code 4), or its answer is not what is needed; see AnswerReader.
        """
        if self._requests is None:
            raise SfsError("the HTTP feature source is not open", code=ErrorCode.NOT_READY)
        if not query.ids or not len(self.schema):  # services need not expect such questions
            return FeatureResult(Batch.from_rows(self.schema, [()] * len(query.ids)))
        body = self._requests.write(query)
        if self._client is None:
            self._client, self._loop = HttpClient(self.config, self._tls), asyncio.get_running_loop()
        client = self._client
        answer = await client.post(body, _trace_headers(query))
        try:
            return self._answers.read(answer, query.ids)
        except OtherIdsError:
            await self._give_up(client)  # it may be the answer to another request, and the next one to this
            raise
        except FeatureError as error:  # of several ids, it then does not say which
            if error.code != ErrorCode.FS_NOT_FOUND or len(query.ids) > 1 or not self.context.report_missing:
                raise
            return FeatureResult(Batch.from_rows(self.schema, []), missing=[True])

    async def _give_up(self, client: HttpClient) -> None:
        """Ask over new connections from now on; those under way are answered, as their ids are looked at, too."""
        if self._client is client:
            self._client = None
        await client.retire()

    def _made_tls(self) -> ClientTls | None:
        if self.config.urls[0].scheme != "https":
            return None
        return ClientTls("the feature service", self.config, self.context, alpn=("http/1.1",))


def _trace_headers(query: FeatureQuery) -> dict[str, str]:
    """The entries for tracing, where they can stand in an HTTP header."""
    given = ((key, query.headers.get(key, "")) for key in TRACE_KEYS)
    return {key: value for key, value in given if _TRACE_VALUE.fullmatch(value)}
