"""A feature service as an ASGI application around one function."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.features import FeatureField
from sfs_core.errors import RequestError
from sfs_core.spi.messages import (
    PATHS,
    FetchContext,
    FetchResult,
    SpiCode,
    SpiError,
    answer_of,
    error_answer,
    read_request,
)
from sfs_core.spi.openapi import openapi_document

__all__ = ["Fetch", "SpiApp", "spi_app"]

Fetch = Callable[[Sequence[str], Sequence[FeatureField], FetchContext], FetchResult | Awaitable[FetchResult]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

logger = logging.getLogger("sfs.spi")
_JSON: Final = b"application/json"


def spi_app(
    fetch: Fetch, *, token: str | None = None, max_rows: int = 100_000, max_body_bytes: int = 64 << 20
) -> SpiApp:
    """A feature service (BatchFetchFeature over HTTP) as an ASGI application, for uvicorn or any other ASGI server.

    Args:
        fetch: called with the ids, in order and perhaps repeated; the features wanted (`name`, and `type` as
            FIELD_BOOL, FIELD_INT32, FIELD_INT64, FIELD_FLOAT, FIELD_DOUBLE or FIELD_STRING); and the FetchContext.
            It returns a mapping from feature to value per id, None for an id that is not known; or a mapping from
            feature to one value per id. `def`, which runs in a thread, or `async def`. It may raise SpiError, and
            TimeoutError for DEADLINE_EXCEEDED; of anything else callers learn the type only.
        token: a bearer token that callers must send.
        max_rows: the most ids of one request.
        max_body_bytes: size of the largest request.
    """
    return SpiApp(fetch, token, max_rows, max_body_bytes)


class SpiApp:
    """Made by `spi_app`. Also answers GET /openapi.json and GET /health."""

    def __init__(self, fetch: Fetch, token: str | None, max_rows: int, max_body_bytes: int) -> None:
        self._fetch = fetch
        self._is_coroutine = inspect.iscoroutinefunction(fetch)
        self._authorization = None if token is None else f"Bearer {token}".encode()
        self._max_rows = max_rows
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            status, body = await self._respond(scope, receive)
            headers = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        """HTTP status and body."""
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        pages: dict[str, Callable[[], bytes]] = {"/openapi.json": openapi_document, "/health": lambda: b"{}"}
        if path in pages and scope["method"] in ("GET", "HEAD"):
            return 200, pages[path]()
        if path not in (*pages, *PATHS):
            return 404, error_answer(SpiCode.INVALID_ARGUMENT, f"there is nothing here; post to {PATHS[0]}")
        if scope["method"] != "POST" or path in pages:
            return 405, error_answer(SpiCode.INVALID_ARGUMENT, "another method is expected here")
        body = await self._body(receive)
        if body is None:
            return 413, error_answer(SpiCode.INVALID_ARGUMENT, f"the body has more than {self._max_body_bytes} bytes")
        if not self._is_allowed(scope["headers"]):
            return 200, error_answer(SpiCode.UNAUTHENTICATED, "a bearer token that is known here is needed")
        try:
            return 200, await self._answer(body)
        except BodyError as error:
            return 400, error_answer(SpiCode.INVALID_ARGUMENT, error.message)
        except RequestError as error:
            return 200, error_answer(SpiCode.INVALID_ARGUMENT, error.message)
        except SpiError as error:
            return 200, error_answer(error.code, error.message)

    async def _body(self, receive: Receive) -> bytes | None:
        """The request's body; None if it is too large."""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                return None
            if not message.get("more_body"):
                return bytes(body)

    def _is_allowed(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        if self._authorization is None:
            return True
        given = [value for name, value in headers if name.lower() == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._authorization)

    async def _answer(self, body: bytes) -> bytes:
        request = read_request(body, self._max_rows)
        arguments = request.ids, request.fields, request.context
        try:
            result = self._fetch(*arguments) if self._is_coroutine else await asyncio.to_thread(self._fetch, *arguments)
            found = await result if inspect.isawaitable(result) else result
            if not isinstance(found, Mapping | Sequence) or isinstance(found, str | bytes):
                raise SpiError(SpiCode.INTERNAL_ERROR, "the fetch returned neither rows nor columns")
            return answer_of(request, found)
        except SpiError:
            raise
        except TimeoutError:
            raise SpiError(SpiCode.DEADLINE_EXCEEDED, "the fetch took too long") from None
        except Exception as error:  # noqa: BLE001 - a fetch may raise anything, and anything may be in its text
            logger.warning("the fetch failed with %s", type(error).__name__)
            raise SpiError(SpiCode.INTERNAL_ERROR, f"the fetch failed ({type(error).__name__})") from None


async def _live(receive: Receive, send: Send) -> None:
    """Nothing to start, nothing to stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
