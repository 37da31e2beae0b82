"""What a server offers over its ports, whatever the transport: handlers by service and method, and plain pages."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote

import httptools

from sfs_core.link.later import Later

__all__ = [
    "CallInfo",
    "Encoding",
    "Handler",
    "Limits",
    "Page",
    "Resource",
    "Routes",
    "RpcCode",
    "WebAnswer",
    "WebHandler",
]


class Encoding(Enum):
    """How a request body, and the answer to it, is written."""

    PROTO = "proto"
    JSON = "json"


class RpcCode(IntEnum):
    """Failures of a call itself, as brpc numbers them; a handler's own verdict travels inside its answer instead."""

    PERMISSION = 1
    """The caller may not ask this."""
    QUOTA = 11
    """The caller asks too often or too much."""
    NO_SERVICE = 1001
    """There is no such RPC service."""
    NO_METHOD = 1002
    """There is no such method or path."""
    BAD_REQUEST = 1003
    """The request cannot be read."""
    AUTHENTICATION = 1004
    """The caller is not known."""
    TIMEOUT = 1008
    """It took longer than the caller waits."""
    INTERNAL = 2001
    """The handler failed; the log of the party has more."""
    STOPPING = 2003
    """The server is stopping: ask another one."""
    LIMIT = 2004
    """Too many calls are under way: ask again."""


@dataclass(slots=True)
class CallInfo:
    """What is known of a call beside its body.

    Args:
        encoding: of the request body, and of the answer that is expected.
        transport: `baidu_std`, `http` or `grpc`.
        peer: address of the other end; for the party's own log only.
        headers: HTTP headers but Content-Length, or gRPC's metadata, with lower-case names; empty for `baidu_std`.
        timeout: seconds the caller is going to wait, where it said so.
        names: whom the client's verified TLS certificate is made out to, as `certificate_names` writes them; None
            where it showed none.
    """

    encoding: Encoding
    transport: str
    peer: str
    headers: Mapping[str, str]
    timeout: float | None = None
    names: frozenset[str] | None = None


Handler = Callable[[bytes, CallInfo], bytes | Later[bytes] | Awaitable[bytes]]
"""Takes a request body, gives the answer's body, both in `CallInfo.encoding`, at once or later.

A `codec.dialect.BodyError` is answered as a bad request; any other exception as an internal error with a fixed text.
"""

Page = Callable[[], tuple[int, str, bytes]]
"""Gives HTTP status, content type and body; for GET and POST alike."""


class WebAnswer(NamedTuple):
    """What a resource gives: an HTTP status, a content type, and a body."""

    status: int
    content_type: str
    body: bytes


WebHandler = Callable[[bytes, CallInfo], "WebAnswer | Awaitable[WebAnswer]"]
"""Takes a request body as it was sent, whatever its content type; fails as a `Handler` does."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that is served over HTTP alone.

    Args:
        method: `GET` (and then HEAD as well) or `POST`.
        path: segments in braces are parameters, `/v2/models/{model}/infer`.
        handler: called with the parameters by name, beside body and `CallInfo`.
    """

    method: str
    path: str
    handler: Callable[..., WebAnswer | Awaitable[WebAnswer]]

    def match(self, segments: Sequence[str]) -> WebHandler | None:
        """The handler with the path's parameters, if it is one of this resource's paths."""
        own = self.path.split("/")
        if len(own) != len(segments):
            return None
        parameters = {}
        for name, value in zip(own, segments, strict=True):
            if name.startswith("{") and value:
                parameters[name[1:-1]] = unquote(value)
            elif name != value:
                return None
        return partial(self.handler, **parameters)


@dataclass(frozen=True)
class Limits:
    """What a listener puts up with.

    Args:
        max_body: bytes of a request body, also after decompression.
        max_header: bytes of an HTTP request's line and headers, of gRPC's metadata, or of a frame's meta data.
        header_timeout: seconds for the first bytes of a connection, and for the head of a request once it has begun.
        body_timeout: seconds for the rest of a request.
        idle_timeout: seconds that an HTTP connection may stay open without a request; HTTP/2 clients are asked after
            so many whether they are still there. `baidu_std` connections stay open, as peers expect; TCP keep-alive
            finds the dead ones.
        max_connections: further ones are closed at once.
        max_streams: calls under way at a time on one HTTP/2 connection; clients wait with further ones.
        max_calls: answers being worked on at a time, None for any number; further calls are refused.
        max_bytes: bytes of request bodies at a time, being received or worked on, over all connections; further calls
            are refused.
        target_seconds: seconds that calls may take before fewer of them are let in; None for any time.
        write_timeout: seconds within which a client has to take what is written to it, once that has piled up.
    """

    max_body: int = 64 << 20
    max_header: int = 64 << 10
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    idle_timeout: float = 75.0
    max_connections: int = 10_000
    max_streams: int = 100
    max_calls: int | None = None
    max_bytes: float = math.inf
    target_seconds: float | None = None
    write_timeout: float = 30.0


@dataclass(frozen=True)
class Routes:
    """What can be called.

    Args:
        handlers: by fully qualified service name and method; callers may leave the package name out.
        pages: by HTTP path.
        resources: looked at in their order, after all others.
    """

    handlers: Mapping[tuple[str, str], Handler]
    pages: Mapping[str, Page] = field(default_factory=dict)
    resources: Sequence[Resource] = ()
    _found: dict[tuple[str, str], Handler] = field(init=False, repr=False, default_factory=dict)
    _by_path: dict[bytes, Handler] = field(init=False, repr=False, default_factory=dict)
    _services: set[str] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        for (service, method), handler in self.handlers.items():
            for name in {service, service.rpartition(".")[2]}:
                if (name, method) in self._found:
                    raise ValueError(f"two handlers would be reached as {name}/{method}")
                self._found[name, method] = handler
                self._by_path[f"/{name}/{method}".encode()] = handler
                self._services.add(name)

    def find(self, service: str, method: str) -> Handler | None:
        """The handler of a method; the service by its full or its short name."""
        return self._found.get((service, method))

    def has_service(self, service: str) -> bool:
        """Whether any method of this service is served."""
        return service in self._services

    def handler_at(self, target: bytes) -> Handler | None:
        """The handler of an HTTP request target: `/Service/Method`, whatever follows in path and query."""
        handler = self._by_path.get(target)
        if handler is not None:
            return handler
        segments = [segment for segment in _path(target).split(b"/") if segment]  # proxies double slashes
        return self._by_path.get(b"/" + b"/".join(segments[:2]))

    def page_at(self, target: bytes) -> Page | None:
        """The page of an HTTP request target; its query does not matter."""
        return self.pages.get("/" + _path(target).decode("latin-1").strip("/"))

    def resources_at(self, target: bytes) -> dict[str, WebHandler]:
        """What is served at an HTTP request target, by HTTP method."""
        if not self.resources:
            return {}
        segments = _path(target).decode("latin-1").split("/")
        found = ((each.method, each.match(segments)) for each in self.resources)
        return {method: handler for method, handler in found if handler is not None}


def _path(target: bytes) -> bytes:
    try:
        return httptools.parse_url(target).path or b""
    except httptools.HttpParserInvalidURLError:
        return b""
