"""Predict: what a caller asks and gets, as records of ours, JSON and protobuf.

Requests in the usual spelling are decoded straight into typed records; anything else (camelCase, unknown keys, wrong
types) takes the slower way through `dialect`, which knows how to name the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from sfs_core.batch import Batch
from sfs_core.codec.dialect import from_json
from sfs_core.codec.features import Feature, feature_from_message
from sfs_core.errors import ErrorCode
from sfs_core.proto import apis_pb2

__all__ = [
    "FeatureParam",
    "PredictReply",
    "PredictRequest",
    "decode_json",
    "decode_message",
    "encode_json",
    "encode_message",
]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Only the exact spelling; anything else falls back to the lenient reader."""


class _Header(_Strict):
    data: dict[str, str] = {}


class _ServiceSpec(_Strict):
    id: str = ""


class FeatureParam(_Strict):
    """What one party looks up: ids in row order, and free text."""

    query_datas: list[str] = []
    query_context: str = ""


class PredictRequest(_Strict):
    """A caller's request."""

    header: _Header = msgspec.field(default_factory=_Header)
    service_spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)
    fs_params: dict[str, FeatureParam] = {}
    predefined_features: list[Feature] = []

    @classmethod
    def of(cls, service: str, params: dict[str, FeatureParam]) -> PredictRequest:
        """A request to `service` with each party's parameters."""
        return cls(service_spec=_ServiceSpec(service), fs_params=params)

    @property
    def service(self) -> str:
        """The service id asked for."""
        return self.service_spec.id

    @property
    def headers(self) -> dict[str, str]:
        """The caller's header entries."""
        return self.header.data


@dataclass(slots=True)
class PredictReply:
    """An answer.

    Args:
        service: echo of the service id asked for.
        scores: one row per requested row that is not missing, one column per score; None on error.
        code, message: the status; `message` is safe for the caller.
        headers: entries that parties sent back.
        missing: which rows could not be scored, because some party has no features for them: True or False for each;
            None: all were scored.
        steps: what was done for it, and the seconds that each took, where that is timed; not told to callers.
    """

    service: str
    scores: Batch | None = None
    code: int = ErrorCode.OK
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[bool] | None = None
    steps: Sequence[tuple[str, float]] = ()


UNSCORED_ROWS: Final = "sfs-unscored-rows"
"""A header entry of answers that lack the scores of some rows: the rows' places in the request, from 0, comma
separated. A row's result then has no scores."""

_decode_exact: Final = msgspec.json.Decoder(PredictRequest).decode


def decode_json(body: bytes) -> PredictRequest:
    """A request from JSON; an empty body is an all-default request.

    Raises:
        BodyError, RequestError: as `dialect.from_json`.
    """
    try:
        return _decode_exact(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        message = apis_pb2.PredictRequest()
        from_json(body, message)
        return decode_message(message)


def decode_message(message: apis_pb2.PredictRequest) -> PredictRequest:
    """A request from its protobuf message."""
    params = {
        party: FeatureParam(list(param.query_datas), param.query_context) for party, param in message.fs_params.items()
    }
    features = [feature_from_message(feature) for feature in message.predefined_features]
    spec = _ServiceSpec(message.service_spec.id)
    return PredictRequest(_Header(dict(message.header.data)), spec, params, features)


def encode_json(reply: PredictReply) -> bytes:
    """The answer as the reference prints it: snake_case, defaults printed, empty results left out.

    Scores that are not finite become the strings NaN, Infinity and -Infinity, as protobuf's JSON has them.
    """
    missing, scores = reply.missing, reply.scores
    headers = reply.headers if missing is None else _with_unscored_rows(reply.headers, missing)
    if headers or reply.code != ErrorCode.OK or reply.message:
        head = _head(headers, reply.code, reply.message, reply.service)
    else:
        head = _plain_head(reply.service)
    if scores is None or not (scores.num_rows or missing) or not len(scores.schema):
        return head + b"}"
    if missing is not None:
        return head + b',"results":' + orjson.dumps(_results_partly(scores, missing)) + b"}"
    if len(scores.schema) > 1:
        return head + b',"results":' + orjson.dumps(_results(scores)) + b"}"
    first, between = _around_scores(scores.schema.names[0])
    return head + first + _numbers(scores, between) + b"}]}]}"


def _head(headers: Mapping[str, str], code: int, text: str, service: str) -> bytes:
    return b'{"header":{"data":%b},"status":{"code":%d,"msg":%b},"service_spec":{"id":%b}' % (
        orjson.dumps(dict(headers)),
        code,
        orjson.dumps(text),
        orjson.dumps(service),
    )


@lru_cache(maxsize=64)
def _plain_head(service: str) -> bytes:
    return _head({}, ErrorCode.OK, "", service)


@lru_cache(maxsize=64)
def _around_scores(name: str) -> tuple[bytes, bytes]:
    """What stands before the first score, and between two."""
    score = b'{"scores":[{"name":%b,"value":' % orjson.dumps(name)
    return b',"results":[' + score, b"}]}," + score


def _numbers(scores: Batch, between: bytes) -> bytes:
    values: list[float] = [row[0] for row in scores.rows()] if scores.has_rows else scores.float64(0).tolist()
    numbers = orjson.dumps(values)
    if b"n" not in numbers:  # null is what orjson makes of those that are not finite
        return numbers[1:-1].replace(b",", between)
    return between.join([orjson.dumps(_json_number(value)) for value in values])


def _json_number(value: float) -> float | str:
    if value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return "NaN"
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, value)


def _results(scores: Batch) -> list[dict[str, Any]]:
    names = scores.schema.names
    rows = scores.matrix().tolist()
    return [
        {"scores": [{"name": n, "value": _json_number(v)} for n, v in zip(names, row, strict=True)]} for row in rows
    ]


def _results_partly(scores: Batch, missing: Sequence[bool]) -> list[dict[str, Any]]:
    scored = iter(_results(scores))
    return [{"scores": []} if is_missing else next(scored) for is_missing in missing]


def _with_unscored_rows(headers: Mapping[str, str], missing: Sequence[bool]) -> dict[str, str]:
    places = [str(place) for place, is_missing in enumerate(missing) if is_missing]
    return {**headers, UNSCORED_ROWS: ",".join(places)}


def encode_message(reply: PredictReply) -> apis_pb2.PredictResponse:
    """The answer as a protobuf message."""
    message = apis_pb2.PredictResponse()
    message.header.SetInParent()
    missing = reply.missing
    message.header.data.update(reply.headers if missing is None else _with_unscored_rows(reply.headers, missing))
    message.status.code, message.status.msg = reply.code, reply.message
    message.service_spec.id = reply.service
    scores = reply.scores
    if scores is not None and len(scores.schema):
        marks = iter(missing or ())
        for row in scores.matrix().tolist():
            while next(marks, False):
                message.results.add()
            result = message.results.add()
            for name, value in zip(scores.schema.names, row, strict=True):
                result.scores.add(name=name, value=value)
        for _ in marks:
            message.results.add()
    return message
