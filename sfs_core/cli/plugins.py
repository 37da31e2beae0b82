"""`sfs plugins`: what is installed, what a component is and takes, and the files of a new one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from sfs_core.cli import new_plugin
from sfs_core.cli.tables import print_table
from sfs_core.errors import PluginError
from sfs_core.host.discovery import PluginInfo
from sfs_core.host.known_plugins import KNOWN_PLUGINS
from sfs_core.host.registry import KINDS, Kind, Registry, nearest_name
from sfs_core.sdk.hookspecs import PLUGIN_API
from sfs_core.sdk.specs import ComponentSpec, Egress, FeatureSourceSpec, ModelSourceSpec

__all__ = ["command", "type_text"]

_EGRESS: Final[dict[Egress, str]] = {
    "none": "sends no query ids and no features to others",
    "ids": "sends query ids to the service that it asks",
    "features": "sends features to the service that it asks",
}
_SECTIONS: Final = {
    "feature_source": ("features:\n  source:\n    name: {}", "    "),
    "model_source": ("model:\n  source:\n    name: {}", "    "),
    "operator": ("operators:\n  {}:", "    "),
    "authenticator": ("callers:\n  authenticators:\n    - name: {}", "      "),
}
"""Where in a config a component of a kind is chosen or set, and how far its options are indented there."""
_DEEPEST: Final = 4
"""Levels of options inside of options that are shown; a plugin's may go on for ever."""
_ATTRIBUTE_TYPES: Final = {
    "s": "string",
    "b": "bool",
    "by": "bytes",
    "d": "double",
    "f": "float",
    "i64": "int64",
    "i32": "int32",
}

_Command = TypeVar("_Command", bound=Callable[..., None])


@click.group("plugins")
def command() -> None:
    """Show the plugins that are installed and what they offer, or begin a new one."""


command.add_command(new_plugin.command)


def _selection(function: _Command) -> _Command:
    for option in (
        click.option("--deny", multiple=True, metavar="ID", help="As plugins.deny of a config; repeat."),
        click.option("--allow", multiple=True, metavar="ID", help="As plugins.allow of a config; repeat."),
        click.option(
            "--plugin-dir",
            "plugin_directories",
            multiple=True,
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="A folder of one-file plugins; repeat.",
        ),
    ):
        function = option(function)
    return function


# --------------------------------------------------------------------------------------------------- list
@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_selection
def list_plugins(
    as_json: bool, plugin_directories: tuple[Path, ...], allow: tuple[str, ...], deny: tuple[str, ...]
) -> None:
    """List all plugins found: active, disabled and broken ones."""
    plugins = Registry.discover(allow, deny, plugin_directories).plugins
    if as_json:
        document = {"plugin_api": PLUGIN_API, "plugins": [_as_json(plugin) for plugin in plugins]}
        print(json.dumps(document, indent=2))
        return
    if not plugins:
        print("no plugins are installed")
        return
    print_table(
        ("plugin", "version", "api", "status", "components", "ms"),
        [
            (
                plugin.id if plugin.id == plugin.distribution else f"{plugin.id} ({plugin.distribution})",
                plugin.version,
                plugin.api,
                plugin.status,
                ", ".join(spec.name for spec in plugin.components),
                f"{plugin.milliseconds:.1f}",
            )
            for plugin in plugins
        ],
    )
    for plugin in plugins:
        if plugin.reason:
            print(f"{plugin.id}: {plugin.reason}")


def _as_json(plugin: PluginInfo) -> dict[str, object]:
    return {
        "id": plugin.id,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "api": plugin.api,
        "status": plugin.status,
        "reason": plugin.reason,
        "components": [_component_as_json(spec) for spec in plugin.components],
        "milliseconds": round(plugin.milliseconds, 3),
    }


def _component_as_json(spec: ComponentSpec) -> dict[str, str]:
    facts = {"kind": spec.kind, "name": spec.name, "summary": spec.summary}
    return {**facts, "egress": spec.egress} if isinstance(spec, FeatureSourceSpec | ModelSourceSpec) else facts


# ------------------------------------------------------------------------------------------------ explain
@command.command("explain")
@click.argument("name")
@click.option("--kind", type=click.Choice([kind.replace("_", "-") for kind in KINDS]), help="Of this kind only.")
@_selection
def explain(
    name: str, kind: str | None, plugin_directories: tuple[Path, ...], allow: tuple[str, ...], deny: tuple[str, ...]
) -> None:
    """Explain a component (or a plugin) by NAME: who offers it, what it does, its options."""
    registry = Registry.discover(allow, deny, plugin_directories)
    offered = {(spec.kind, spec.name) for plugin in registry.plugins for spec in plugin.components}
    kinds = [each for each in KINDS if kind in {None, each.replace("_", "-")}]
    if kind:
        found = kinds  # looked up even when absent: the registry then says why
    else:
        known = [each for each in kinds if (each, name) in KNOWN_PLUGINS]
        found = [each for each in kinds if (each, name) in offered] or known
    plugins = [plugin for plugin in registry.plugins if plugin.id == name] if kind is None else []
    if not (found or plugins):
        nearest = nearest_name(name, {each for _, each in offered} | {plugin.id for plugin in registry.plugins})
        hint = f"did you mean {nearest!r}?" if nearest else "`sfs plugins list` shows what is installed"
        raise PluginError(f"no component or plugin named {name!r} is installed", hint=hint)
    for plugin in plugins:
        _explain_plugin(registry, plugin)
    for each in found:
        _explain_component(registry, each, name)


def _explain_plugin(registry: Registry, plugin: PluginInfo) -> None:
    print(f"plugin {plugin.id}, {plugin.status}{f': {plugin.reason}' if plugin.reason else ''}")
    print(f"from {plugin.provenance}, plugin API {plugin.api or 'unknown'}")
    if plugin.components:
        print_table(("kind", "name", "summary"), [(spec.title, spec.name, spec.summary) for spec in plugin.components])
    if plugin.status == "active" and any(spec.kind == "operator" for spec in plugin.components):
        with suppress(PluginError):  # they have different options, or cannot be imported: `explain` of each tells
            config = registry.operator_options(plugin.id)
            if config.model_fields:
                print("\nOptions of its operators:")
                _explain_options(config.model_json_schema(), "operator", plugin.id)
    print()


def _explain_component(registry: Registry, kind: Kind, name: str) -> None:
    spec = registry.spec(kind, name)
    print(f"{spec.title} {name}: {spec.summary}")
    print(f"from {registry.provider(kind, name).provenance}")
    if kind == "operator":
        _explain_operator(registry, name)
    elif kind == "command":
        registry.command(name)  # which says what is wrong with it
        print(f"`sfs {name} --help` says more")
    else:
        if isinstance(spec, FeatureSourceSpec | ModelSourceSpec):
            print(_EGRESS[spec.egress])
        find: Callable[[str], type[Any]] = getattr(registry, kind)
        _explain_options(find(name).Config.model_json_schema(), kind, name)
    print()


def _explain_operator(registry: Registry, name: str) -> None:
    definition = registry.operator(name).definition
    tags = [tag for tag in ("returnable", "mergeable", "variable_inputs", "exact_version") if getattr(definition, tag)]
    print(f"version {definition.version}")
    print(f"inputs: {', '.join(definition.inputs)}")
    print(f"output: {definition.output}")
    print(f"tags: {', '.join(tags) or 'none'}")
    if definition.description:
        print(f"\n{inspect.cleandoc(definition.description)}")
    if definition.attributes:
        print()
        print_table(
            ("attribute", "type", "default", "description"),
            [
                (
                    attribute.name,
                    _ATTRIBUTE_TYPES[attribute.case.removesuffix("s") or "s"] + " list" * attribute.is_list,
                    repr(attribute.default).replace("'", '"'),
                    attribute.description,
                )
                for attribute in definition.attributes
            ],
        )
    config = registry.operator(name).Config
    if config.model_fields:
        print("\nOptions in a config, under this name, or under the plugin's id for all of its operators:")
        _explain_options(config.model_json_schema(), "operator", name)


def _explain_options(schema: Mapping[str, Any], kind: Kind, name: str) -> None:
    definitions = schema.get("$defs", {})
    rows = list(_option_rows(schema, definitions))
    if rows:
        print()
        print_table(("option", "type", "default", "description"), rows)
    section, indent = _SECTIONS[kind]
    print(f"\n{section.format(name)}")
    for option, its in schema.get("properties", {}).items():
        if option in schema.get("required", []):
            print(f"{indent}{option}: <{type_text(its, definitions)}>")
        else:
            print(f"{indent}# {option}: {json.dumps(its.get('default'))}")


def _option_rows(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], before: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and description of each option, and after it of those inside of it."""
    for option, its in schema.get("properties", {}).items():
        name = f"{before}{option}"
        default = "required" if option in schema.get("required", []) else json.dumps(its.get("default"))
        yield name, type_text(its, definitions), default, " ".join(its.get("description", "").split())
        if name.count(".") < _DEEPEST:
            for step, inside in _objects_in(its, definitions):
                yield from _option_rows(inside, definitions, f"{name}{step}.")


def _objects_in(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas of objects that an option holds, each with the way to it from there."""
    if "$ref" in schema:
        yield from _objects_in(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for each in schema.get("anyOf") or schema.get("oneOf") or ():
        yield from _objects_in(each, definitions)
    for key, step in (("items", "[]"), ("additionalProperties", ".<name>")):
        if isinstance(schema.get(key), Mapping):
            yield from ((step + rest, each) for rest, each in _objects_in(schema[key], definitions))
    if "properties" in schema:
        yield "", schema


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in a few words."""
    if "$ref" in schema:
        return type_text(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(type_text(each, definitions) for each in alternatives)
    if "enum" in schema or "const" in schema:
        return " or ".join(map(str, schema.get("enum", [schema.get("const")])))
    text = str(schema.get("type", "anything"))
    if text == "array":
        text = f"list of {type_text(schema.get('items', {}), definitions)}"
    if text == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        text = f"mapping to {type_text(schema['additionalProperties'], definitions)}"
    return ", ".join([schema.get("format", text).replace("password", "secret"), *_bounds(schema)])


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")):
        if key in schema:
            yield f"{sign} {schema[key]}"
