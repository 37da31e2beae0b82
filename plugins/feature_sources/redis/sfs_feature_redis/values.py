"""From texts and decoded values to exactly the schema's types; anything else is an error by column and row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core import Batch, ConfigError, FeatureError, Schema

__all__ = ["Conversions", "decoded_values", "packed_floats", "require_known_types", "text_values", "to_batch"]

Row = Sequence[Any]
Conversions = dict[Any, Callable[[Any], Any]]
_EXACT_INTEGER: Final = 1 << 53
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_INTEGER_TEXT: Final = re.compile(rb"-?[0-9]{1,20}")
_FLOAT_TEXT: Final = re.compile(
    rb"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE
)
_UNCLEAR: Final = re.compile(rb"[_\s]")  # float() takes both
_BOOL_TEXTS: Final = {b"true": True, b"1": True, b"false": False, b"0": False}


def require_known_types(schema: Schema) -> None:
    """Refuse features of a type that no value can be converted to.

    Raises:
        ConfigError: names the feature and its type.
    """
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if type_ not in text_values:
            raise ConfigError(f"feature {name!r} is {type_}, which this source cannot deliver")


def to_batch(schema: Schema, rows: Sequence[Row], conversions: Conversions, *, keep_nulls: bool) -> Batch:
    """The batch of `rows`, whose values stand in the schema's order; None where there is none.

    Raises:
        FeatureError: a value does not fit, or is not there (names column and row index).
    """
    if not len(schema):
        return Batch(schema, len(rows), rows=[()] * len(rows))
    types = list(map(type, chain.from_iterable(rows))) if schema.all_float64 else [object]
    if types.count(float) == len(types):  # the usual case, made fast
        return Batch(schema, len(rows), rows=[tuple(row) for row in rows])
    columns = [
        _converted(values, conversions[schema.types[i]], schema, i, keep_nulls=keep_nulls)
        for i, values in enumerate(zip(*rows, strict=True))
    ]
    return Batch.from_rows(schema, list(zip(*columns, strict=True)))


def packed_floats(schema: Schema, rows: Sequence[Row]) -> Batch | None:
    """The batch of rows of texts where all features are float64 and every text is plainly a number; else None."""
    if not schema.all_float64:
        return None
    try:
        made = [tuple(map(float, row)) for row in rows]
    except (TypeError, ValueError):
        return None
    unclear = any(_UNCLEAR.search(b"".join(row)) for row in rows) or any(
        math.inf in row or -math.inf in row for row in made
    )
    return None if unclear else Batch(schema, len(made), rows=made)


def _converted(values: Row, convert: Callable[[Any], Any], schema: Schema, i: int, *, keep_nulls: bool) -> list[Any]:
    made: list[Any] = []
    for row, value in enumerate(values):
        if value is None:
            if not keep_nulls:
                raise FeatureError(
                    f"column {schema.names[i]!r}, row {row}: there is no value",
                    hint="fill it in Redis, or set `nulls: keep` if the model deals with nulls",
                )
            made.append(None)
            continue
        try:
            made.append(convert(value))
        except (TypeError, ValueError, OverflowError):
            raise FeatureError(f"column {schema.names[i]!r}, row {row}: the value is no {schema.types[i]}") from None
    return made


# ------------------------------------------------------------------- from texts
def _float64_of_text(text: bytes) -> float:
    if not _FLOAT_TEXT.fullmatch(text):
        raise ValueError
    number = float(text)
    if math.isinf(number) and b"inf" not in text.lower():
        raise OverflowError
    return number


def _integer_of_text(text: bytes) -> int:
    if not _INTEGER_TEXT.fullmatch(text):
        raise ValueError
    return int(text)


def _bool_of_text(text: bytes) -> bool:
    try:
        return _BOOL_TEXTS[text.lower()]
    except KeyError:
        raise ValueError from None


# ---------------------------------------------------------- from decoded values
def _float64(value: Any) -> float:
    if type(value) is int and not -_EXACT_INTEGER <= value <= _EXACT_INTEGER:
        raise OverflowError
    if type(value) not in (float, int):
        raise TypeError
    return float(value)


def _float32(number: float) -> float:
    if math.isfinite(number) and abs(number) > _FLOAT32_MAX:
        raise OverflowError
    return number


def _exactly(wanted: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) is not wanted:
            raise TypeError
        return value

    return convert


def _binary(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is not bytes:
        raise TypeError
    return value


_INTEGERS: Final = tuple(pa.type_for_alias(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))

text_values: Final[Conversions] = {
    pa.bool_(): _bool_of_text,
    pa.float64(): _float64_of_text,
    pa.float32(): lambda text: _float32(_float64_of_text(text)),
    pa.utf8(): bytes.decode,
    pa.binary(): bytes,
    **dict.fromkeys(_INTEGERS, _integer_of_text),
}
"""Of hashes: each value is a text."""

decoded_values: Final[Conversions] = {
    pa.bool_(): _exactly(bool),
    pa.float64(): _float64,
    pa.float32(): lambda value: _float32(_float64(value)),
    pa.utf8(): _exactly(str),
    pa.binary(): _binary,
    **dict.fromkeys(_INTEGERS, _exactly(int)),
}
"""Of JSON and MessagePack: values have types of their own; nothing is guessed from texts."""
