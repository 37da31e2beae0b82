"""Protobuf messages as the JSON of the RPC interfaces (brpc's json2pb), which is not protobuf's own JSON.

Reading accepts what the reference accepts and more (camelCase names); unknown keys are ignored. Printing gives
snake_case names, defaults printed or not, maps always printed and after the other fields, int64 as numbers.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sfs_core.errors import RequestError

__all__ = ["BodyError", "as_integer", "from_json", "to_json"]

Field = Any  # FieldDescriptor; its type stubs call every member optional
_INTEGERS: Final[dict[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_WIDE: Final = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_FLOATS: Final = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_EXACT: Final = 1 << 53
"""Up to here a float says which integer was written."""
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""Map keys that errors may quote: party ids are of this form; anything longer or stranger is counted instead."""
_SPECIAL_FLOATS: Final = {"nan": math.nan, "infinity": math.inf, "-infinity": -math.inf}


class BodyError(RequestError):
    """A body that is not of the message's shape at all; HTTP answers 400, as the reference does."""


# ---------------------------------------------------------------------- reading
def from_json(data: bytes, message: Message) -> None:
    """Fill `message` from JSON; an empty body is an all-default message.

    Raises:
        BodyError: not JSON, or an object, list or map is something else (names the field).
        RequestError: a scalar is of another type or out of range (names the field, never the value).
    """
    if not data.strip():
        return
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = _loads_special_numbers(data)
    _fill(message, value, "")


def _loads_special_numbers(data: bytes) -> Any:
    """JSON with bare NaN and Infinity, which orjson refuses; or the error that says where it breaks."""
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise BodyError("the body is not JSON: bad encoding, or nested too deeply") from None


@lru_cache(maxsize=256)
def _fields(descriptor: Any) -> Mapping[str, Field]:
    names = {field.camelcase_name: field for field in descriptor.fields}
    return names | {field.name: field for field in descriptor.fields}


def _fill(message: Message, value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise BodyError(f"{_named(path)}: an object is expected, not {_kind(value)}")
    fields = _fields(message.DESCRIPTOR)
    for key, item in value.items():
        field = fields.get(key)
        if field is None or item is None:
            continue
        where = f"{path}.{field.name}" if path else field.name
        if _is_map(field):
            _fill_map(getattr(message, field.name), field, item, where)
        elif field.is_repeated:
            _fill_list(getattr(message, field.name), field, item, where)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            child = getattr(message, field.name)
            child.SetInParent()
            _fill(child, item, where)
        else:
            setattr(message, field.name, _scalar(field, item, where))


def _is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _fill_map(target: Any, field: Field, value: Any, where: str) -> None:
    if isinstance(value, list):  # which a map is to protobuf
        value = dict(_entry(item, f"{where}[{index}]") for index, item in enumerate(value))
    if not isinstance(value, dict):
        raise BodyError(f"{_named(where)}: an object is expected, not {_kind(value)}")
    values = field.message_type.fields_by_name["value"]
    for index, (key, item) in enumerate(value.items()):
        inner = f"{where}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{where}.<entry {index}>"
        if values.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            _fill(target[key], {} if item is None else item, inner)
        elif item is not None:
            target[key] = _scalar(values, item, inner)


def _entry(value: Any, where: str) -> tuple[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        raise BodyError(f"{_named(where)}: an object with a key is expected")
    return value["key"], value.get("value")


def _fill_list(target: Any, field: Field, value: Any, where: str) -> None:
    if not isinstance(value, list):
        raise BodyError(f"{_named(where)}: a list is expected, not {_kind(value)}")
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        for i, item in enumerate(value):
            _fill(target.add(), item, f"{where}[{i}]")
        return
    try:
        target.extend([_scalar(field, item, f"{where}[{i}]") for i, item in enumerate(value)])
    except BodyError:
        raise
    except RequestError as error:
        raise BodyError(error.message) from None


def _scalar(field: Field, value: Any, where: str) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return _integer(kind, value, where)
    if kind in _FLOATS:
        return _float(value, where)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _typed(value, bool, "true or false", where)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field, value, where)
    text = _typed(value, str, "a string", where)
    if field.type != FieldDescriptor.TYPE_BYTES:
        return text
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"{_named(where)}: base64 is expected") from None


def _integer(kind: int, value: Any, where: str) -> int:
    if kind in _WIDE and isinstance(value, str):
        try:
            value = int(value) if len(value) <= 20 else None
        except ValueError:
            value = None
    value = as_integer(value)
    least, most = _INTEGERS[kind]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RequestError(f"{_named(where)}: an integer from {least} to {most} is expected, not {_kind(value)}")
    return value


def as_integer(value: Any) -> Any:
    """The integer for one that is written with a fraction or an exponent, as JSON allows (5.0); anything else as it is,
    among them numbers so large that a float may stand for several."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _float(value: Any, where: str) -> float:
    if isinstance(value, str) and value.lower() in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[value.lower()]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"{_named(where)}: a number is expected, not {_kind(value)}")
    try:
        return float(value)
    except OverflowError:
        raise RequestError(f"{_named(where)}: the number is too large") from None


def _enum(field: Field, value: Any, where: str) -> int:
    names = field.enum_type.values_by_name
    if isinstance(value, str) and value in names:
        return int(names[value].number)
    if isinstance(value, int) and not isinstance(value, bool) and value in field.enum_type.values_by_number:
        return value
    raise RequestError(f"{_named(where)}: one of {', '.join(names)} is expected")


def _typed(value: Any, wanted: type, words: str, where: str) -> Any:
    if not isinstance(value, wanted):
        raise RequestError(f"{_named(where)}: {words} is expected, not {_kind(value)}")
    return value


def _named(path: str) -> str:
    return f"field {path!r}" if path else "the body"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


# --------------------------------------------------------------------- printing
def to_json(message: Message, *, defaults: bool = True) -> bytes:
    """Print a message.

    Args:
        message: what to print.
        defaults: True prints unset singular fields with their defaults, as the reference's servers do for Predict,
            Execute and GetModelInfo; False leaves them out, as it does for Push and in its own requests.
    """
    return orjson.dumps(_printable(message, defaults))


def _printable(message: Message, defaults: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    maps: dict[str, Any] = {}
    fields: list[Field] = list(message.DESCRIPTOR.fields)
    for field in fields:
        value = getattr(message, field.name)
        if _is_map(field):
            inner = field.message_type.fields_by_name["value"]
            maps[field.name] = {key: _value(inner, item, defaults) for key, item in value.items()}
        elif field.is_repeated:
            if value:
                plain[field.name] = [_value(field, item, defaults) for item in value]
        elif _shown(message, field, defaults):
            plain[field.name] = _value(field, value, defaults)
    return plain | maps


def _shown(message: Message, field: Field, defaults: bool) -> bool:
    if field.containing_oneof is not None:
        return bool(message.WhichOneof(field.containing_oneof.name) == field.name)
    if defaults:
        return True
    if field.has_presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name) != field.default_value)


def _value(field: Field, value: Any, defaults: bool) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return _printable(value, defaults)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    if field.cpp_type in _FLOATS and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
