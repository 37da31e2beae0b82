"""Features as messages carry them (`FeatureField` and one typed list of values), made into batches.

Which list of a `FeatureValue` counts is said by `field.type`; nothing is widened. The reference's type table holds
for predefined features, for feature services, and for anybody else who sends features as messages.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from sfs_core.batch import Batch, Schema
from sfs_core.errors import ErrorCode, FeatureError
from sfs_core.proto import serving_pb2

__all__ = [
    "FIELD_TYPE_NAMES",
    "VALUE_LISTS",
    "Feature",
    "FeatureField",
    "FeatureValue",
    "batch_of_features",
    "feature_from_message",
    "field_type",
]


class FeatureField(msgspec.Struct, forbid_unknown_fields=True):
    """Name and `FieldType` (name or number)."""

    name: str = ""
    type: str | int = 0


class FeatureValue(msgspec.Struct, forbid_unknown_fields=True):
    """The values, in the list that fits `FeatureField.type`."""

    i32s: list[Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]] = []
    i64s: list[int] = []
    fs: list[float] = []
    ds: list[float] = []
    ss: list[str] = []
    bs: list[bool] = []


class Feature(msgspec.Struct, forbid_unknown_fields=True):
    """One feature of all rows."""

    field: FeatureField
    value: FeatureValue = msgspec.field(default_factory=FeatureValue)


_FEW_ROWS: Final = 64
VALUE_LISTS: Final[dict[str, str]] = {
    "FIELD_BOOL": "bs",
    "FIELD_INT32": "i32s",
    "FIELD_INT64": "i64s",
    "FIELD_FLOAT": "fs",
    "FIELD_DOUBLE": "ds",
    "FIELD_STRING": "ss",
}
"""The list of a `FeatureValue` that counts, by the name of the `FieldType`."""
FIELD_TYPE_NAMES: Final[dict[str | int, str]] = {name: name for name in VALUE_LISTS} | {
    serving_pb2.FieldType.Value(name): name for name in VALUE_LISTS
}
"""The name of a `FieldType`, by name and by number."""
_WIDENED: Final[dict[str, dict[str, Any]]] = {
    "FIELD_INT64": {"FIELD_INT32": pa.int32()},
    "FIELD_DOUBLE": {"FIELD_INT32": pa.int32(), "FIELD_FLOAT": pa.float32()},
}
"""Which types hold all values of which others, and these others' Arrow types."""
_FIELD_TYPES: Final[dict[Any, str]] = {
    pa.bool_(): "FIELD_BOOL",
    pa.int8(): "FIELD_INT32",
    pa.uint8(): "FIELD_INT32",
    pa.int16(): "FIELD_INT32",
    pa.uint16(): "FIELD_INT32",
    pa.int32(): "FIELD_INT32",
    pa.uint32(): "FIELD_INT64",
    pa.int64(): "FIELD_INT64",
    pa.uint64(): "FIELD_INT64",
    pa.float32(): "FIELD_FLOAT",
    pa.float64(): "FIELD_DOUBLE",
    pa.utf8(): "FIELD_STRING",
    pa.binary(): "FIELD_STRING",
}


def field_type(arrow_type: Any, name: str) -> str:
    """The `FieldType` name under which features of an Arrow type travel.

    Raises:
        FeatureError: there is none (float16, large strings, dates, …; code 3).
    """
    if arrow_type not in _FIELD_TYPES:
        raise FeatureError(f"feature {name!r}: {arrow_type} cannot be sent as a feature value")
    return _FIELD_TYPES[arrow_type]


def feature_from_message(message: serving_pb2.Feature) -> Feature:
    """The record of a protobuf `Feature`."""
    value = message.value
    lists = {name: list(getattr(value, name)) for name in VALUE_LISTS.values()}
    return Feature(FeatureField(message.field.name, message.field.type), FeatureValue(**lists))


def batch_of_features(
    features: Iterable[Feature], schema: Schema, num_rows: int | None = None, *, widen: bool = False
) -> Batch:
    """The columns of `schema`, picked by name from features; surplus features are ignored.

    Args:
        features: the first one of a name counts. Other records with the same attributes will do; a value or a list
            of it that is None counts as empty.
        schema: names and types wanted.
        num_rows: rows expected; None: as many as the features have.
        widen: whether FIELD_INT32 will do for FIELD_INT64, and FIELD_INT32 and FIELD_FLOAT for FIELD_DOUBLE.

    Raises:
        FeatureError: a feature is missing (code 2), has an unknown type (2) or one that does not fit (3; bools 2),
            another number of rows (7), or a value out of the type's range (7; names row index, never the value).
    """
    by_name: dict[str, Feature] = {}
    for feature in features:
        by_name.setdefault(feature.field.name, feature)
    lists = []
    for name, arrow_type, wanted in zip(schema.names, schema.types, _wanted_types(schema), strict=True):
        if name not in by_name:
            raise FeatureError(f"feature {name!r} is missing", code=ErrorCode.UNEXPECTED_ERROR)
        values = _values(by_name[name], name, arrow_type, wanted, widen)
        num_rows = len(values) if num_rows is None else num_rows
        if len(values) != num_rows:
            raise FeatureError(
                f"feature {name!r} has {len(values)} values, {num_rows} rows are expected", code=ErrorCode.LOGIC_ERROR
            )
        lists.append(values)
    if num_rows is None:
        num_rows = feature_rows(by_name.values())
    if schema.all_float64:  # the usual case, made fast
        if num_rows <= _FEW_ROWS and set(map(type, chain.from_iterable(lists))) <= {float}:
            return Batch(schema, num_rows, rows=list(zip(*lists, strict=True)))
        if num_rows > _FEW_ROWS and (matrix := _matrix(lists, num_rows)) is not None:
            return Batch.from_matrix(schema, matrix)
    columns = [_column(*each) for each in zip(lists, schema.names, schema.types, strict=True)]
    return Batch.from_columns(schema, columns, num_rows)


def _matrix(lists: list[list[Any]], num_rows: int) -> Any:
    """Lists of floats as the columns of a matrix, in a third of NumPy's time; None where they are not that."""
    if {type(values[0]) for values in lists} != {float}:
        return None
    pack = struct.Struct(f"{num_rows}d").pack
    try:
        return np.frombuffer(b"".join([pack(*values) for values in lists])).reshape(len(lists), num_rows).T
    except (struct.error, OverflowError):
        return None


@lru_cache(maxsize=256)
def _wanted_types(schema: Schema) -> tuple[str, ...]:
    """The `FieldType` names of a schema's columns."""
    return tuple(field_type(type_, name) for name, type_ in zip(schema.names, schema.types, strict=True))


def feature_rows(features: Iterable[Feature]) -> int:
    """How many rows features have.

    Raises:
        FeatureError: a type is unknown (code 2), or the lengths differ (3).
    """
    counts = {len(_typed_list(feature)) for feature in features}
    if len(counts) > 1:
        raise FeatureError(f"features have different numbers of rows: {', '.join(map(str, sorted(counts)))}")
    return counts.pop() if counts else 0


def _type_name(feature: Feature) -> str:
    name = FIELD_TYPE_NAMES.get(feature.field.type)
    if name is None:
        raise FeatureError(
            f"feature {feature.field.name!r} has an unknown field type",
            code=ErrorCode.UNEXPECTED_ERROR,
            hint=f"known: {', '.join(VALUE_LISTS)}",
        )
    return name


def _typed_list(feature: Feature) -> list[Any]:
    values: list[Any] = getattr(feature.value, VALUE_LISTS[_type_name(feature)], None) or []
    return values


def _values(feature: Feature, name: str, arrow_type: Any, wanted: str, widen: bool) -> list[Any]:
    if feature.field.type != wanted and (found := _type_name(feature)) != wanted:
        if not widen or found not in _WIDENED.get(wanted, ()):
            code = (
                ErrorCode.UNEXPECTED_ERROR if found == "FIELD_BOOL" else ErrorCode.INVALID_ARGUMENT
            )  # as the reference
            raise FeatureError(f"feature {name!r} is {found}, {wanted} is needed for {arrow_type}", code=code)
        narrow = _column(_typed_list(feature), name, _WIDENED[wanted][found])
        widened: list[Any] = (narrow.astype(np.float64) if wanted == "FIELD_DOUBLE" else narrow).tolist()
        return widened
    return getattr(feature.value, VALUE_LISTS[wanted], None) or []


def _column(values: list[Any], name: str, arrow_type: Any) -> Any:
    if arrow_type == pa.binary():
        values = [value.encode() for value in values]
    try:
        column = pa.array(values, arrow_type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        raise _out_of_range(values, name, arrow_type) from None
    if not pa.types.is_primitive(arrow_type):
        return column
    array = column.to_numpy(zero_copy_only=False)
    if array.dtype == np.float32 and not np.array_equal(np.isinf(array), np.isinf(values)):
        raise _out_of_range(values, name, arrow_type)
    return array


def _out_of_range(values: list[Any], name: str, arrow_type: Any) -> FeatureError:
    row = next((i for i, v in enumerate(values) if not _fits(v, arrow_type)), 0)
    return FeatureError(
        f"feature {name!r}, row {row}: the value is out of range for {arrow_type}", code=ErrorCode.LOGIC_ERROR
    )


def _fits(value: Any, arrow_type: Any) -> bool:
    try:
        converted = pa.array([value], arrow_type)[0].as_py()
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return False
    return arrow_type != pa.float32() or math.isinf(converted) == math.isinf(value)
