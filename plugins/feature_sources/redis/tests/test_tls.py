"""Redis over TLS. The server at hand is built without it: what stands in front of it speaks TLS."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from sfs_core import ConfigError, ErrorCode, FeatureQuery, Schema, SfsError
from tests.support.certificates import Certificates

X = Schema([("x", pa.float64())])


class TlsFront:
    """Speaks TLS on a port of its own, and passes on to another one.

    Attributes:
        port: its own.
        shown: the certificate that each client showed.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.shown: list[object] = []
        self._target, self._context = port, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(near,)))
                self._threads[-1].start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            near.settimeout(60)
            with self._context.wrap_socket(near, server_side=True) as client:
                self._open.add(client)
                self.shown.append(client.getpeercert())
                with socket.create_connection(("127.0.0.1", self._target)) as server:
                    while self._pass_on(client, server):
                        pass

    def _pass_on(self, client: ssl.SSLSocket, server: socket.socket) -> bool:
        """What one of them has sent; False at its end."""
        others = {client: server, server: client}
        for each in [client] if client.pending() else select.select([client, server], [], [])[0]:
            data = each.recv(1 << 16)
            if not data:
                return False
            others[each].sendall(data)
        return True

    def cut(self) -> None:
        """End all connections."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def front(server, certificates):
    """Makes a front whose certificate is made out to a name; it wants to see one of its clients, too."""
    made = []

    def make_front(name="127.0.0.1"):
        files = certificates.files(f"redis-{name}", name)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca_file)
        context.load_cert_chain(files.certificate_file, files.key_file)
        context.verify_mode = ssl.CERT_REQUIRED
        made.append(TlsFront(server.port, context))
        return made[-1]

    yield make_front
    for each in made:
        each.close()


def options(front: TlsFront, certificates: Certificates, ca_file: Path | None = None) -> dict[str, object]:
    own = certificates.options("client", "alice")
    return {
        **own,
        "url": f"rediss://127.0.0.1:{front.port}/0",
        "ca_file": str(ca_file or certificates.ca_file),
        "connect_timeout": 30,
        "timeout": 30,
    }


async def test_rows_come_over_tls_with_certificates_of_both_sides(make, store, front, certificates):
    store.hset("user:a", "x", "1.5")
    made = front()
    source = make(X, **options(made, certificates))
    assert (await source.fetch(FeatureQuery(["a"]))).batch.rows() == [(1.5,)]
    assert made.shown
    assert all("alice" in str(shown) for shown in made.shown)


async def test_certificates_are_followed_and_keys_may_be_encrypted(make, store, front, certificates, tmp_path):
    store.hset("user:a", "x", "1.5")
    made = front()
    files = [certificates.files(f"encrypted-{name}", password="s3cret", party=name) for name in ("alice", "bob")]
    paths = {"certificate_file": "own.crt", "key_file": "own.key"}

    def put(number):
        (tmp_path / "own.crt").write_bytes(files[number].certificate_file.read_bytes())
        (tmp_path / "own.key").write_bytes(files[number].key_file.read_bytes())

    put(0)
    with pytest.raises(ConfigError, match=r"key_password: .* cannot be decrypted"):
        make(X, **options(made, certificates) | paths, key_password="secret")
    source = make(X, **options(made, certificates) | paths, key_password="s3cret")
    assert (await source.fetch(FeatureQuery(["a"]))).batch.rows() == [(1.5,)]
    assert "alice" in str(made.shown[-1])
    put(1)
    while "bob" not in str(made.shown[-1]):
        made.cut()
        await asyncio.sleep(0.05)
        assert (await source.fetch(FeatureQuery(["a"]))).batch.rows() == [(1.5,)]


async def test_a_server_made_out_to_another_name_is_not_asked(make, front, certificates):
    with pytest.raises(SfsError) as caught:
        make(X, **options(front("localhost"), certificates))
    assert caught.value.code == ErrorCode.NETWORK_ERROR


async def test_a_server_of_another_authority_is_not_asked(make, front, certificates):
    with pytest.raises(SfsError) as caught:
        make(X, **options(front(), certificates, certificates.folder / "other-ca.crt"))
    assert caught.value.code == ErrorCode.NETWORK_ERROR
