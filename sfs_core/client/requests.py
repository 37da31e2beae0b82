"""Requests from what Python programs have at hand."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from sfs_core.errors import FeatureError, RequestError
from sfs_core.proto import apis_pb2, serving_pb2

__all__ = ["Features", "Ids", "build_request", "id_strings", "row_count"]

Ids = Sequence[Any] | Mapping[str, Sequence[Any]]
"""Strings or integers in row order: what every party looks up, or by party."""
Features = Mapping[str, Any]
"""Values by feature, in row order: lists, NumPy arrays, pandas or Arrow columns."""

_TYPE_OF_DTYPE: Final = {
    "bool": "FIELD_BOOL",
    "int8": "FIELD_INT32",
    "uint8": "FIELD_INT32",
    "int16": "FIELD_INT32",
    "uint16": "FIELD_INT32",
    "int32": "FIELD_INT32",
    "uint32": "FIELD_INT64",
    "int64": "FIELD_INT64",
    "uint64": "FIELD_INT64",
    "float32": "FIELD_FLOAT",
    "float64": "FIELD_DOUBLE",
}
_LIST_OF_TYPE: Final = {
    "FIELD_BOOL": "bs",
    "FIELD_INT32": "i32s",
    "FIELD_INT64": "i64s",
    "FIELD_FLOAT": "fs",
    "FIELD_DOUBLE": "ds",
    "FIELD_STRING": "ss",
}


def build_request(
    service: str,
    parties: Sequence[str],
    ids: Ids | None,
    features: Features | None,
    contexts: Mapping[str, str],
    headers: Mapping[str, str],
) -> apis_pb2.PredictRequest:
    """The message of a request.

    Args:
        service: the service id.
        parties: who looks `ids` up, where that is no mapping.
        ids: what the parties look up; None where all features are sent along.
        features: of the party that is asked, which then looks nothing up.
        contexts: free text for each party's feature source.
        headers: entries of the request's header.

    Raises:
        RequestError: there is nothing to score, no party to look it up, or an id is neither text nor integer.
        FeatureError: values of a feature are of no type that can be sent.
    """
    by_party = _by_party(parties, ids)
    if not by_party and not features:
        raise RequestError("neither ids nor features to score are given")
    if unknown := sorted(set(contexts) - set(by_party)):
        raise RequestError(f"a context is given for {', '.join(unknown)}, but no ids are")
    request = apis_pb2.PredictRequest()
    request.service_spec.id = service
    request.header.data.update(headers)
    for party, values in by_party.items():
        param = request.fs_params[party]
        param.query_datas.extend(id_strings(values))
        param.query_context = contexts.get(party, "")
    request.predefined_features.extend(_feature(name, values) for name, values in (features or {}).items())
    return request


def _by_party(parties: Sequence[str], ids: Ids | None) -> Mapping[str, Sequence[Any]]:
    if ids is None:
        return {}
    if isinstance(ids, Mapping):
        return ids
    if isinstance(ids, str | bytes):
        raise RequestError("ids are a list, or lists by party; this is a single text", hint="write [id]")
    if not parties:
        raise RequestError("who looks the ids up?", hint="give the client `parties`, or ids by party: {'alice': […]}")
    return dict.fromkeys(parties, ids)


def id_strings(ids: Sequence[Any]) -> list[str]:
    """Ids as they travel. Raises RequestError where one is neither text nor integer (names its place, not itself)."""
    plain = ids.tolist() if hasattr(ids, "tolist") else ids.to_pylist() if hasattr(ids, "to_pylist") else list(ids)
    for i, id_ in enumerate(plain):
        if not isinstance(id_, str):
            if isinstance(id_, bool) or not isinstance(id_, numbers.Integral):
                raise RequestError(f"id {i} is neither text nor an integer, but {type(id_).__name__}")
            plain[i] = str(int(id_))
    return plain


def row_count(request: apis_pb2.PredictRequest) -> int:
    """Rows that a request asks for. Raises RequestError where the parties' ids and the features differ in number."""
    counts = {f"ids of {party}": len(param.query_datas) for party, param in request.fs_params.items()}
    for feature in request.predefined_features:
        values = getattr(feature.value, _LIST_OF_TYPE[serving_pb2.FieldType.Name(feature.field.type)])
        counts[f"feature {feature.field.name!r}"] = len(values)
    if len(set(counts.values())) > 1:
        raise RequestError(f"the rows differ in number: {', '.join(f'{k} {v}' for k, v in sorted(counts.items()))}")
    rows = next(iter(counts.values()))
    if not rows:
        raise RequestError("there are no rows to score")
    return rows


def _feature(name: str, values: Any) -> serving_pb2.Feature:
    plain, type_ = _plain_values(name, values)
    feature = serving_pb2.Feature()
    feature.field.name = name
    feature.field.type = serving_pb2.FieldType.Value(type_)  # type: ignore[assignment]
    try:
        getattr(feature.value, _LIST_OF_TYPE[type_]).extend(plain)
    except (TypeError, ValueError):
        raise FeatureError(f"feature {name!r}: not all values are present, in range and of one type") from None
    return feature


def _plain_values(name: str, values: Any) -> tuple[list[Any], str]:
    """Values as Python objects, and the type that they are sent as; nothing is widened."""
    if hasattr(values, "to_pylist"):  # Arrow
        if values.null_count:
            raise FeatureError(f"feature {name!r} has {values.null_count} nulls, which cannot be sent")
        dtype = {"bool": "bool", "float": "float32", "double": "float64"}.get(str(values.type), str(values.type))
        return values.to_pylist(), _TYPE_OF_DTYPE.get(dtype) or _type_of_objects(name, values.to_pylist())
    dtype = str(getattr(values, "dtype", "object"))
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    return plain, _TYPE_OF_DTYPE.get(dtype) or _type_of_objects(name, plain)


def _type_of_objects(name: str, values: list[Any]) -> str:
    kinds: set[Any] = {type(value) for value in values}
    if kinds <= {bool, np.bool_}:
        return "FIELD_BOOL"
    if kinds <= {str, np.str_}:
        return "FIELD_STRING"
    if all(issubclass(kind, numbers.Integral) and kind is not bool for kind in kinds):
        return "FIELD_INT64"
    if all(issubclass(kind, numbers.Real) and kind is not bool for kind in kinds):
        return "FIELD_DOUBLE"
    found = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise FeatureError(f"feature {name!r}: values of {found} cannot be sent as one type")
