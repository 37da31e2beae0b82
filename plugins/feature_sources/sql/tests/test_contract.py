"""The contract of feature sources, over SQLite files; services in trouble are asked as PostgreSQL."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    @pytest.fixture(params=["sqlite", "sqlite+aiosqlite"])
    def case(self, request, sqlite, tmp_path):
        rows = {"a": (1.5, 1, "one"), "b": (-2.0, 2, "two"), "c": (0.0, 3, "")}
        records = {"people": [(key, *row) for key, row in rows.items()]}
        url = sqlite("CREATE TABLE people (id TEXT PRIMARY KEY, x DOUBLE, n INTEGER, text TEXT)", rows=records)
        return FeatureSourceCase(
            component="sql",
            schema=Schema([("x", pa.float64()), ("n", pa.int64()), ("text", pa.utf8())]),
            rows=rows,
            options={
                "url": url.replace("sqlite", request.param),
                "table": "people",
                "key": "id",
                "connect_timeout": 0.2,
                "statement_timeout": 0.2,
            },
            base_directory=tmp_path,
            options_at=lambda host, port: {"url": f"postgresql+asyncpg://sfs:s3cret@{host}:{port}/features"},
        )
