"""How errors leave this party: code, safe text and request id; the rest goes to its own log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from sfs_core.codec.dialect import BodyError, from_json, to_json
from sfs_core.errors import ErrorCode, SfsError
from sfs_core.link.rpc import CallInfo, Encoding
from sfs_core.observe.trace_context import new_trace, trace_of

M = TypeVar("M", bound=Message)

__all__ = ["decode_body", "encode_body", "request_id", "safe_error"]


def request_id(info: CallInfo, headers: Mapping[str, str]) -> str:
    """The request's 32 hex digits: the id of the trace that it belongs to, or a new one."""
    context = trace_of(info.headers, headers) or new_trace()
    return context.trace_id


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
