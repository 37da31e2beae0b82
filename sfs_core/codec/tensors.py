"""Predictions as the Open Inference Protocol V2 writes them in JSON: ids and features in tensors, scores in tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
import orjson

from sfs_core.codec.dialect import as_integer
from sfs_core.codec.features import VALUE_LISTS, Feature, FeatureField, FeatureValue
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.errors import RequestError

__all__ = ["InferRequest", "decode_infer", "encode_infer", "predict_request"]

_FIELD_TYPES: Final = {
    "BOOL": "FIELD_BOOL",
    "INT8": "FIELD_INT32",
    "INT16": "FIELD_INT32",
    "INT32": "FIELD_INT32",
    "UINT8": "FIELD_INT32",
    "UINT16": "FIELD_INT32",
    "INT64": "FIELD_INT64",
    "UINT32": "FIELD_INT64",
    "FP32": "FIELD_FLOAT",
    "FP64": "FIELD_DOUBLE",
    "BYTES": "FIELD_STRING",
}
_INTEGERS: Final = ("FIELD_INT32", "FIELD_INT64")
DATATYPES: Final = tuple(_FIELD_TYPES)
"""The datatypes that are read."""


class InputTensor(msgspec.Struct):
    """Ids of a party, or values of a feature: one per row, shape [rows] or [rows, 1]."""

    name: str
    shape: list[int | float]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class _RequestedOutput(msgspec.Struct):
    name: str


class InferRequest(msgspec.Struct):
    """The body of an infer request."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[_RequestedOutput] = []


_decode: Final = msgspec.json.Decoder(InferRequest).decode


def decode_infer(body: bytes) -> InferRequest:
    """A request from JSON.

    Raises:
        RequestError: it is none; the message names the field.
    """
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(f"the request is not as the protocol has it: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise RequestError("the body is not JSON") from None


def predict_request(request: InferRequest, service: str, parties: Collection[str]) -> PredictRequest:
    """The Predict request that asks the same: tensors named as parties hold ids, all others features.

    Raises:
        RequestError: a tensor's shape, datatype or values do not fit together.
    """
    names = [tensor.name for tensor in request.inputs]
    if len(set(names)) < len(names):
        raise RequestError("two tensors have the same name", where="inputs")
    params, features = {}, []
    for index, tensor in enumerate(request.inputs):
        where = f"inputs[{index}]"
        kind = _FIELD_TYPES.get(tensor.datatype)
        if kind is None:
            raise RequestError(f"one of {', '.join(DATATYPES)} is expected", where=f"{where}.datatype")
        values = _values(tensor, where)
        if tensor.name not in parties:
            features.append(_feature(tensor.name, kind, values, where))
        elif tensor.datatype == "BYTES":
            context = tensor.parameters.get("query_context", "")
            params[tensor.name] = FeatureParam(_checked(values, list[str], where), _checked(context, str, where))
        else:
            raise RequestError("ids are texts: BYTES is expected", where=f"{where}.datatype")
    asked = PredictRequest.of(service, params)
    asked.predefined_features = features
    return asked


def _values(tensor: InputTensor, where: str) -> list[Any]:
    rows, *width = tensor.shape or [0]  # 2.0 is an integer, too
    if any(each != 1 for each in width):
        raise RequestError("[rows] or [rows, 1] is expected", where=f"{where}.shape")
    values = tensor.data
    for _ in width:  # the data may be nested as the shape is
        if values and all(isinstance(each, list) and len(each) == 1 for each in values):
            values = [each[0] for each in values]
    if len(values) != rows:
        raise RequestError(f"{len(values)} values do not have this shape", where=f"{where}.shape")
    return values


def _feature(name: str, kind: str, values: list[Any], where: str) -> Feature:
    field = VALUE_LISTS[kind]
    if kind in _INTEGERS:
        values = [as_integer(value) for value in values]
    held = _checked({field: values}, FeatureValue, where)
    return Feature(FeatureField(name, kind), held)


def _checked(value: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise RequestError("a value is not of the tensor's datatype", where=f"{where}.data") from None


def encode_infer(
    service: str, id_: str | None, scores: Sequence[Sequence[Any] | None], names: Sequence[str], wanted: Iterable[str]
) -> bytes:
    """The answer, a tensor per score; null where a row could not be scored.

    Args:
        service: the model's name there.
        id_: as in the request.
        scores: of each row, in the order of `names`; None for a row without.
        names: of the scores.
        wanted: names of the scores that are asked for; none for all.

    Raises:
        RequestError: there is no such score.
    """
    chosen = list(wanted) or list(names)
    if unknown := set(chosen) - set(names):
        raise RequestError(f"{len(unknown)} of the outputs are not there; there is {', '.join(names)}", where="outputs")
    columns = {name: [None if row is None else row[i] for row in scores] for i, name in enumerate(names)}
    outputs = [
        {"name": name, "shape": [len(scores)], "datatype": "FP64", "data": columns[name]}
        for name in dict.fromkeys(chosen)
    ]
    head = {"model_name": service} | ({} if id_ is None else {"id": id_})
    return orjson.dumps(head | {"outputs": outputs})
