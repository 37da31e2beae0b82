"""Helpers for the tests of the arrow operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import json_format
from sfs_op_arrow.operator import ArrowProcessing

from sfs_core import Batch, ComputeContext, NodeSpec, compute_pb2
from sfs_core.sdk.operator import AttributeValue


@dataclass(frozen=True)
class Data:
    """A result of an earlier function."""

    data_id: int


class Recorder:
    """Records calls as SecretFlow's tracer does: Python bool and int as i64, float as d, float32 as f, str as s."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.trace = compute_pb2.ComputeTrace(name="recorded")
        self.table = Data(0)

    def call(self, name: str, *inputs: Any, options: Any = None) -> Data:
        """Record a function; its result."""
        function = self.trace.func_traces.add(name=name)
        function.output.data_id = len(self.trace.func_traces)
        if options is not None:
            function.option_bytes = options.serialize().to_pybytes()
        for value in inputs:
            item = function.inputs.add()
            match value:
                case Data():
                    item.data_id = value.data_id
                case compute_pb2.Scalar():
                    item.custom_scalar.CopyFrom(value)
                case bool() | int():
                    item.custom_scalar.i64 = value
                case np.float32():
                    item.custom_scalar.f = value
                case float():
                    item.custom_scalar.d = value
                case str():
                    item.custom_scalar.s = value
        return Data(function.output.data_id)

    def column(self, index: int) -> Data:
        return self.call("EFN_TB_COLUMN", self.table, index)

    def add(self, index: int, name: str, values: Data) -> None:
        self.table = self.call("EFN_TB_ADD_COLUMN", self.table, index, name, values)

    def set(self, index: int, name: str, values: Data) -> None:
        self.table = self.call("EFN_TB_SET_COLUMN", self.table, index, name, values)

    def remove(self, index: int) -> None:
        self.table = self.call("EFN_TB_REMOVE_COLUMN", self.table, index)

    def operator(self, output: Any, *, as_json: bool = False) -> ArrowProcessing:
        content = json_format.MessageToJson(self.trace).encode() if as_json else self.trace.SerializeToString()
        return make_operator(self.schema, output, content, as_json=as_json)


def make_operator(
    schema: Any, output: Any, content: bytes | None = None, *, as_json: bool | None = None
) -> ArrowProcessing:
    """The operator of a node with these attributes; schemas may be bytes."""
    values = {"input_schema_bytes": _schema_bytes(schema), "output_schema_bytes": _schema_bytes(output)}
    attributes = {name: AttributeValue("by", value) for name, value in values.items()}
    if content is not None:
        attributes["trace_content"] = AttributeValue("by", content)
    if as_json is not None:
        attributes["content_json_flag"] = AttributeValue("b", as_json)
    return ArrowProcessing(NodeSpec("prep", "ARROW_PROCESSING", "0.0.1", (), attributes))


def _schema_bytes(schema: Any) -> bytes:
    return schema if isinstance(schema, bytes) else schema.serialize().to_pybytes()


def replay_batch(operator: ArrowProcessing, table: Batch) -> Any:
    """The output for a batch, as a pyarrow RecordBatch."""
    return operator.compute(ComputeContext("alice", "alice"), table).to_arrow()


@pytest.fixture(scope="session")
def record() -> type[Recorder]:
    return Recorder


@pytest.fixture(scope="session")
def make() -> Callable[..., ArrowProcessing]:
    return make_operator


@pytest.fixture(scope="session")
def replay() -> Callable[[ArrowProcessing, Batch], Any]:
    return replay_batch


@pytest.fixture(scope="session")
def schema() -> Any:
    """Two columns, x and n."""
    return pa.schema([("x", pa.float64()), ("n", pa.int64())])
