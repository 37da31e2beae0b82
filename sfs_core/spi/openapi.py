"""The OpenAPI document of the SPI."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from sfs_core.codec.features import VALUE_LISTS
from sfs_core.spi.messages import PATH

__all__ = ["openapi_document"]


_FIELD_TYPE: Final = {
    "description": "The list of FeatureValue that holds the values, in this order: "
    + ", ".join(VALUE_LISTS.values())
    + ". Also as the numbers 1 to 6.",
    "oneOf": [{"type": "string", "enum": list(VALUE_LISTS)}, {"type": "integer", "minimum": 1, "maximum": 6}],
}
_FLOATS: Final = {"oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_HEADER: Final = {
    "type": "object",
    "properties": {"data": {"type": "object", "additionalProperties": {"type": "string"}}},
}


def _record(description: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties, "required": list(required)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


@cache
def openapi_document() -> bytes:
    """The document, as JSON. For services in any language."""
    schemas = {
        "Header": _HEADER
        | {
            "description": "Entries for tracing (X-B3-TraceId, …) and of the caller. In a request, sfs-per-row says "
            "that an answer without the rows of unknown ids will do; in such an answer, sfs-missing-rows has 1 for "
            "each of those and 0 for each other id."
        },
        "FeatureField": _record(
            "A feature's name and type.", {"name": {"type": "string"}, "type": _FIELD_TYPE}, "name", "type"
        ),
        "FeatureValue": _record(
            "The values, in the one list that the field's type says: value i belongs to query_datas[i].",
            {
                "bs": _list({"type": "boolean"}),
                "i32s": _list({"type": "integer", "format": "int32"}),
                "i64s": _list({"oneOf": [{"type": "integer", "format": "int64"}, {"type": "string"}]}),
                "fs": _list(_FLOATS),
                "ds": _list(_FLOATS),
                "ss": _list({"type": "string"}),
            },
        ),
        "Feature": _record(
            "One feature of all rows.",
            {"field": _ref("FeatureField"), "value": _ref("FeatureValue")},
            "field",
            "value",
        ),
        "FeatureParam": _record(
            "Which rows.",
            {
                "query_datas": _list({"type": "string"})
                | {"description": "The rows' ids, in order. An id may stand there more than once."},
                "query_context": {"type": "string", "description": "The caller's free text; absent when empty."},
            },
            "query_datas",
        ),
        "BatchFetchFeatureRequest": _record(
            "Which features of which rows are wanted.",
            {
                "header": _ref("Header"),
                "model_service_id": {"type": "string", "description": "The model service that asks."},
                "party_id": {"type": "string", "description": "The party that asks."},
                "feature_fields": _list(_ref("FeatureField")),
                "param": _ref("FeatureParam"),
            },
            "feature_fields",
            "param",
        ),
        "Status": _record(
            "How it went; what is absent went well.",
            {
                "code": {
                    "type": "integer",
                    "enum": [0, 3, 4, 5, 13, 16],
                    "description": "0 well, 3 the request is wrong, 4 too slow, 5 ids are not known, "
                    "13 the service failed, 16 the caller is not accepted.",
                },
                "msg": {"type": "string", "description": "For people; no ids and no values."},
            },
        ),
        "BatchFetchFeatureResponse": _record(
            "All features asked for, or the code that says why not. The reference refuses keys other than these.",
            {"header": _ref("Header"), "status": _ref("Status"), "features": _list(_ref("Feature"))},
        ),
    }
    answer = {"application/json": {"schema": _ref("BatchFetchFeatureResponse")}}
    operation = {
        "operationId": "BatchFetchFeature",
        "summary": "Fetch features of rows.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("BatchFetchFeatureRequest")}},
        },
        "responses": {
            "200": {"description": "The features, or a status code other than 0.", "content": answer},
            "400": {"description": "The body is no such request.", "content": answer},
        },
    }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "BatchFeatureService",
            "version": "1",
            "description": "What a feature service answers to a party's server.",
        },
        "paths": {PATH: {"post": operation}},
        "components": {"schemas": schemas},
    }
    return json.dumps(document, indent=2).encode()
