"""What is said to a feature service and what it answers: BatchFetchFeature of the reference, in protobuf's JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from sfs_core import Batch, ErrorCode, FeatureError, FeatureQuery, FeatureResult, Schema, SfsError
from sfs_core.spi import MISSING_ROWS, PER_ROW, batch_of_features, field_type

__all__ = ["TRACE_KEYS", "AnswerReader", "OtherIdsError", "RequestWriter"]

TRACE_KEYS: Final = ("X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled")
_PLACE: Final = re.compile(r"at `(\$[^`]*)`$")
_LISTS: Final[Mapping[str, Any]] = {
    "i32s": list[int],
    "i64s": list[int],
    "fs": list[float],
    "ds": list[float],
    "ss": list[str],
    "bs": list[bool],
}
_STATUSES: Final = {
    3: (ErrorCode.FS_INVALID_ARGUMENT, "the feature service finds the request wrong"),
    4: (ErrorCode.FS_DEADLINE_EXCEEDED, "the feature service did not finish in time"),
    5: (ErrorCode.FS_NOT_FOUND, "the feature service does not have what it is asked for"),
    13: (ErrorCode.FS_INTERNAL_ERROR, "the feature service failed"),
    16: (ErrorCode.FS_UNAUTHENTICATED, "the feature service does not accept this client"),
}


# ------------------------------------------------------------------------------------------------- requests
class _Header(msgspec.Struct):
    data: dict[str, str]  # also when empty: services know the reference, which always has entries for tracing


class _Field(msgspec.Struct):
    name: str
    type: str


class _Param(msgspec.Struct, omit_defaults=True):
    query_datas: list[str]
    query_context: str = ""


class _Request(msgspec.Struct, omit_defaults=True):
    header: _Header
    model_service_id: str
    party_id: str
    feature_fields: list[_Field]
    param: _Param


class RequestWriter:
    """Writes the requests of one service.

    Args:
        service: the service's id.
        party: this party's id.
        schema: the features to ask for.
        allowed: names of the header entries that go along besides the tracing ones; None for all.
        id_field: the feature that is the id itself, if there is one.
        per_row: whether to ask for the rows that there are where others are not.

    Raises:
        FeatureError: a feature's type cannot be sent (code 3).
    """

    def __init__(
        self, service: str, party: str, schema: Schema, allowed: Sequence[str] | None, *, id_field: str, per_row: bool
    ) -> None:
        self._service = service
        self._party = party
        self._fields = [
            _Field(name, field_type(type_, name)) for name, type_ in zip(schema.names, schema.types, strict=True)
        ]
        if id_field and id_field not in schema.names:
            self._fields.append(_Field(id_field, "FIELD_STRING"))
        self._allowed = None if allowed is None else frozenset(allowed)
        self._own = {PER_ROW: "1"} if per_row else {}

    def write(self, query: FeatureQuery) -> bytes:
        """The request's body.

        Raises:
            FeatureError: an id or a header entry is no Unicode text (code 3).
        """
        given = query.headers
        data = {key: given[key] for key in TRACE_KEYS if key in given}
        data |= {key: value for key, value in given.items() if self._allowed is None or key in self._allowed}
        data |= self._own
        param = _Param(query.ids, query.context)
        try:
            return msgspec.json.encode(_Request(_Header(data), self._service, self._party, self._fields, param))
        except UnicodeEncodeError:  # a lone surrogate
            raise FeatureError("an id or a header entry is no Unicode text") from None


# -------------------------------------------------------------------------------------------------- answers
def _answers(*, known_only: bool) -> msgspec.json.Decoder[Any]:
    """A decoder of answers that refuses, or passes over, keys that the protocol does not have."""

    def record(name: str, fields: Mapping[str, Any]) -> Any:
        given = [(field, type_ | None, None) for field, type_ in fields.items()]  # null means absent
        return msgspec.defstruct(name, given, forbid_unknown_fields=known_only, gc=False)  # never part of a cycle

    field = record("Field", {"name": str, "type": str | int})
    feature = record("Feature", {"field": field, "value": record("Value", _LISTS)})
    header = record("Header", {"data": dict[str, str]})
    status = record("Status", {"code": int, "msg": str})
    answer = record("Answer", {"header": header, "status": status, "features": list[feature]})  # type: ignore[valid-type]
    return msgspec.json.Decoder(answer, strict=False)  # numbers may come as texts, NaN does


class OtherIdsError(SfsError):
    """An answer's rows are not those of the ids that were asked for."""

    def __init__(self, id_field: str) -> None:
        super().__init__(
            f"the feature {id_field!r} of what the feature service sent does not hold the ids that were asked for",
            code=ErrorCode.FS_INTERNAL_ERROR,
            hint="its rows are others, or in another order; see what is between here and the service, too",
        )


class AnswerReader:
    """Reads what one service answers.

    Args:
        schema: the features needed.
        warn: told, once, that answers hold more than the protocol has.
        widen: whether narrower types of numbers will do.
        id_field: the feature that is the id itself, if there is one.
    """

    def __init__(self, schema: Schema, warn: Callable[[str], None], *, widen: bool = False, id_field: str = "") -> None:
        self._schema = schema
        self._widen = widen
        self._id_field = id_field
        self._warn = warn
        self._strict = _answers(known_only=True)
        self._lenient = _answers(known_only=False)
        self._warned = False

    def read(self, body: bytes, ids: Sequence[str]) -> FeatureResult:
        """The rows that an answer's body holds for the ids.

        Raises:
            FeatureError: it cannot be read (code 9), says that the service failed (100 to 104, else 2), has no
                features (10), not the needed ones (2, 3), or another number of rows (7).
            OtherIdsError: the rows are those of other ids.
        """
        answer = self._decoded(body)
        if answer.status is not None and answer.status.code:
            code, what = _STATUSES.get(
                answer.status.code, (ErrorCode.UNEXPECTED_ERROR, "the feature service failed for a reason of its own")
            )
            raise FeatureError(what, code=code, detail=f"status {answer.status.code}")
        headers = (answer.header.data if answer.header is not None else None) or {}
        missing = _missing_rows(headers.pop(MISSING_ROWS, ""), len(ids))
        if missing and all(missing):
            return FeatureResult(Batch.from_rows(self._schema, []), headers, missing)
        if not answer.features:
            raise FeatureError("the feature service sent no features", code=ErrorCode.IO_ERROR)
        if any(missing):
            ids = [id_ for id_, is_missing in zip(ids, missing, strict=True) if not is_missing]
        named = [found for found in answer.features if found.field is not None]
        if self._id_field:
            self._require_ids(named, ids)
        batch = batch_of_features(named, self._schema, len(ids), widen=self._widen)
        return FeatureResult(batch, headers, missing or None)

    def _decoded(self, body: bytes) -> Any:
        try:
            if not self._warned:
                try:
                    return self._strict.decode(body)
                except msgspec.ValidationError:
                    answer = self._lenient.decode(body)
                    self._warned = True
                    self._warn("the feature service's answers hold keys that the protocol lacks: they are ignored")
                    return answer
            return self._lenient.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            place = _PLACE.search(str(error))  # names of fields and positions; the rest may quote the answer
            raise FeatureError(
                "the feature service's answer cannot be read" + (f" at {place[1]}" if place else ""),
                code=ErrorCode.DESERIALIZE_FAILED,
            ) from None

    def _require_ids(self, features: Sequence[Any], ids: Sequence[str]) -> None:
        for each in features:
            if each.field.name == self._id_field:
                value = each.value
                found = [] if value is None else value.ss or value.i64s or value.i32s or []
                if list(map(str, found)) != list(ids):
                    raise OtherIdsError(self._id_field)
                return
        raise FeatureError(
            f"feature {self._id_field!r} is missing, which should hold the ids",
            code=ErrorCode.UNEXPECTED_ERROR,
            hint="see `id_field`: not every service has such a feature",
        )


def _missing_rows(marks: str, num_rows: int) -> list[bool]:
    if marks and (len(marks) != num_rows or not set(marks) <= {"0", "1"}):
        raise FeatureError(
            f"the feature service's header entry {MISSING_ROWS} is not a 0 or 1 for each id", code=ErrorCode.LOGIC_ERROR
        )
    return [mark == "1" for mark in marks]
