"""A feature service that owes nothing to our own code, and can be told to break rules."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FIELDS = {"age": "FIELD_INT32", "rate": "FIELD_DOUBLE", "name": "FIELD_STRING"}
LISTS = {"FIELD_INT32": "i32s", "FIELD_INT64": "i64s", "FIELD_DOUBLE": "ds", "FIELD_STRING": "ss"}
IDS = [f"u{i}" for i in range(12)]
TABLE = {id_: {"age": i, "rate": 1 / (i + 1), "name": f"n{i}"} for i, id_ in enumerate(IDS)}

Answer = tuple[int, Any]
"""HTTP status, and what the body is the JSON of; bytes stand for themselves."""


def good_answer(asked: Any) -> Answer:
    """What a service that keeps all rules answers."""
    try:
        ids = asked["param"]["query_datas"]
        fields = [(field["name"], field["type"]) for field in asked["feature_fields"]]
    except (KeyError, TypeError):
        return 400, b"no request"
    missing = [id_ not in TABLE for id_ in ids]
    if any(missing) and "sfs-per-row" not in asked["header"]["data"]:
        return 200, {"status": {"code": 5}}
    ids = [id_ for id_ in ids if id_ in TABLE]
    marks = {"sfs-missing-rows": "".join(str(int(each)) for each in missing)} if any(missing) else {}
    if any(name not in FIELDS for name, _ in fields):
        return 200, {"status": {"code": 3}}
    features = [
        {"field": {"name": name, "type": type_}, "value": {LISTS[type_]: [TABLE[id_][name] for id_ in ids]}}
        for name, type_ in fields
    ]
    return 200, {"header": {"data": marks}, "status": {"code": 0}, "features": features}


@contextmanager
def serving(answer: Callable[[Any], Answer]) -> Iterator[str]:
    """The URL at which requests are answered by `answer`; it gets None for a body that is not JSON."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or long answers would wait for an acknowledgement
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                asked = json.loads(body)
            except ValueError:
                asked = None
            status, content = answer(asked)
            encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/BatchFeatureService/BatchFetchFeature"
        server.shutdown()
        thread.join()


@pytest.fixture
def probe() -> dict[str, Any]:
    """What the service has, as options of a Probe."""
    return {"features": FIELDS, "ids": IDS, "timeout": 60.0, "big_batch": 200, "concurrency": 8}
