"""ARROW_PROCESSING: a table through a recorded computation."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.ipc

from sfs_core import (
    Batch,
    ComputeContext,
    ErrorCode,
    ExecutionView,
    Fusion,
    GraphError,
    Operator,
    Schema,
    SfsError,
    attr,
)

from .chain import Link, fused_chains
from .replay import Program
from .rows import RowProgram
from .trace import compile_trace, read_trace

__all__ = ["ArrowProcessing"]


class ArrowProcessing(
    Operator, name="ARROW_PROCESSING", version="0.0.1", inputs=["input"], output="output", returnable=True
):
    """Replays a recorded sequence of Arrow compute functions on a table."""

    row_wise = True  # the functions accepted compute row by row, and `random`, without inputs, is none of them

    input_schema_bytes: bytes = attr("Schema of the input table, as an Arrow IPC schema message.")
    output_schema_bytes: bytes = attr("Schema of the output table, as an Arrow IPC schema message.")
    trace_content: bytes = attr(
        "The recorded computation, a ComputeTrace message; without functions, the output is the input.", default=b""
    )
    content_json_flag: bool = attr("Whether `trace_content` is JSON text instead of protobuf bytes.", default=False)

    def setup(self) -> None:
        self._input = _read_schema(self.input_schema_bytes, "input_schema_bytes")
        self._output = _read_schema(self.output_schema_bytes, "output_schema_bytes")
        for name, type_ in zip(self._input.names, self._input.types, strict=True):
            self.require(_is_accepted(type_), f"input column {name!r}: {type_} is not a number, a string or binary")
        trace = read_trace(self.trace_content, is_json=self.content_json_flag)
        self._program: Program | None = compile_trace(trace, self._input) if trace.func_traces else None
        self._by_rows = None if self._program is None else RowProgram.of(self._program)

    def input_schemas(self) -> list[Schema]:
        return [self._input]

    def output_schema(self) -> Schema:
        return self._output

    def compute(self, context: ComputeContext, *inputs: Any) -> Batch:
        """The replayed table.

        Raises:
            SfsError: a function cannot process a row or these types (code 2).
            GraphError: the table is not of the declared output schema (code 7).
        """
        table: Batch = inputs[0]
        if self._program is not None:
            result = None if self._by_rows is None else self._by_rows.run(table)
            table = self._replay(self._program, table) if result is None else result
        if len(self._output) and table.schema is not self._output:
            self.require(False, f"the output is {table.schema}, declared is {self._output}")
        return table

    def _replay(self, program: Program, table: Batch) -> Batch:
        try:
            return program.run(table)
        except SfsError as error:
            error.node = error.node or self.node.name
            raise

    @classmethod
    def fuse(cls, execution: ExecutionView) -> list[Fusion]:
        """Chains of such nodes, each as one function for small batches."""
        links = {name: op._link() for name, op in execution.operators.items() if isinstance(op, cls)}
        return fused_chains(execution, {name: link for name, link in links.items() if link is not None})

    def _link(self) -> Link | None:
        """None for a node that has no function over rows, or whose output is not as declared."""
        program = Program.identity(self._input) if self._program is None else self._program
        covered = self._program is None or self._by_rows is not None
        declared = not len(self._output) or self._output is program.schema
        return Link(self, program) if covered and declared and len(self._input) else None


def _read_schema(data: bytes, attribute: str) -> Schema:
    if not data:
        raise GraphError(f"{attribute} is empty", code=ErrorCode.INVALID_ARGUMENT)
    try:
        return Schema.from_arrow(pa.ipc.read_schema(pa.py_buffer(data)))
    except (pa.ArrowException, OSError, ValueError):
        raise GraphError(f"{attribute} holds no Arrow IPC schema message", code=ErrorCode.UNEXPECTED_ERROR) from None


def _is_accepted(type_: Any) -> bool:
    types = pa.types
    return bool(
        types.is_integer(type_)
        or types.is_float32(type_)
        or types.is_float64(type_)
        or types.is_string(type_)
        or types.is_large_string(type_)
        or types.is_binary(type_)
        or types.is_large_binary(type_)
    )
