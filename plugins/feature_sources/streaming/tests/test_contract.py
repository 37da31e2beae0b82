"""The contract of feature sources, for one whose rows are drawn."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    @pytest.fixture
    def case(self, tmp_path):
        (tmp_path / "f.csv").write_text("id,x,text\na,1,one\nb,3,two\nc,-1,three\n")
        return FeatureSourceCase(
            component="streaming",
            schema=Schema([("text", pa.utf8()), ("x", pa.int32())]),
            rows={"a": ("one", 1), "b": ("two", 3), "c": ("three", -1)},
            options={"path": "f.csv"},
            base_directory=tmp_path,
        )
