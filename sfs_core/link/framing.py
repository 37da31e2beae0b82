"""Frames of brpc's `baidu_std` protocol.

A frame is `PRPC`, the size of its body and of the meta data at the body's start (4 bytes each, big-endian), the meta
data (`RpcMeta`), the message, and an attachment, which nobody here uses.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from sfs_core.codec.dialect import BodyError
from sfs_core.link.compression import gunzip, inflate
from sfs_core.proto.brpc_pb2 import CancelRequest, RpcMeta, RpcRequestMeta, RpcResponseMeta

__all__ = [
    "CANCEL",
    "CANCEL_ID",
    "MAGIC",
    "FrameCutter",
    "FrameError",
    "cancel_frame",
    "cancelled_id",
    "error_frame",
    "message_of",
    "read_meta",
    "request_frame",
    "response_frame",
]

MAGIC: Final = b"PRPC"
HEADER_SIZE: Final = 12
_HEADER: Final = struct.Struct(">4sII")
# Field keys of RpcMeta; compress_type 0 is written out, as brpc does.
_RESPONSE_HEAD: Final = b"\x12\x02\x08\x00\x18\x00\x20"  # response {error_code: 0}, compress_type: 0, correlation_id: …
_REQUEST_TAIL: Final = b"\x18\x00\x20"  # compress_type: 0, correlation_id: …
_TIMEOUT_KEY: Final = b"\x40"
CANCEL: Final = ("sfs.CallService", "Cancel")
"""Service and method by which a party has a call stop that it made on the same connection, an extension of brpc's
protocol. It is answered like any call; who does not know it answers that there is no such service."""
CANCEL_ID: Final = 0
"""The correlation id of such calls; those of others begin at 1."""
_CANCEL_MS: Final = 1000
_GZIP: Final = 2
_ZLIB: Final = 3


class FrameError(Exception):
    """The bytes are no frames, or larger than accepted; nothing after them can be read."""


class FrameCutter:
    """Cuts a stream into frames.

    Args:
        max_body: bytes of a message.
        max_meta: bytes of meta data.
    """

    def __init__(self, max_body: int, max_meta: int) -> None:
        self._max_body = max_body
        self._max_meta = max_meta
        self._pending = bytearray()
        self._needed = HEADER_SIZE

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that `data` completes: meta data and message of each.

        Raises:
            FrameError: not a frame, or too large. Nothing is allocated for what a header merely claims.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        frames: list[tuple[bytes, bytes]] = []
        start, size = 0, len(data)
        self._needed = HEADER_SIZE
        while size - start >= HEADER_SIZE:
            body_start = start + HEADER_SIZE
            body_size, meta_size = self._sizes(data, start)
            end = body_start + body_size
            if end > size:
                self._needed = HEADER_SIZE + body_size
                break
            meta_end = body_start + meta_size
            frames.append((data[body_start:meta_end], data[meta_end:end]))
            start = end
        if start < size:
            self._pending += data[start:]
        return frames

    def _sizes(self, data: bytes, start: int) -> tuple[int, int]:
        magic, body_size, meta_size = _HEADER.unpack_from(data, start)
        if magic != MAGIC:
            raise FrameError("no baidu_std frame")
        if meta_size > body_size or meta_size > self._max_meta or body_size - meta_size > self._max_body:
            raise FrameError(f"a frame of {body_size} bytes, {meta_size} of them meta data, is not accepted")
        return body_size, meta_size

    @property
    def incomplete(self) -> bool:
        """Whether the stream stands inside a frame."""
        return bool(self._pending)

    @property
    def pending(self) -> int:
        """Bytes of the frame begun."""
        return len(self._pending)

    @property
    def in_header(self) -> bool:
        """Whether the size of the frame begun is still unknown."""
        return len(self._pending) < HEADER_SIZE


def read_meta(data: bytes) -> RpcMeta:
    """A frame's meta data.

    Raises:
        FrameError: it cannot be read, so nobody knows which call the frame belongs to.
    """
    try:
        return RpcMeta.FromString(data)
    except DecodeError:
        raise FrameError("the meta data of a frame cannot be read") from None


def message_of(meta: RpcMeta, payload: bytes, limit: int) -> bytes:
    """The message of a frame without attachment and compression; at most `limit` bytes.

    Raises:
        BodyError: the attachment is larger than the frame, or the message is badly or unreadably compressed.
    """
    attachment = meta.attachment_size
    if attachment:
        if not 0 < attachment <= len(payload):
            raise BodyError("attachment_size does not fit the frame")
        payload = payload[:-attachment]
    compression = meta.compress_type
    if not compression:
        return payload
    if compression == _GZIP:
        return gunzip(payload, limit)
    if compression == _ZLIB:
        return inflate(payload, limit)
    raise BodyError(f"compress_type {compression} is not supported; use none, gzip or zlib")


def request_frame(service: str, method: str, correlation_id: int, timeout_ms: int, message: bytes) -> bytes:
    """A call; `service` is the fully qualified name."""
    names = _request_names(service, method)
    timeout = _TIMEOUT_KEY + _varint(timeout_ms)
    call = _varint(len(names) + len(timeout)) + names + timeout
    return _frame(b"\x0a" + call + _REQUEST_TAIL + _varint(correlation_id), message)


@lru_cache(maxsize=64)
def _request_names(service: str, method: str) -> bytes:
    return RpcRequestMeta(service_name=service, method_name=method).SerializeToString()


def cancel_frame(correlation_id: int) -> bytes:
    """Has a call stop."""
    return request_frame(
        *CANCEL, CANCEL_ID, _CANCEL_MS, CancelRequest(correlation_id=correlation_id).SerializeToString()
    )


def cancelled_id(message: bytes) -> int:
    """The correlation id of the call that a cancelling one is about.

    Raises:
        BodyError: the message cannot be read.
    """
    try:
        return CancelRequest.FromString(message).correlation_id
    except DecodeError:
        raise BodyError("the body is no CancelRequest") from None


def response_frame(correlation_id: int, message: bytes) -> bytes:
    """The answer to a call."""
    return _frame(_RESPONSE_HEAD + _varint(correlation_id), message)


def error_frame(correlation_id: int, code: int, text: str) -> bytes:
    """The refusal of a call."""
    response = RpcResponseMeta(error_code=code, error_text=text)
    return _frame(RpcMeta(response=response, correlation_id=correlation_id).SerializeToString(), b"")


def _frame(meta: bytes, message: bytes) -> bytes:
    return b"".join((_HEADER.pack(MAGIC, len(meta) + len(message), len(meta)), meta, message))


def _varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFF_FFFF_FFFF_FFFF  # negative numbers travel as their 64-bit two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
