"""The contract of feature sources, with fixed values and with random ones."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    @pytest.fixture
    def case(self):
        schema = Schema([("number", pa.float64()), ("whole", pa.int32()), ("text", pa.utf8()), ("flag", pa.bool_())])
        rows = dict.fromkeys("abc", (1.0, 1, "1", True))
        return FeatureSourceCase(component="mock", schema=schema, rows=rows, knows_every_id=True)
