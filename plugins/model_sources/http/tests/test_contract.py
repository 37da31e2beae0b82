"""The contract of model sources, with a web server."""

from __future__ import annotations

import http.server
import threading

import pytest

from sfs_core.testing import ModelSourceCase, ModelSourceContract


class Handler(http.server.BaseHTTPRequestHandler):
    """`/package` is one, `/cut` breaks off half-way."""

    content = b""

    def do_GET(self):
        found = self.path in {"/package", "/cut"}
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(self.content if self.path == "/package" else self.content[: len(self.content) // 2])

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the rules


@pytest.fixture(scope="module")
def web():
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestContract(ModelSourceContract):
    @pytest.fixture
    def case(self, web, content):
        Handler.content = content
        return ModelSourceCase(
            component="http",
            path=f"{web}/package",
            missing=f"{web}/nothing",
            truncated=f"{web}/cut",
            path_at=lambda host, port: f"http://{host}:{port}/package",
            options={"token": "t0ken-4711", "connect_timeout": 0.5, "timeout": 0.5, "resumptions": 0},
            secrets=("t0ken-4711",),
        )
