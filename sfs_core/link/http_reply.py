"""The bytes of HTTP/1.1 answers."""

from __future__ import annotations

import math
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from sfs_core.link.calls import Failure
from sfs_core.link.rpc import RpcCode

__all__ = ["CLOSE", "CONTINUE", "KEEP_ALIVE", "Reply", "accepted", "encoded_failure", "failure_reply", "refusal"]

CLOSE: Final = b"Connection: close\r\n"
KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_STATUS_OF: Final = {
    RpcCode.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    RpcCode.STOPPING: HTTPStatus.SERVICE_UNAVAILABLE,
    RpcCode.LIMIT: HTTPStatus.SERVICE_UNAVAILABLE,
    RpcCode.AUTHENTICATION: HTTPStatus.UNAUTHORIZED,
    RpcCode.PERMISSION: HTTPStatus.FORBIDDEN,
    RpcCode.QUOTA: HTTPStatus.TOO_MANY_REQUESTS,
}


def accepted(content_type: str, connection: bytes) -> bytes:
    """What comes before the body of an answer with status 200, with a place for the body's length."""
    line = b"%bContent-Length: %%d\r\nContent-Type: " % _STATUS_LINES[HTTPStatus.OK]
    return line + content_type.encode("latin-1").replace(b"%", b"%%") + b"\r\n" + connection + b"\r\n"


class Reply:
    """An answer before it is written: status, content type, body, and further header lines."""

    __slots__ = ("body", "content_type", "lines", "status")

    def __init__(self, status: int, content_type: str, body: bytes, lines: bytes = b"") -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.lines = lines

    def encode(self, *, connection: bytes = b"", head_only: bool = False) -> bytes:
        """All bytes of the answer.

        Args:
            connection: a whole `Connection:` header line, or nothing.
            head_only: leave the body out, as the answer to HEAD.
        """
        line = _STATUS_LINES.get(self.status) or b"HTTP/1.1 %d \r\n" % self.status
        return b"%bContent-Length: %d\r\nContent-Type: %b\r\n%b%b\r\n%b" % (
            line,
            len(self.body),
            self.content_type.encode("latin-1"),
            self.lines,
            connection,
            b"" if head_only else self.body,
        )


def refusal(status: HTTPStatus, code: RpcCode, text: str) -> Reply:
    """A plain text with brpc's number of the failure in a header."""
    return Reply(status, "text/plain", text.encode(), b"x-bd-error-code: %d\r\n" % code)


def failure_reply(failure: Failure) -> Reply:
    """What HTTP answers for a call that failed."""
    reply = refusal(_STATUS_OF.get(failure.code, HTTPStatus.INTERNAL_SERVER_ERROR), failure.code, failure.text)
    if failure.retry_after is not None:
        reply.lines += b"Retry-After: %d\r\n" % max(1, math.ceil(failure.retry_after))
    if failure.code == RpcCode.AUTHENTICATION:
        reply.lines += b"WWW-Authenticate: Bearer\r\n"  # HTTP wants to hear a way; others are documented
    return reply


@lru_cache(maxsize=64)
def encoded_failure(failure: Failure, connection: bytes, head_only: bool) -> bytes:
    """All bytes of what HTTP answers for a call that failed: under overload most are the same; see `Reply.encode`."""
    return failure_reply(failure).encode(connection=connection, head_only=head_only)
