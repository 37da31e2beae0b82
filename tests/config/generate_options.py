"""Write the tables of docs/config.md from the config's own descriptions.

python tests/config/generate_options.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sfs_core.cli.plugins import type_text
from sfs_core.config.schema import ServerConfig

PAGE = Path(__file__).parents[2] / "docs" / "config.md"
MARK = "<!-- Below: written by tests/config/generate_options.py -->\n"


def generated() -> str:
    """The text that the page should have."""
    head, _, _ = PAGE.read_text().partition(MARK)
    schema = ServerConfig.model_json_schema()
    definitions = schema["$defs"]
    lines = ["", "## Options", ""]
    for path, block in _blocks("", schema, definitions):
        if path:
            lines += [f"### `{path}`", "", block["description"].partition("\n")[0], ""]
        lines += ["| Option | Type | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(name, its, block, definitions) for name, its in block["properties"].items()]
        lines.append("")
    return head + MARK + "\n".join(lines)


def _blocks(path: str, block: Any, definitions: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A block of options and all inside of it, with the paths that configs have them at."""
    yield path, block
    for name, its in block["properties"].items():
        for each, suffix in (
            (its, ""),
            (its.get("items", {}), "[]"),
            (its.get("additionalProperties", {}), ".<party>"),
        ):
            inner = _referred(each, definitions) if isinstance(each, dict) else None
            if inner and inner.get("properties"):  # else all options are components' own
                yield from _blocks(f"{path}.{name}{suffix}".lstrip("."), inner, definitions)


def _referred(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """The block of options that a schema refers to, if it does."""
    references = [each["$ref"] for each in [schema, *schema.get("anyOf", [])] if "$ref" in each]
    return definitions[references[0].rpartition("/")[2]] if references else None


def _row(name: str, its: Mapping[str, Any], block: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    inner = _referred(its, definitions)
    default = "required" if name in block.get("required", []) else ""
    if not default and its.get("default") is not None and not inner:
        default = f"`{json.dumps(its['default'])}`"
    text = " ".join(its.get("description", (inner or {}).get("description", "")).split())
    kind = type_text(its, definitions).replace(" or null", "")
    return f"| `{name}` | {kind} | {default} | {text} |".replace("  ", " ")


if __name__ == "__main__":
    PAGE.write_text(generated())
