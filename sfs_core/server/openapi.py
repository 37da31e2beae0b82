"""What the service port serves over HTTP, as an OpenAPI document and as a page to try it on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from sfs_core import __version__
from sfs_core.codec.features import VALUE_LISTS
from sfs_core.codec.tensors import DATATYPES
from sfs_core.link.rpc import Page

__all__ = ["document_pages", "openapi_document"]

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"oneOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_REFUSALS: Final = {
    "400": "the body cannot be read, or is not what is expected",
    "401": "callers must say who they are",
    "403": "this caller may not ask that",
    "404": "there is no such model, or there are no rows for these ids",
    "413": "the body is too large",
    "415": "the body's content type or coding is not read",
    "429": "this caller asks too often, or too much",
    "500": "it failed; the server's log says more",
    "502": "another party failed",
    "503": "not ready, or too many calls are under way",
}


def document_pages() -> Mapping[str, Page]:
    """`/openapi.json` and `/docs`."""
    return {
        "/openapi.json": lambda: (200, "application/json", openapi_document()),
        "/docs": lambda: (200, "text/html; charset=utf-8", _docs()),
    }


@cache
def _docs() -> bytes:
    return (resources.files("sfs_core.server") / "docs.html").read_bytes()


@cache
def openapi_document() -> bytes:
    """The document, as JSON."""
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "SFS",
            "version": __version__,
            "description": "Scores of models whose features several parties hold.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }
    return json.dumps(document, indent=1).encode()


def _paths() -> dict[str, Any]:
    return {
        "/PredictionService/Predict": _post(
            "Score rows. Failures of a prediction are told by `status.code` of an answer with HTTP status 200.",
            "PredictRequest",
            "PredictResponse",
        ),
        "/ModelService/GetModelInfo": _post("Describe a model.", "GetModelInfoRequest", "GetModelInfoResponse"),
        "/health": _get("Whether the server is alive.", {"200": _plain("alive")}),
        "/ready": _get("Whether predictions are answered.", _either("Readiness")),
        "/v2": _get("What this server is.", {"200": _json("ServerMetadata")}),
        "/v2/health/live": _get("Whether the server is alive.", {"200": _json("Live")}),
        "/v2/health/ready": _get("Whether predictions are answered.", _either("Readiness")),
        "/v2/models/{model}": _get(
            "What a model takes and gives.", {"200": _json("ModelMetadata"), "404": _json("Error")}, model=True
        ),
        "/v2/models/{model}/ready": _get(
            "Whether a model answers predictions.",
            {**_either("ModelReady"), "404": _json("Error")},
            model=True,
        ),
        "/v2/models/{model}/infer": _post("Score rows.", "InferRequest", "InferResponse", model=True, errors="Error"),
        "/openapi.json": _get("This document.", {"200": {"description": "it", "content": {"application/json": {}}}}),
        "/docs": _get("A page to try a prediction on.", {"200": {"description": "it", "content": {"text/html": {}}}}),
    }


# ------------------------------------------------------------------------------ operations
def _get(summary: str, responses: dict[str, Any], *, model: bool = False) -> dict[str, Any]:
    operation = {"summary": summary, "responses": {**responses, "503": responses.get("503", _plain(_REFUSALS["503"]))}}
    return {"get": operation, **_parameters(model=model)}


def _post(summary: str, request: str, response: str, *, model: bool = False, errors: str = "") -> dict[str, Any]:
    refusals = {status: _refusal(text, errors) for status, text in _REFUSALS.items()}
    body = {"required": True, "content": {"application/json": {"schema": _ref(request)}}}
    operation = {"summary": summary, "requestBody": body, "responses": {"200": _json(response), **refusals}}
    return {"post": operation, **_parameters(model=model)}


def _parameters(*, model: bool) -> dict[str, Any]:
    parameter = {"name": "model", "in": "path", "required": True, "description": "The service id.", "schema": _TEXT}
    return {"parameters": [parameter]} if model else {}


def _refusal(text: str, errors: str) -> dict[str, Any]:
    content: dict[str, Any] = {"text/plain": {"schema": _TEXT}}
    if errors:
        content["application/json"] = {"schema": _ref(errors)}
    return {"description": text, "content": content}


def _plain(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"text/plain": {"schema": _TEXT}}}


def _json(name: str) -> dict[str, Any]:
    return {"description": name, "content": {"application/json": {"schema": _ref(name)}}}


def _either(name: str) -> dict[str, Any]:
    return {"200": _json(name), "503": _json(name)}


# --------------------------------------------------------------------------------- schemas
def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _record(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _schemas() -> dict[str, Any]:
    header = _record(data={"type": "object", "additionalProperties": _TEXT})
    spec = _record(id=_TEXT)
    status = _record("code", "msg", code={"type": "integer", "description": "1: fine"}, msg=_TEXT)
    param = _record(query_datas=_list(_TEXT), query_context=_TEXT)
    return {**_rpc_schemas(header, spec, status, param), **_inference_schemas()}


def _rpc_schemas(header: Any, spec: Any, status: Any, param: Any) -> dict[str, Any]:
    lists = {
        "bs": _list({"type": "boolean"}),
        "i32s": _list({"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}),
        "i64s": _list({"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}),
        "fs": _list(_NUMBER),
        "ds": _list(_NUMBER),
        "ss": _list(_TEXT),
    }
    field = _record("name", "type", name=_TEXT, type={"enum": list(VALUE_LISTS)})
    result = _record(scores=_list(_record("name", "value", name=_TEXT, value=_NUMBER)))
    return {
        "PredictRequest": _record(
            "service_spec",
            header=header,
            service_spec=spec,
            fs_params={
                "type": "object",
                "description": "What each party looks up: ids in the order of rows.",
                "additionalProperties": param,
            },
            predefined_features=_list(_record("field", field=field, value=_record(**lists))),
        ),
        "PredictResponse": _record("status", header=header, status=status, service_spec=spec, results=_list(result)),
        "GetModelInfoRequest": _record("service_spec", header=header, service_spec=spec),
        "GetModelInfoResponse": _record("status", header=header, status=status, model_info={"type": "object"}),
    }


def _inference_schemas() -> dict[str, Any]:
    tensor = {"name": _TEXT, "shape": _list({"type": "integer", "minimum": -1}), "datatype": {"enum": list(DATATYPES)}}
    row = {"type": ["string", "number", "boolean"]}
    flag = {"type": "boolean"}
    number = {"type": ["number", "null"]}
    progress = _record("percent", percent=number, seconds_left=number)
    return {
        "Error": _record("error", error=_TEXT, code={"type": "integer"}),
        "Live": _record("live", live=flag),
        "Readiness": _record(
            "ready",
            ready=flag,
            services=_list(_TEXT),
            waiting_for_peers=_list(_TEXT),
            failing_feature_sources=_list(_TEXT),
            preparing={"type": "object", "additionalProperties": progress},
        ),
        "ServerMetadata": _record("name", "version", name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
        "ModelMetadata": _record(
            "name",
            "platform",
            "inputs",
            "outputs",
            name=_TEXT,
            versions=_list(_TEXT),
            platform=_TEXT,
            inputs=_list(_record(*tensor, **tensor)),
            outputs=_list(_record(*tensor, **tensor)),
        ),
        "ModelReady": _record("name", "ready", name=_TEXT, ready=flag),
        "InferRequest": _record(
            "inputs",
            id=_TEXT,
            inputs={
                **_list(
                    _record(
                        *tensor,
                        "data",
                        **tensor,
                        parameters=_record(query_context=_TEXT),
                        data=_list({"anyOf": [row, _list(row)]}),
                    )
                ),
                "description": "Tensors of shape [rows] or [rows, 1]. One with a party's name holds the ids that "
                "this party looks up (BYTES); any other holds a feature.",
            },
            outputs=_list(_record("name", name=_TEXT)),
        ),
        "InferResponse": _record(
            "model_name",
            "outputs",
            model_name=_TEXT,
            id=_TEXT,
            outputs=_list(_record(*tensor, "data", **tensor, data=_list({"oneOf": [_NUMBER, {"type": "null"}]}))),
        ),
    }
