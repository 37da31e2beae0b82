"""TCP relays between parties or to servers: one that damages answers, and one that remembers what it passed on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from sfs_core.link.framing import FrameCutter, read_meta
from sfs_core.proto.brpc_pb2 import RpcMeta

Damage = Callable[[bytes], bytes]
"""What becomes of bytes that a peer answers; raises ConnectionError to close the connection."""


class FaultyRelay:
    """Passes connections on to a port, and answers back as `damage` says.

    Attributes:
        port: its own.
        target: the port that new connections are passed on to.
        damage: what is done to answers; None for nothing.
    """

    def __init__(self, target: int) -> None:
        self.damage: Damage | None = None
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self._sockets |= {near, far}
                threading.Thread(target=self._pass_on, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(far, near, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(self._passed(data, answers))
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()
        self._sockets.discard(source)

    def _passed(self, data: bytes, answers: bool) -> bytes:
        return self.damage(data) if answers and self.damage is not None else data

    def close(self) -> None:
        """End everything."""
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Relay(FaultyRelay):
    """Remembers what it passes on: what one party received of another.

    Attributes:
        sent: all bytes towards `target`, in the order of arrival.
        answered: all bytes back.
    """

    def __init__(self, target: int) -> None:
        self.sent, self.answered = bytearray(), bytearray()
        super().__init__(target)

    def _passed(self, data: bytes, answers: bool) -> bytes:
        (self.answered if answers else self.sent).extend(data)
        return super()._passed(data, answers)


def garbage(data: bytes) -> bytes:
    """As many bytes that mean nothing."""
    return bytes((i * 37 + 11) % 256 for i in range(len(data)))


def half_and_gone(data: bytes) -> bytes:
    """Nothing; the connection breaks in the middle of an answer."""
    raise ConnectionError


def half(data: bytes) -> bytes:
    """The first half, and the rest never."""
    return data[: len(data) // 2]


def never(data: bytes) -> bytes:
    """Nothing."""
    return b""


def other_correlation_ids(data: bytes) -> bytes:
    """Whole answers, to calls that nobody made."""
    frames = b""
    for meta_bytes, payload in FrameCutter(1 << 26, 1 << 16).feed(data):
        meta = RpcMeta.FromString(meta_bytes)
        meta.correlation_id = read_meta(meta_bytes).correlation_id + 1_000_000
        changed = meta.SerializeToString()
        sizes = (len(changed) + len(payload)).to_bytes(4, "big") + len(changed).to_bytes(4, "big")
        frames += b"PRPC" + sizes + changed + payload
    return frames
