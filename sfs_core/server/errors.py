"""How errors leave this party: code, safe text and request id; the rest goes to its own log."""

from __future__ import annotations

import logging
import re
import traceback
import uuid
from collections.abc import Mapping
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from sfs_core.codec.dialect import BodyError, from_json, to_json
from sfs_core.errors import ErrorCode, SfsError
from sfs_core.link.rpc import CallInfo, Encoding

M = TypeVar("M", bound=Message)

__all__ = ["decode_body", "encode_body", "request_id", "safe_error"]

_TRACE_HEADER: Final = "x-b3-traceid"
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}")


def request_id(info: CallInfo, headers: Mapping[str, str]) -> str:
    """The request's 32 hex digits: the caller's B3 trace id (HTTP header first, then the header map), or a new one."""
    given = info.headers.get(_TRACE_HEADER) or next((v for k, v in headers.items() if k.lower() == _TRACE_HEADER), "")
    return given.lower().zfill(32) if _TRACE_ID.fullmatch(given) else uuid.uuid4().hex


def safe_error(error: BaseException, logger: logging.Logger, what: str, request: str) -> tuple[ErrorCode, str]:
    """Code and text of an error for another party; logs what stays here.

    Args:
        error: what happened.
        logger: this party's log.
        what: the operation, for the log.
        request: the request id, for the log.
    """
    if isinstance(error, SfsError):
        text = error.public_text()
        logger.warning(
            "%s %s: code %d, %s%s", what, request, error.code, text, f" ({error.detail})" if error.detail else ""
        )
        return error.code, text
    # A bug of ours or of a library: its text may quote anything, so only its kind and place are told, and only here.
    place = "; ".join(f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-3:])
    logger.error("%s %s: unexpected %s at %s", what, request, type(error).__name__, place)
    return ErrorCode.UNEXPECTED_ERROR, "unexpected error, see this party's log"


def decode_body(body: bytes, info: CallInfo, message: M) -> M:
    """Fill `message` from a request body.

    Raises:
        BodyError: the body is no such message.
        RequestError: a field holds the wrong type (JSON).
    """
    if info.encoding is Encoding.JSON:
        from_json(body, message)
        return message
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise BodyError(f"the body is no {message.DESCRIPTOR.full_name} message") from None
    return message


def encode_body(message: Message, info: CallInfo, *, defaults: bool = True) -> bytes:
    """A response body in the request's encoding; see `codec.dialect.to_json` for `defaults`."""
    if info.encoding is Encoding.JSON:
        return to_json(message, defaults=defaults)
    return message.SerializeToString()
