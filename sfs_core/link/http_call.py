"""Plain calls over HTTP/1.1, recognised without a parser: what most clients send, where it is not to be read."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["target_of_call"]

_HEADER: Final = (
    rb"(?:(?!content-length|transfer-encoding|connection|expect|upgrade)[!#$%&'*+.^_`|~0-9a-z-]+:[\t -~]*\r\n"
    rb"|connection: ?keep-alive\r\n)*+"
)
_HEAD: Final = re.compile(
    rb"POST (/[!-~]*) HTTP/1\.1\r\n(?i:%bcontent-length: ?([0-9]{1,9})\r\n%b)\r\n" % (_HEADER, _HEADER)
)


def target_of_call(data: bytes) -> bytes | None:
    """Where a POST goes that is whole, has nothing after it, and leaves its connection open; None also where unsure."""
    head = _HEAD.match(data)
    return head[1] if head is not None and head.end() + int(head[2]) == len(data) else None
