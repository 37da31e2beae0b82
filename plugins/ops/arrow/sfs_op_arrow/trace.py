"""Recorded computations: reading, the load-time checks, and compilation.

A trace is a list of functions with numbered results. Data id 0 is the input table. Functions named `EFN_TB_*` take
tables apart and put them together; all of that is known at load, so that only calls of Arrow functions are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from sfs_core import ErrorCode, GraphError, ProtobufJsonError, Schema, compute_pb2, read_protobuf_json

from .options import read_options
from .replay import Call, Field, Program

__all__ = ["compile_trace", "read_trace"]

_COLUMN: Final = "EFN_TB_COLUMN"
_ADD: Final = "EFN_TB_ADD_COLUMN"
_REMOVE: Final = "EFN_TB_REMOVE_COLUMN"
_SET: Final = "EFN_TB_SET_COLUMN"
_INPUT_COUNTS: Final = {_COLUMN: 2, _REMOVE: 2, _ADD: 4, _SET: 4}

_LEAST_INPUTS: Final = {"case_when": 2, "choose": 2}
"""Functions of any number of inputs that need more than one; Arrow tells only when it is too late."""

_SCALAR_TYPES: Final = {
    "i8": pa.int8(),
    "ui8": pa.uint8(),
    "i16": pa.int16(),
    "ui16": pa.uint16(),
    "i32": pa.int32(),
    "ui32": pa.uint32(),
    "i64": pa.int64(),
    "ui64": pa.uint64(),
    "f": pa.float32(),
    "d": pa.float64(),
    "s": pa.utf8(),
    "b": pa.bool_(),
}

_Table = tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class _Array:
    slot: int


_Datum = _Table | _Array | compute_pb2.Scalar


def read_trace(content: bytes, *, is_json: bool) -> compute_pb2.ComputeTrace:
    """The ComputeTrace in `trace_content`; without functions where there is none.

    Raises:
        GraphError: the content is not protobuf bytes, or not JSON as protobuf defines it (code 9).
    """
    trace = compute_pb2.ComputeTrace()
    try:
        if is_json and content:
            read_protobuf_json(content, trace)
        elif content:
            trace.ParseFromString(content)
    except (DecodeError, ProtobufJsonError) as error:
        why = f": {error}" if isinstance(error, ProtobufJsonError) else ""
        kind = "JSON text" if is_json else "protobuf bytes"
        raise GraphError(
            f"trace_content is no ComputeTrace in {kind}{why}",
            code=ErrorCode.DESERIALIZE_FAILED,
            hint="content_json_flag says whether it is JSON",
        ) from None
    return trace


def compile_trace(trace: compute_pb2.ComputeTrace, schema: Schema) -> Program:
    """Check a trace that has functions, and make the program that does what it says.

    Args:
        trace: the recorded computation.
        schema: the input table's.

    Raises:
        GraphError: the trace breaks a rule: an unknown Arrow function, options that cannot be read or a scalar
            without a value (code 2), a malformed input (code 3), anything else (code 7). Gives the function's position.
    """
    last = trace.func_traces[-1]
    if last.name not in (_ADD, _REMOVE, _SET):
        raise GraphError(f"the last function is {last.name!r}; it must be {_ADD}, {_REMOVE} or {_SET}")
    compiler = _Compiler(schema)
    for position, function in enumerate(trace.func_traces):
        try:
            compiler.add(function)
        except GraphError as error:
            error.where = f"function {position} of the trace ({function.name!r})"
            raise
    return compiler.program(last.output.data_id)


class _Compiler:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._slots: list[Any] = [None] * len(schema)
        self._calls: list[Call] = []
        table = tuple(Field(field.name, field.nullable, slot) for slot, field in enumerate(schema.arrow))
        self._data: dict[int, _Datum] = {0: table}

    def program(self, result_id: int) -> Program:
        result = self._data[result_id]
        assert isinstance(result, tuple)
        return Program(self._schema, self._slots, self._calls, result)

    def add(self, function: compute_pb2.FunctionTrace) -> None:
        _require(function.inputs, "it has no inputs")
        inputs = [self._datum(item) for item in function.inputs]
        if function.name in _INPUT_COUNTS:
            result = self._table_function(function.name, inputs)
        else:
            result = self._arrow_function(function.name, inputs, function.option_bytes)
        data_id = function.output.data_id
        _require(data_id not in self._data, f"its output has data id {data_id}, which is taken")
        self._data[data_id] = result

    def _datum(self, item: compute_pb2.FunctionInput) -> _Datum:
        match item.WhichOneof("value"):
            case "data_id":
                _require(item.data_id in self._data, f"data id {item.data_id} is not known before it")
                return self._data[item.data_id]
            case "custom_scalar":
                return item.custom_scalar
            case _:
                raise _malformed("an input is neither a data id nor a scalar")

    def _table_function(self, name: str, inputs: Sequence[_Datum]) -> _Table | _Array:
        table = inputs[0]
        if not isinstance(table, tuple):
            raise GraphError("its first input is not a table")
        if len(inputs) != _INPUT_COUNTS[name]:
            raise _malformed(f"it has {len(inputs)} inputs, not {_INPUT_COUNTS[name]}")
        at = _index(inputs[1], len(table) + (name == _ADD))
        if name == _COLUMN:
            return _Array(table[at].slot)
        if name == _REMOVE:
            return table[:at] + table[at + 1 :]
        column_name, values = inputs[2:]
        if not isinstance(column_name, compute_pb2.Scalar) or column_name.WhichOneof("value") != "s":
            raise _malformed("its third input, the column's name, is not a string scalar")
        if not isinstance(values, _Array):
            raise GraphError("its fourth input, the column's values, is not an array")
        return (*table[:at], Field(column_name.s, True, values.slot), *table[at + (name == _SET) :])

    def _arrow_function(self, name: str, inputs: Sequence[_Datum], option_bytes: bytes) -> _Array:
        function = _scalar_function(name)
        _check_count(function, len(inputs))
        options = _options(function, option_bytes)
        slots = tuple(self._argument(item) for item in inputs)
        only_scalars = not any(isinstance(item, _Array) for item in inputs)
        output = self._new_slot(None)
        self._calls.append(Call(function, options, slots, output, only_scalars))
        return _Array(output)

    def _argument(self, item: _Datum) -> int:
        if isinstance(item, _Array):
            return item.slot
        if isinstance(item, tuple):
            raise GraphError("an input is a table, where an array or a scalar is needed")
        return self._new_slot(_arrow_scalar(item))

    def _new_slot(self, constant: Any) -> int:
        self._slots.append(constant)
        return len(self._slots) - 1


def _index(item: _Datum, limit: int) -> int:
    if not isinstance(item, compute_pb2.Scalar) or item.WhichOneof("value") != "i64":
        raise GraphError("its second input, the column's index, is not an i64 scalar")
    _require(0 <= item.i64 < limit, f"column index {item.i64} is not from 0 to {limit - 1}")
    return item.i64


def _scalar_function(name: str) -> Any:
    """An Arrow function that computes row by row. `cast` does too, though Arrow lists it as a meta function."""
    try:
        function = pc.get_function(name)
    except KeyError:
        raise GraphError(
            f"Arrow {pa.__version__} has no function of this name", code=ErrorCode.UNEXPECTED_ERROR
        ) from None
    _require(function.kind == "scalar" or name == "cast", f"{function.kind} functions are not accepted")
    return function


def _check_count(function: Any, count: int) -> None:
    if function.arity is ...:
        least = _LEAST_INPUTS.get(function.name, 1)
        _require(count >= least, f"it has {count} inputs, at least {least} are needed")
    else:
        _require(count == function.arity, f"it has {count} inputs, not {function.arity}")


def _options(function: Any, option_bytes: bytes) -> Any:
    documentation = function._doc  # the only place where Arrow tells the class of the options
    if option_bytes:
        return read_options(option_bytes, documentation.options_class)
    _require(not documentation.options_required, "it cannot be called without options")
    return None


def _arrow_scalar(scalar: compute_pb2.Scalar) -> Any:
    case = scalar.WhichOneof("value")
    if case is None:
        raise GraphError("a scalar has no value", code=ErrorCode.UNEXPECTED_ERROR)
    try:
        return pa.scalar(getattr(scalar, case), _SCALAR_TYPES[case])
    except (pa.ArrowInvalid, OverflowError):
        raise _malformed(f"a scalar does not fit into {_SCALAR_TYPES[case]}") from None


def _require(condition: object, message: str) -> None:
    if not condition:
        raise GraphError(message)


def _malformed(message: str) -> GraphError:
    return GraphError(message, code=ErrorCode.INVALID_ARGUMENT)
