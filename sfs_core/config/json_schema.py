"""The JSON schema of config files, with the options of all components that are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, PydanticUserError

from sfs_core.config.callers import AuthenticatorChoice
from sfs_core.config.schema import OperatorOptions, ServerConfig
from sfs_core.config.service import ModelChoice, Service
from sfs_core.config.source_choice import SourceChoice
from sfs_core.errors import PluginError
from sfs_core.host.registry import Registry
from sfs_core.sdk.specs import ComponentSpec

__all__ = ["json_schema"]

JsonSchema = dict[str, Any]
_SourceKind = Literal["model_source", "feature_source", "authenticator"]

_PLACEHOLDER: Final[JsonSchema] = {
    "type": "string",
    "pattern": r"\$\{(env|file):",
    "description": "A value that is read from the environment, ${env:NAME}, or from a file, ${file:PATH}.",
}
_ANNOTATIONS: Final = ("title", "description", "default")


def json_schema(registry: Registry) -> JsonSchema:
    """What a config file of ours may hold, as JSON Schema of draft 2020-12, for editors.

    A source may be any component of `registry`, with its own options. One that cannot be imported may have any.
    """
    schema = ServerConfig.model_json_schema()
    definitions = schema["$defs"]
    _allow_shorthand(schema, definitions[Service.__name__])
    _offer_components(definitions, registry, "model_source", ModelChoice)
    _offer_components(definitions, registry, "feature_source", SourceChoice)
    _offer_components(definitions, registry, "authenticator", AuthenticatorChoice)
    _offer_operators(schema, registry)
    _allow_placeholders(schema)
    definitions["Placeholder"] = _PLACEHOLDER
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "SFS config"}


def _allow_shorthand(schema: JsonSchema, service: JsonSchema) -> None:
    """A single service may be written at the top level."""
    schema["properties"] = service["properties"] | schema["properties"]
    schema["required"].remove("services")
    one_of_them = [{"required": [name]} for name in service["properties"]]
    schema["oneOf"] = [
        {"required": service["required"], "not": {"required": ["services"]}},
        {"required": ["services"], "not": {"anyOf": one_of_them}},
    ]


def _offer_components(definitions: JsonSchema, registry: Registry, kind: _SourceKind, model: type[BaseModel]) -> None:
    core = definitions[model.__name__]
    specs = registry.specs(kind)
    if specs:  # else any name will do: a list of no alternatives would not be a schema
        offers = [_component(definitions, registry, kind, spec, core) for spec in specs]
        definitions[model.__name__] = {"description": core["description"], "oneOf": offers}


def _offer_operators(schema: JsonSchema, registry: Registry) -> None:
    """Options under the names of operators, and of plugins whose operators share theirs."""
    names = {spec.name for spec in registry.specs("operator")}
    names |= {plugin.id for plugin in registry.plugins if any(spec.kind == "operator" for spec in plugin.components)}
    offers = {name: offer for name in sorted(names) if (offer := _operator_options(schema["$defs"], registry, name))}
    section = schema["properties"]["operators"]
    schema["properties"]["operators"] = {**section, "properties": offers, "additionalProperties": False}
    del schema["$defs"][OperatorOptions.__name__]


def _operator_options(definitions: JsonSchema, registry: Registry, name: str) -> JsonSchema | None:
    """The options of an operator or a plugin's operators; None where they cannot be set so."""
    prefix = f"operator.{name}"
    try:
        options = registry.operator_options(name).model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    except (PluginError, PydanticUserError):
        return None
    definitions.update({f"{prefix}.{inner}": its for inner, its in options.pop("$defs", {}).items()})
    return {**options, "title": name}


def _component(
    definitions: JsonSchema,
    registry: Registry,
    kind: _SourceKind,
    spec: ComponentSpec,
    core: Mapping[str, Any],
) -> JsonSchema:
    """One component's source block: what core reads of it, and the component's own options."""
    prefix = f"{kind}.{spec.name}"
    try:
        find: Callable[[str], type[Any]] = getattr(registry, kind)
        options = find(spec.name).Config.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    except (PluginError, PydanticUserError):
        options = {"additionalProperties": True}
    definitions.update({f"{prefix}.{name}": inner for name, inner in options.pop("$defs", {}).items()})
    name = {**core["properties"]["name"], "const": spec.name}
    return {
        "title": spec.name,
        "description": spec.summary,
        "type": "object",
        "properties": options.get("properties", {}) | core["properties"] | {"name": name},
        "required": [*core["required"], *options.get("required", [])],
        "additionalProperties": options.get("additionalProperties", True),
    }


def _allow_placeholders(schema: JsonSchema) -> None:
    """Numbers, truth values and texts of a fixed form may be placeholders, too; changes `schema`."""
    for group in ("properties", "$defs"):
        for inner in schema.get(group, {}).values():
            _allow_placeholders(inner)
    for alternatives in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(alternatives, []):
            _allow_placeholders(inner)
    for rest in ("items", "additionalProperties"):
        if isinstance(schema.get(rest), dict):
            _allow_placeholders(schema[rest])
    if schema.get("type") in ("integer", "number", "boolean") or not {"enum", "pattern"}.isdisjoint(schema):
        itself = {key: schema.pop(key) for key in list(schema) if key not in _ANNOTATIONS}
        schema["anyOf"] = [itself, {"$ref": "#/$defs/Placeholder"}]
