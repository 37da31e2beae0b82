"""The contract of feature sources, with a real Redis."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    @pytest.fixture(params=["hash", "json"])
    def case(self, request, server, store):
        rows = {"a": (1.5, 1, "one"), "b": (-2.0, 2, "two"), "c": (0.0, 3, "")}
        for key, row in rows.items():
            record = dict(zip(("x", "n", "text"), row, strict=True))
            if request.param == "hash":
                store.hset(f"user:{key}", mapping=record)
            else:
                store.set(f"user:{key}", json.dumps(record))
        return FeatureSourceCase(
            component="redis",
            schema=Schema([("x", pa.float64()), ("n", pa.int64()), ("text", pa.utf8())]),
            rows=rows,
            options={
                "url": server.url,
                "key": "user:{id}",
                "layout": request.param,
                "connect_timeout": 0.2,
                "timeout": 0.2,
            },
            options_at=lambda host, port: {"url": f"redis://:s3cret@{host}:{port}/0"},
        )
