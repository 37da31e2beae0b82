"""A config as it will be used, for people to look at: defaults filled in, secrets left out."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from sfs_core.config.document import Node
from sfs_core.config.loaded import LoadedConfig

__all__ = ["resolved"]

_HIDDEN: Final = "**********"
"""What pydantic prints for a secret."""


def resolved(loaded: LoadedConfig) -> dict[str, Any]:
    """The document that says all that `loaded` does, also where its file relies on defaults.

    Options declared as secrets are `**********`. What comes from the environment or from files stays a
    placeholder: it may be secret, and the document can be used as a config elsewhere.
    """
    document = _plain(loaded.config)
    for entry, service in zip(document["services"], loaded.services, strict=True):
        choice = service.config.model.source
        entry["model"]["source"] = {"name": choice.name, "path": choice.path, **_plain(service.model_options)}
        features = service.config.features
        if features is None:
            continue
        blocks = entry["features"]["sources"] if features.sources is not None else [entry["features"]]
        for block, part, source in zip(blocks, features.parts, service.feature_sources, strict=False):
            block["source"] = {"name": part.source.name, **_plain(source.options)}
    document["operators"] = {name: _plain(each.options) for name, each in loaded.operators.items()}
    restored: dict[str, Any] = _with_placeholders(document, loaded.file.tree)
    return restored


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(
        mode="json", by_alias=True, exclude_none=True, fallback=lambda value: f"<{type(value).__name__}>"
    )


def _with_placeholders(value: Any, node: Node) -> Any:
    """`value` with the texts of the file where those had placeholders."""
    if value == _HIDDEN:
        return value
    if node.template is not None:
        return node.template
    if isinstance(value, dict) and isinstance(node.value, dict):
        lost = [its for key, its in node.value.items() if key not in value]
        if not any(map(_has_placeholder, lost)):
            return {
                key: _with_placeholders(inner, node.value[key]) if key in node.value else inner
                for key, inner in value.items()
            }
    if isinstance(value, list) and isinstance(node.value, list) and len(value) == len(node.value):
        return [_with_placeholders(inner, its) for inner, its in zip(value, node.value, strict=True)]
    return _HIDDEN if _has_placeholder(node) else value  # a plugin made something else of what the file says


def _has_placeholder(node: Node) -> bool:
    children = node.value.values() if isinstance(node.value, dict) else node.value
    return node.template is not None or (isinstance(node.value, dict | list) and any(map(_has_placeholder, children)))
