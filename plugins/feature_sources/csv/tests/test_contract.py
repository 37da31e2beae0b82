"""The contract of feature sources."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    @pytest.fixture(params=["numbers", "mixed"])
    def case(self, request, tmp_path):
        (tmp_path / "f.csv").write_text("id,x,y,text\na,1,2.5,one\nb,3,4.5,two\nc,-1,0.25,\n")
        if request.param == "numbers":
            schema = Schema([("y", pa.float64()), ("x", pa.float64())])
            rows = {"a": (2.5, 1.0), "b": (4.5, 3.0), "c": (0.25, -1.0)}
        else:
            schema = Schema([("text", pa.utf8()), ("x", pa.int32())])
            rows = {"a": ("one", 1), "b": ("two", 3), "c": ("", -1)}
        return FeatureSourceCase(
            component="csv", schema=schema, rows=rows, options={"path": "f.csv"}, base_directory=tmp_path
        )
