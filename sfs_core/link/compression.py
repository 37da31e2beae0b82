"""Decompression that cannot be made to fill the memory."""

from __future__ import annotations

import zlib

from sfs_core.codec.dialect import BodyError

__all__ = ["TooLargeError", "gunzip", "inflate"]


class TooLargeError(BodyError):
    """A body is larger than the limit."""


def gunzip(data: bytes, limit: int) -> bytes:
    """The contents of one gzip member of at most `limit` bytes.

    Raises:
        TooLargeError: there is more in it.
        BodyError: it is not gzip, or cut off.
    """
    return _expand(data, limit, 16 + zlib.MAX_WBITS)


def inflate(data: bytes, limit: int) -> bytes:
    """The contents of a zlib stream of at most `limit` bytes; errors as `gunzip`."""
    return _expand(data, limit, zlib.MAX_WBITS)


def _expand(data: bytes, limit: int, window: int) -> bytes:
    decoder = zlib.decompressobj(window)
    try:
        expanded = decoder.decompress(data, limit + 1)
    except zlib.error:
        raise BodyError("the compressed body is damaged") from None
    if len(expanded) > limit:
        raise TooLargeError(f"the body expands to more than {limit} bytes")
    if not decoder.eof or decoder.unused_data:
        raise BodyError("the compressed body is cut off, or something follows it")
    return expanded
