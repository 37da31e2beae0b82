"""The contract of operators."""

from __future__ import annotations

import pyarrow as pa
import pytest
from sfs_op_arrow.operator import ArrowProcessing

from sfs_core.testing import OperatorCase, OperatorContract, make_operator


class TestContract(OperatorContract):
    @pytest.fixture
    def case(self, record, schema):
        recorder = record(schema)
        doubled = recorder.call("multiply", recorder.column(0), 2.0)
        recorder.set(0, "x", doubled)
        output = pa.schema([("x", pa.float64()), ("n", pa.int64())])
        attributes = {
            "input_schema_bytes": schema.serialize().to_pybytes(),
            "output_schema_bytes": output.serialize().to_pybytes(),
            "trace_content": recorder.trace.SerializeToString(),
        }
        names = {"first": [], "second": ["first"], "third": ["second"]}
        return OperatorCase(
            component="ARROW_PROCESSING",
            attributes=attributes,
            execution=[make_operator(ArrowProcessing, attributes, parents, name=n) for n, parents in names.items()],
            inputs=[[(1.5, 1), (-2.0, 2)]],
            expected=[(3.0, 1), (-4.0, 2)],
            takes_nulls=True,
        )
