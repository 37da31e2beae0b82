"""Heads of HTTP/1.1 requests: the line and the headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sfs_core.link.http_reply import CLOSE, KEEP_ALIVE, accepted
from sfs_core.link.rpc import CallInfo, Encoding

__all__ = ["JSON_TYPE", "PROTO_TYPES", "UNREAD_TYPE", "Head", "KnownHeads"]

JSON_TYPE: Final = "application/json"
PROTO_TYPES: Final = ("application/proto", "application/x-protobuf")
UNREAD_TYPE: Final = "application/proto-text"
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_MOST_DIGITS: Final = 9
_MOST_KNOWN: Final = 4
_LARGEST_KNOWN: Final = 2048
"""Bytes of a head that is remembered, so that connections stay small."""
_MOST_IN_VAIN: Final = 16
"""After so many heads in a row that no request came with again, none is looked for any more: each is another."""


class Head:
    """What a request's head says.

    Args:
        method: in capitals.
        target: as it was sent.
        headers: by names in lower case, without Content-Length.
        keep_alive: whether further requests may follow.
        old: whether it speaks HTTP/1.0, whose clients are to be told that the connection is kept.
        peer, names: as of `CallInfo`.

    Attributes:
        content_type: media type in lower case; JSON where it names none.
        coding: of the content, in lower case; `identity` for none.
        fault: what is wrong with it, for calls; empty where nothing is.
        is_plain: whether a call's body is what the handler wants.
        info: what handlers are told.
        answer_type: media type of the answer to a call that went well.
        connection: the line that answers say of the connection, or nothing.
        accepted: the first part of the answer to a call that went well, with a place for its length.
    """

    __slots__ = (
        "accepted",
        "answer_type",
        "coding",
        "connection",
        "content_type",
        "fault",
        "headers",
        "info",
        "is_plain",
        "keep_alive",
        "method",
        "old",
        "target",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Mapping[str, str],
        *,
        keep_alive: bool,
        old: bool,
        peer: str,
        names: frozenset[str] | None,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.keep_alive = keep_alive
        self.old = old
        self.content_type = headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
        self.fault, timeout = "", None
        if (seconds := headers.get("x-request-timeout")) is not None:
            if _SECONDS.fullmatch(seconds):
                timeout = float(seconds)
            else:
                self.fault = "X-Request-Timeout is no number of seconds"
        self.coding = headers.get("content-encoding", "identity").strip().lower()
        self.is_plain = not self.fault and self.coding == "identity" and self.content_type != UNREAD_TYPE
        is_proto = self.content_type in PROTO_TYPES
        self.info = CallInfo(Encoding.PROTO if is_proto else Encoding.JSON, "http", peer, headers, timeout, names)
        self.connection = CLOSE if not keep_alive else KEEP_ALIVE if old else b""
        self.answer_type = self.content_type if is_proto else JSON_TYPE
        self.accepted = accepted(self.answer_type, self.connection)


class KnownHeads:
    """Heads that came over one connection.

    Clients send the same head again and again, but for the number in Content-Length. What the parser made of one is
    right for all others that differ in nothing else, so that these need no parser.
    """

    __slots__ = ("_heads", "_in_vain")

    def __init__(self) -> None:
        self._heads: dict[tuple[bytes, bytes], Head] = {}  # by what stands before and after the number
        self._in_vain = 0

    def cut(self, data: bytes) -> tuple[Head, bytes] | None:
        """Head and body, where `data` is exactly one request whose head is known."""
        for (before, after), head in self._heads.items():
            if data.startswith(before):
                start = len(before)
                end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
                length = data[start:end]
                if data.startswith(after, end) and length.isdigit():
                    body = data[end + len(after) :]
                    if int(length) == len(body):
                        self._in_vain = 0
                        return head, body
        return None

    def learn(self, data: bytes, head: Head, length: str, body: bytes) -> None:
        """Remember the head of `data`, which the parser read as exactly one request with this Content-Length."""
        if self._in_vain > _MOST_IN_VAIN:
            self._heads.clear()
            return
        self._in_vain += 1
        end = data.find(_END) + len(_END)
        match = _LENGTH.search(data, 0, end)
        # A head can be written so that the parser sees its end or its length elsewhere.
        if match is None or data[end:] != body or int(match[1]) != len(body) or int(length or -1) != len(body):
            return
        if end > _LARGEST_KNOWN or "expect" in head.headers:
            return
        if len(self._heads) >= _MOST_KNOWN:
            self._heads.clear()
        self._heads[data[: match.start(1)], data[match.end(1) : end]] = head
