"""Protobuf's own JSON, as the C++ library reads it: model packages and recorded computations are written in it.

That library reads more than JSON: trailing commas, texts in single quotes, keys without quotes, raw control characters;
and more than the mapping that protobuf defines: quoted booleans, one value where a list is meant. What it refuses is
refused here, so that a package is good or bad at every party alike.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

__all__ = ["ProtobufJsonError", "read_protobuf_json"]

AnyMessage = TypeVar("AnyMessage", bound=Message)
Field = Any  # FieldDescriptor; its type stubs call every member optional

_LENIENT: Final = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"'  # stays as it is
    r"|'(?P<quoted>[^'\\]*(?:\\.[^'\\]*)*)'"
    r"|(?P<key>[A-Za-z_][A-Za-z0-9_]*)(?=\s*:)"
    r"|(?<![\[{,])(?P<comma>,)(?=\s*[}\]])",
    re.DOTALL,
)
_IN_QUOTES: Final = re.compile(r"\\(.)|\"", re.DOTALL)
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"[-+0-9.eE ]+|[-+]?(?:nan|inf|infinity)", re.IGNORECASE)
_BASE64: Final = re.compile(r"(?:[\w+/-]{4})*(?:[\w+/-]{2}(?:==)?|[\w+/-]{3}=?)?", re.ASCII)
_BOOLEANS: Final = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0"), False
)
_URL_SAFE: Final = str.maketrans("+/", "-_")
_FLOAT32_INFINITY: Final = float.fromhex("0x1.ffffffp+127")
"""What is less rounds to a finite float32."""
_INTEGERS: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


class ProtobufJsonError(ValueError):
    """Why a document cannot be read, and where: names of fields and kinds of values, never a value.

    Attributes:
        reason: what is wrong there.
        path: fields and indexes from the message down to it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        return f"{''.join(self.path).removeprefix('.')}: {self.reason}" if self.path else self.reason


def read_protobuf_json(document: bytes, message: AnyMessage) -> AnyMessage:
    """Fill an empty message from the JSON of it; returns the message.

    Raises:
        ProtobufJsonError: the document is no JSON, or not the JSON of such a message.
    """
    try:
        text = document.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProtobufJsonError("bad encoding; UTF-8 is expected") from None
    try:
        value = _parsed(text)
    except json.JSONDecodeError:
        value = _leniently_parsed(text)
    _fill(message, value)
    return message


# ---------------------------------------------------------------------- the text
class _Object(list[tuple[str, Any]]):
    """A JSON object's pairs: a key that stands there twice is known."""


def _no_number(_name: str) -> NoReturn:
    raise ProtobufJsonError("NaN and Infinity need quotes")


_DECODER: Final = json.JSONDecoder(strict=False, object_pairs_hook=_Object, parse_constant=_no_number)


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (json.JSONDecodeError, ProtobufJsonError):
        raise
    except (ValueError, RecursionError):
        raise ProtobufJsonError("a number is too long, or values are nested too deeply") from None


def _leniently_parsed(text: str) -> Any:
    try:
        return _parsed(_LENIENT.sub(_strict, text))
    except json.JSONDecodeError as error:
        raise ProtobufJsonError(f"{error.msg}, line {error.lineno}, column {error.colno}, offset {error.pos}") from None


def _strict(match: re.Match[str]) -> str:
    """What JSON writes for a piece of text that only the C++ library reads."""
    if match["quoted"] is not None:
        return '"' + _IN_QUOTES.sub(_in_double_quotes, match["quoted"]) + '"'
    if match["comma"]:
        return " "
    return f'"{match["key"]}"' if match["key"] else match[0]


def _in_double_quotes(match: re.Match[str]) -> str:
    return "'" if match[1] == "'" else match[0] if match[1] else '\\"'


# ------------------------------------------------------------------- the message
@lru_cache(maxsize=256)
def _fields(descriptor: Any) -> Mapping[str, Field]:
    return {field.camelcase_name: field for field in descriptor.fields} | dict(descriptor.fields_by_name)


def _fill(message: Message, value: Any) -> None:
    if not isinstance(value, _Object):
        raise ProtobufJsonError("an object is expected")
    fields = _fields(message.DESCRIPTOR)
    for key, item in value:
        field = fields.get(key)
        if field is None:
            raise ProtobufJsonError(f"there is no field {key[:60]!r}")
        if item is None:
            continue
        try:
            _set(message, field, item)
        except ProtobufJsonError as error:
            error.path.insert(0, f".{field.name}")
            raise


def _set(message: Message, field: Field, value: Any) -> None:
    oneof = field.containing_oneof
    if oneof is not None and message.WhichOneof(oneof.name) is not None:
        raise ProtobufJsonError(f"{oneof.name} has several values")
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(getattr(message, field.name), field, value)
    elif field.is_repeated:
        _fill_list(getattr(message, field.name), field, value)
    elif field.message_type is not None:
        child = getattr(message, field.name)
        child.SetInParent()
        _fill(child, value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _fill_map(target: Any, field: Field, value: Any) -> None:
    if not isinstance(value, _Object):
        raise ProtobufJsonError("an object is expected")
    values = field.message_type.fields_by_name["value"]
    for key, item in value:
        try:
            if key in target:
                raise ProtobufJsonError("it is given twice")
            if values.message_type is None:
                target[key] = values.default_value if item is None else _scalar(values, item)
            else:
                _fill(target[key], _Object() if item is None else item)
        except ProtobufJsonError as error:
            error.path.insert(0, f"[{key[:60]}]")
            raise


def _fill_list(target: Any, field: Field, value: Any) -> None:
    for index, item in enumerate(value if type(value) is list else [value]):
        try:
            if item is None:  # a default there, for which nobody asked
                raise ProtobufJsonError("null stands in a list")
            if field.message_type is not None:
                _fill(target.add(), item)
            else:
                target.append(_scalar(field, item))
        except ProtobufJsonError as error:
            error.path.insert(0, f"[{index}]")
            raise


# ------------------------------------------------------------------- the scalars
def _scalar(field: Field, value: Any) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return _enum(field.enum_type, value)
    if kind in _INTEGERS:
        return _integer(value, *_INTEGERS[kind])
    if kind == FieldDescriptor.CPPTYPE_FLOAT:
        return _float32(value)
    if kind == FieldDescriptor.CPPTYPE_DOUBLE:
        return _float(value)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return _bool(value)
    return _bytes(value) if field.type == FieldDescriptor.TYPE_BYTES else _text(value)


def _integer(value: Any, least: int, most: int) -> int:
    is_whole = isinstance(value, float) and value.is_integer()
    if is_whole or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise ProtobufJsonError(f"an integer from {least} to {most} is expected")
    return value


def _float(value: Any) -> float:
    try:
        is_number = type(value) in (int, float) and math.isfinite(value)
        if is_number or (isinstance(value, str) and _NUMBER.fullmatch(value)):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ProtobufJsonError("a number is expected that a double can hold")


def _float32(value: Any) -> float:
    number = _float(value)
    if math.isfinite(number) and abs(number) >= _FLOAT32_INFINITY:
        raise ProtobufJsonError("a number is expected that a float can hold")
    return number


def _bool(value: Any) -> bool:
    known = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(known, bool):
        raise ProtobufJsonError("true or false is expected")
    return known


def _enum(enum: Any, value: Any) -> int:
    known = enum.values_by_name.get(value) if isinstance(value, str) else None
    try:
        return _integer(value, -(1 << 31), (1 << 31) - 1) if known is None else int(known.number)
    except ProtobufJsonError:
        raise ProtobufJsonError(f"one of {', '.join(enum.values_by_name)} is expected") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ProtobufJsonError("a text is expected")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ProtobufJsonError("half of a surrogate pair is in it") from None
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str) or not _BASE64.fullmatch(value):
        raise ProtobufJsonError("base64 is expected")
    return base64.urlsafe_b64decode(value.rstrip("=").translate(_URL_SAFE) + "==")
