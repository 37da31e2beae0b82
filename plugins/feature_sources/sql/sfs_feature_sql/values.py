"""From what database drivers return to exactly the schema's types.

| Feature | Accepted |
|---|---|
| float64 | floats; integers up to 2**53 and decimals, to the nearest float64 |
| float32 | the same, to the nearest float32 |
| integers | integers and whole decimals within the type's range |
| bool | booleans, 0 and 1 |
| utf8 | texts |
| binary | bytes; texts, in UTF-8 |

Everything else is an error that names column and row, never a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core import Batch, ConfigError, FeatureError, Schema

__all__ = ["require_known_types", "to_batch"]

Row = tuple[Any, ...]
_EXACT_INTEGER: Final = 1 << 53
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


def require_known_types(schema: Schema) -> None:
    """Refuse features of a type that no value can be converted to.

    Raises:
        ConfigError: names the feature and its type.
    """
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if type_ not in _CONVERSIONS:
            raise ConfigError(f"feature {name!r} is {type_}, which this source cannot deliver")


def to_batch(schema: Schema, rows: Sequence[Row], *, keep_nulls: bool) -> Batch:
    """The batch of `rows`, whose values stand in the schema's order.

    Raises:
        FeatureError: a value does not fit, or is NULL and these are not kept (names column and row index).
    """
    if not len(schema) or (schema.all_float64 and _are_floats(rows)):
        return Batch(schema, len(rows), rows=rows)
    columns = list(zip(*rows, strict=True))
    for i, values in enumerate(columns):
        found = set(map(type, values))
        exact, convert = _CONVERSIONS[schema.types[i]]
        if type(None) in found and not keep_nulls:
            raise FeatureError(
                f"column {schema.names[i]!r}, row {values.index(None)}: NULL where a value is needed",
                hint="fill it in the database, or set `nulls: keep` if the model deals with nulls",
            )
        if not found <= {exact, type(None)}:
            columns[i] = _converted(values, convert, schema, i)
    return Batch.from_rows(schema, list(zip(*columns, strict=True)))


def _are_floats(rows: Sequence[Row]) -> bool:
    types = list(map(type, chain.from_iterable(rows)))
    return types.count(float) == len(types)


def _converted(values: Row, convert: Callable[[Any], Any], schema: Schema, i: int) -> tuple[Any, ...]:
    made: list[Any] = []
    for row, value in enumerate(values):
        try:
            made.append(None if value is None else convert(value))
        except (TypeError, ValueError, ArithmeticError):
            raise FeatureError(
                f"column {schema.names[i]!r}, row {row}: a {type(value).__name__} that is no {schema.types[i]}",
                hint="convert it in the database: a view or `query` with CAST",
            ) from None
    return tuple(made)


def _float64(value: Any) -> float:
    if type(value) is int and not -_EXACT_INTEGER <= value <= _EXACT_INTEGER:
        raise ValueError
    if type(value) not in (float, int, Decimal):
        raise TypeError
    number = float(value)
    if math.isinf(number) and type(value) is Decimal and value.is_finite():
        raise OverflowError
    return number


def _float32(value: Any) -> float:
    number = _float64(value)
    if math.isfinite(number) and abs(number) > _FLOAT32_MAX:
        raise OverflowError
    return number


def _integer(value: Any) -> int:
    if type(value) is int or (type(value) is Decimal and value == value.to_integral_value()):
        return int(value)
    raise TypeError


def _bool(value: Any) -> bool:
    if type(value) is bool or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise TypeError


def _utf8(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


def _binary(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return bytes(value)


_INTEGERS: Final = tuple(pa.type_for_alias(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))
# The Python type that Arrow takes as it is, and the conversion of the others.
_CONVERSIONS: Final[dict[Any, tuple[type, Callable[[Any], Any]]]] = {
    pa.bool_(): (bool, _bool),
    pa.float64(): (float, _float64),
    pa.float32(): (np.float32, _float32),
    pa.utf8(): (str, _utf8),
    pa.binary(): (bytes, _binary),
    **dict.fromkeys(_INTEGERS, (int, _integer)),
}
