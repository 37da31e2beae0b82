"""BatchFetchFeature as a feature service sees it: requests read, answers written, errors with the SPI's codes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import msgspec

from sfs_core.codec.dialect import from_json
from sfs_core.codec.execution import MISSING_ROWS, PER_ROW
from sfs_core.codec.features import FIELD_TYPE_NAMES, VALUE_LISTS, FeatureField
from sfs_core.proto import spis_pb2

__all__ = [
    "PATH",
    "PATHS",
    "FetchContext",
    "FetchRequest",
    "FetchResult",
    "SpiCode",
    "SpiError",
    "answer_of",
    "error_answer",
    "read_request",
]

PATH: Final = "/BatchFeatureService/BatchFetchFeature"
PATHS: Final = (PATH, "/secretflow.serving.spis.BatchFeatureService/BatchFetchFeature")
_FLOAT32_MAX: Final = 3.4028235677973366e38
"""The least number that float32 rounds to infinity."""
_INTEGERS: Final = {"FIELD_INT32": 1 << 31, "FIELD_INT64": 1 << 63}

FetchResult = Sequence[Mapping[str, Any] | None] | Mapping[str, Sequence[Any]]
"""What a fetch returns: a mapping from feature to value per id, None for an id that is not known; or columns, a
mapping from feature to one value per id."""


class SpiCode(IntEnum):
    """What `status.code` of an answer says. Success is 0 here."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    INTERNAL_ERROR = 13
    UNAUTHENTICATED = 16


class SpiError(Exception):
    """Why a fetch is refused or fails.

    Args:
        code: what kind of failure it is.
        message: for people; goes to the caller, so it quotes no id and no value.
    """

    def __init__(self, code: SpiCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What a request says besides ids and features.

    Args:
        service: id of the model service that asks.
        party: id of the party that asks.
        query_context: the caller's free text.
        headers: the request's header entries; tracing ones (`X-B3-TraceId`, …) and what the caller sent.
        answer_headers: to be filled by the fetch: header entries that go back to the caller.
        missing: to be filled by a fetch that returns columns, where ids are not known: True for each of those and False
            for each other id. The columns then have values for the others only.
    """

    service: str = ""
    party: str = ""
    query_context: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer_headers: dict[str, str] = field(default_factory=dict)
    missing: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One request: features and ids wanted, in order; ids may repeat."""

    ids: list[str]
    fields: list[FeatureField]
    context: FetchContext


def read_request(body: bytes, max_rows: int) -> FetchRequest:
    """Read a request in protobuf's JSON: snake_case or camelCase, enums by name or number, unknown keys ignored.

    Raises:
        BodyError: it is not JSON or not of the request's shape.
        RequestError: a value of it is of another type.
        SpiError: it asks for nothing, for too many rows, or for a feature without name or type.
    """
    message = spis_pb2.BatchFetchFeatureRequest()
    from_json(body, message)
    fields = []
    for i, wanted in enumerate(message.feature_fields):
        type_ = FIELD_TYPE_NAMES.get(wanted.type)
        if type_ is None or not wanted.name:
            raise SpiError(SpiCode.INVALID_ARGUMENT, f"feature_fields[{i}] has no name or no known type")
        fields.append(FeatureField(wanted.name, type_))
    ids = list(message.param.query_datas)
    if not ids or not fields:
        raise SpiError(SpiCode.INVALID_ARGUMENT, f"{'feature_fields' if ids else 'param.query_datas'} is empty")
    if len(ids) > max_rows:
        raise SpiError(SpiCode.INVALID_ARGUMENT, f"{len(ids)} ids are asked for, {max_rows} are the most")
    context = FetchContext(
        message.model_service_id, message.party_id, message.param.query_context, dict(message.header.data)
    )
    return FetchRequest(ids, fields, context)


def error_answer(code: SpiCode, message: str) -> bytes:
    """The body of an answer without features."""
    return msgspec.json.encode({"status": {"code": code, "msg": message}})


def answer_of(request: FetchRequest, result: FetchResult) -> bytes:
    """The body of the answer that a fetch's result makes, checked.

    Where ids are not known, the answer says which, and has the rows of the others, if the request says that it can do
    with that.

    Raises:
        SpiError: ids are not known (NOT_FOUND), a feature is not there (INVALID_ARGUMENT), or what the fetch returned
            is no value of the feature's type, or not one per id (INTERNAL_ERROR; names feature and row).
    """
    missing = _missing(request, result)
    headers = request.context.answer_headers
    if any(missing):
        if PER_ROW not in request.context.headers:
            raise SpiError(SpiCode.NOT_FOUND, f"{missing.count(True)} of {len(missing)} ids are not known")
        headers = {**headers, MISSING_ROWS: "".join(["1" if is_missing else "0" for is_missing in missing])}
    known = len(request.ids) - missing.count(True)
    columns = result if isinstance(result, Mapping) else _columns(request, result)
    features = [
        {"field": {"name": each.name, "type": each.type}, "value": {VALUE_LISTS[str(each.type)]: values}}
        for each in request.fields
        for values in [_values(each, columns, known) if known else []]
    ]
    header = {"data": headers}
    return msgspec.json.encode({"header": header, "status": {"code": SpiCode.OK, "msg": ""}, "features": features})


def _missing(request: FetchRequest, result: FetchResult) -> list[bool]:
    """Which ids are not known; nothing where the fetch says nothing of it."""
    if not isinstance(result, Mapping):
        if len(result) != len(request.ids):
            raise SpiError(SpiCode.INTERNAL_ERROR, f"the fetch returned {len(result)} rows for {len(request.ids)} ids")
        return [row is None for row in result]
    marks = list(map(bool, request.context.missing))
    if marks and len(marks) != len(request.ids):
        raise SpiError(SpiCode.INTERNAL_ERROR, f"the fetch marked {len(marks)} ids of {len(request.ids)} as missing")
    return marks


def _columns(request: FetchRequest, rows: Sequence[Mapping[str, Any] | None]) -> dict[str, list[Any]]:
    known = [row for row in rows if row is not None]
    names = [each.name for each in request.fields]
    return {name: [row.get(name) for row in known] for name in names if any(name in row for row in known)}


def _values(wanted: FeatureField, columns: Mapping[str, Sequence[Any]], rows: int) -> list[Any]:
    if wanted.name not in columns:
        raise SpiError(SpiCode.INVALID_ARGUMENT, f"there is no feature {wanted.name!r}")
    column: Any = columns[wanted.name]
    values = column.tolist() if hasattr(column, "tolist") else list(column)  # NumPy's and pandas' as plain values
    if len(values) != rows:
        raise SpiError(SpiCode.INTERNAL_ERROR, f"feature {wanted.name!r}: {len(values)} values for {rows} ids")
    try:
        return [_value(value, str(wanted.type)) for value in values]
    except (TypeError, ValueError, OverflowError):
        row = next(i for i, value in enumerate(values) if not _fits(value, str(wanted.type)))
        raise SpiError(
            SpiCode.INTERNAL_ERROR, f"feature {wanted.name!r}, row {row}: what the fetch returned is no {wanted.type}"
        ) from None


def _fits(value: Any, type_: str) -> bool:
    try:
        _value(value, type_)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _value(value: Any, type_: str) -> Any:
    """A value as the answer has it; raises TypeError, ValueError or OverflowError if it is none of that type."""
    if type(value) is float and type_ in ("FIELD_DOUBLE", "FIELD_FLOAT"):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        if type_ == "FIELD_FLOAT" and abs(value) >= _FLOAT32_MAX:
            raise OverflowError
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _value(value.item(), type_)
    if type_ == "FIELD_BOOL" and type(value) is bool:
        return value
    if type_ == "FIELD_STRING" and type(value) is str:
        value.encode()
        return value
    if type(value) is int and type_ in _INTEGERS:
        if not -_INTEGERS[type_] <= value < _INTEGERS[type_]:
            raise OverflowError
        return value
    if type(value) is int and type_ in ("FIELD_DOUBLE", "FIELD_FLOAT"):
        return _value(float(value), type_)
    raise TypeError
