"""Write sfs_core/host/known_plugins.py from the declarations of the workspace's plugins.

python tests/host/generate_known_plugins.py
"""

from __future__ import annotations

import sys
import tomllib
from functools import partial
from importlib import import_module
from pathlib import Path

import pluggy

from sfs_core.host.discovery import Candidate, load
from sfs_core.sdk import hookspecs

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "sfs_core" / "host" / "known_plugins.py"


def generated() -> str:
    """The text that the table's module should have."""
    head, _, _ = TABLE.read_text().partition("KNOWN_PLUGINS: Final")
    rows = "".join(f'    ("{kind}", "{name}"): "{home}",\n' for (kind, name), home in sorted(declared().items()))
    return f"{head}KNOWN_PLUGINS: Final[dict[tuple[str, str], str]] = {{\n{rows}}}\n"


def declared() -> dict[tuple[str, str], str]:
    """The distribution of every component, by kind and name; none of them needs to be installed."""
    homes: dict[tuple[str, str], str] = {}
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for manifest in sorted((REPOSITORY / "plugins").glob("*/*/pyproject.toml")):
        project = tomllib.loads(manifest.read_text())["project"]
        module = project["entry-points"]["sfs_core.plugins"][project["name"]]
        sys.path.insert(0, str(manifest.parent))
        candidate = Candidate(project["name"], project["name"], "", partial(import_module, module))
        try:
            plugin = load(candidate, manager).info
        finally:
            sys.path.remove(str(manifest.parent))
        if plugin.status != "active":
            raise ValueError(f"{manifest}: {plugin.reason}")
        for spec in plugin.components:
            if (spec.kind, spec.name) in homes:
                raise ValueError(f"{manifest}: {homes[spec.kind, spec.name]} has the {spec.title} {spec.name} too")
            homes[spec.kind, spec.name] = plugin.id
    return homes


if __name__ == "__main__":
    TABLE.write_text(generated())
