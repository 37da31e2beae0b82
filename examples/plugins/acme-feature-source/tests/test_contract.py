from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    """Every rule that SFS has for feature sources; `pytest --sfs-report` prints which are kept."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> FeatureSourceCase:
        records = [{"id": "a", "age": 41.0, "city": "Bonn"}, {"id": "b", "age": 0.5, "city": "Rome"}]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, records)))
        return FeatureSourceCase(
            component="jsonl",
            schema=Schema([("age", pa.float64()), ("city", pa.utf8())]),
            rows={record["id"]: (record["age"], record["city"]) for record in records},
            options={"path": "rows.jsonl"},
            base_directory=tmp_path,
        )
