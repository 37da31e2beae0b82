"""What a call can fail with."""

from __future__ import annotations

import re
from typing import Final

from sfs_core.errors import ErrorCode, SfsError

__all__ = ["DeadlineError", "ServiceError", "UnavailableError", "service_error"]

_REQUEST_ID: Final = re.compile(r"\[([0-9a-f]{32})\] ")


class ServiceError(SfsError):
    """The server answered that it cannot give the scores.

    Attributes:
        code: why, as the servers number it.
        status: the number itself, also where this version has no name for it.
        request_id: 32 hex digits by which the parties' logs and traces know the request; empty where none was told.
    """

    def __init__(self, message: str, *, status: int, request_id: str = "") -> None:
        super().__init__(message, code=status)
        self.status = status
        self.request_id = request_id


class UnavailableError(SfsError):
    """No answer came: the server cannot be reached, refused the call, or the connection was lost.

    Attributes:
        may_have_run: whether the server may have worked on the request all the same.
    """

    default_code = ErrorCode.NETWORK_ERROR

    def __init__(self, message: str, *, may_have_run: bool) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run


class DeadlineError(UnavailableError):
    """No answer came in time; the server may still be at it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, may_have_run=True)


def service_error(code: int, text: str) -> ServiceError:
    """The error of an answer's status, whose text begins with the request's id in brackets."""
    found = _REQUEST_ID.match(text)
    return ServiceError(
        text[found.end() :] if found else text or f"the server answered code {code}",
        status=code,
        request_id=found[1] if found else "",
    )
