"""Frames of HTTP/2: where one ends, and the one that sends a client away."""

from __future__ import annotations

from typing import Final

__all__ = ["DATA", "END_HEADERS", "FRAME_HEAD", "GO", "GO_AWAY", "HEADERS", "SETTINGS", "Frames", "frame"]

FRAME_HEAD: Final = 9
"""Bytes before a frame's payload: length (3), kind, flags, stream (4)."""
DATA, HEADERS, SETTINGS, GO_AWAY, CONTINUATION = 0, 1, 4, 7, 9
END_HEADERS: Final = 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame's bytes."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


GO: Final = frame(GO_AWAY, 0, 0, (2**31 - 1).to_bytes(4) + bytes(4))
"""Begin no more calls on this connection; all that have been begun are answered."""


class Frames:
    """Follows what a server sends, to know where a frame may be put in between.

    Attributes:
        complete: whether one may follow what has been sent so far: not before the server's settings, which come first,
            not inside of a frame, not between the parts of one call's headers.
    """

    def __init__(self) -> None:
        self._head = b""
        self._next = 0
        self._parts_follow = True
        self.complete = False

    def feed(self, data: bytes) -> int | None:
        """Follow more bytes; the last place in them where a frame may be put in, if there is one."""
        held = len(self._head)
        data = self._head + data if held else data
        at, size = self._next, len(data)
        place = None if self._parts_follow or held or at > size else at
        while at + FRAME_HEAD <= size:
            kind, flags = data[at + 3], data[at + 4]
            self._parts_follow = kind in (HEADERS, CONTINUATION) and not flags & END_HEADERS
            at += FRAME_HEAD + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if at <= size and not self._parts_follow:
                place = at - held
        self._head, self._next = data[at:], max(at - size, 0)
        self.complete = at == size and not self._parts_follow
        return place
