"""The reference's `DataType` names and Arrow types."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from sfs_core.errors import ErrorCode, GraphError

__all__ = ["DATA_TYPES", "numeric_type"]

DATA_TYPES: Final[dict[str, Any]] = {
    "DT_BOOL": pa.bool_(),
    "DT_UINT8": pa.uint8(),
    "DT_INT8": pa.int8(),
    "DT_UINT16": pa.uint16(),
    "DT_INT16": pa.int16(),
    "DT_UINT32": pa.uint32(),
    "DT_INT32": pa.int32(),
    "DT_UINT64": pa.uint64(),
    "DT_INT64": pa.int64(),
    "DT_FLOAT": pa.float32(),
    "DT_DOUBLE": pa.float64(),
    "DT_STRING": pa.utf8(),
    "DT_BINARY": pa.binary(),
}
_NOT_NUMERIC: Final = frozenset({"DT_BOOL", "DT_STRING", "DT_BINARY"})


def numeric_type(name: str) -> Any:
    """The Arrow type of a numeric `DataType` name.

    Raises:
        GraphError: the name is unknown (code 2) or not of a number (code 3).
    """
    if name not in DATA_TYPES:
        known = ", ".join(n for n in DATA_TYPES if n not in _NOT_NUMERIC)
        raise GraphError(f"unknown data type {name!r}", code=ErrorCode.UNEXPECTED_ERROR, hint=f"known: {known}")
    if name in _NOT_NUMERIC:
        raise GraphError(f"a feature must be numeric, not {name}", code=ErrorCode.INVALID_ARGUMENT)
    return DATA_TYPES[name]
