"""HTTP/2 without gRPC, as the reference's protocol `h2` is: it is not served, and told so in its own frames."""

from __future__ import annotations

from typing import Final

from sfs_core.link.http2_frames import DATA, END_HEADERS, FRAME_HEAD, GO_AWAY, HEADERS, SETTINGS, frame

__all__ = ["FirstRequest", "refusal"]

TEXT: Final = b"gRPC is what is served over HTTP/2 here: choose the protocol h2:grpc, http or baidu_std"

_PREFACE: Final = 24
_MOST_BYTES: Final = 64 << 10
_ACK, _END_STREAM = 1, 1
_GRPC: Final = (b"application/grpc", bytes.fromhex("1d75d0620d263d4c4d6564"))
"""How the content types of gRPC begin, as they are and in HPACK's Huffman code. No table of a new connection has them,
so one of the two is in the first request's headers."""
_STATUS_415: Final = b"\x08\x03415"
_PLAIN_TEXT: Final = b"\x0f\x10\x0atext/plain"


class FirstRequest:
    """Looks at what a client sends, until it is known whether its first request is one of gRPC."""

    def __init__(self) -> None:
        self._seen = b""
        self._at = _PREFACE
        self.known = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come yet."""
        return not self._seen and not self.known

    def feed(self, data: bytes) -> int | None:
        """Look at more bytes, from the connection's preface on; the stream of a first request that is not gRPC's."""
        self._seen += data
        while len(self._seen) >= self._at + FRAME_HEAD:
            length = int.from_bytes(self._seen[self._at : self._at + 3])
            kind, flags = self._seen[self._at + 3], self._seen[self._at + 4]
            end = self._at + FRAME_HEAD + length
            if len(self._seen) < end:
                break
            if kind == HEADERS:
                return self._judge(flags, end)
            self._at = end
        if self._at > _MOST_BYTES or len(self._seen) > _MOST_BYTES:
            self._know()
        return None

    def _judge(self, flags: int, end: int) -> int | None:
        stream = int.from_bytes(self._seen[self._at + 5 : self._at + FRAME_HEAD])
        headers = self._seen[self._at + FRAME_HEAD : end]
        self._know()
        is_grpc = any(beginning in headers for beginning in _GRPC)
        return stream if flags & END_HEADERS and not is_grpc else None

    def _know(self) -> None:
        self.known = True
        self._seen = b""


def refusal(stream: int, *, acknowledge: bool) -> bytes:
    """What such a client is sent: an answer with status 415 and a text, and that the connection ends.

    Args:
        stream: of the request.
        acknowledge: the client's settings have not been acknowledged yet.
    """
    return b"".join(
        [
            frame(SETTINGS, 0, 0, b""),
            frame(SETTINGS, _ACK, 0, b"") if acknowledge else b"",
            frame(HEADERS, END_HEADERS, stream, _STATUS_415 + _PLAIN_TEXT),
            frame(DATA, _END_STREAM, stream, TEXT),
            frame(GO_AWAY, 0, 0, stream.to_bytes(4) + bytes(4) + TEXT),
        ]
    )
