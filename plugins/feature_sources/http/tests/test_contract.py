"""The contract of feature sources, with a feature service made by `spi_app`."""

from __future__ import annotations

import socket
import threading

import pyarrow as pa
import pytest
import uvicorn

from sfs_core import Schema
from sfs_core.spi import spi_app
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract

ROWS = {"a": (1.5, 1, "one"), "b": (-2.0, 2, "two"), "c": (0.0, 3, "")}
NAMES = ("x", "n", "text")
PATH = "BatchFeatureService/BatchFetchFeature"


async def fetch(ids, fields, context):
    return [dict(zip(NAMES, ROWS[each], strict=True)) if each in ROWS else None for each in ids]


@pytest.fixture(scope="module")
def feature_service():
    """The address of a running service."""
    app = spi_app(fetch, token="t0ken-4711")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield "{}:{}".format(*listener.getsockname())
        server.should_exit = True
        thread.join()


class TestContract(FeatureSourceContract):
    @pytest.fixture
    def case(self, feature_service):
        return FeatureSourceCase(
            component="http",
            schema=Schema([("x", pa.float64()), ("n", pa.int64()), ("text", pa.utf8())]),
            rows=ROWS,
            options={
                "endpoint": f"http://{feature_service}/{PATH}",
                "token": "t0ken-4711",
                "timeout": 1.0,
                "connect_timeout": 0.5,
            },
            options_at=lambda host, port: {"endpoint": f"http://{host}:{port}/{PATH}", "timeout": 0.3},
            secrets=("t0ken-4711",),
        )
