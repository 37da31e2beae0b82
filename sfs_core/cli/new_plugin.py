"""`sfs plugins new`: the files of a new plugin."""

from __future__ import annotations

import keyword
import re
import string
from pathlib import Path
from typing import Final

import click

from sfs_core.cli.plugin_templates import TEMPLATES, files_of
from sfs_core.host.known_plugins import KNOWN_PLUGINS

__all__ = ["command"]

_SUFFIXES: Final = {
    "authenticator": "Authenticator",
    "feature-source": "Source",
    "model-source": "Source",
    "operator": "",
}
_UNTYPED_PYARROW: Final = """
[[tool.mypy.overrides]]
module = "pyarrow.*"
ignore_missing_imports = true
"""


@click.command("new")
@click.argument("kind", type=click.Choice(list(TEMPLATES)))
@click.argument("name")
@click.option(
    "--in",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to make the package's folder; absent: here.",
)
def command(kind: str, name: str, folder: Path) -> None:
    """Write an installable package with one component NAME, and the test that holds it to its contract."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name) or keyword.iskeyword(name):
        expected = "letters, digits and single underscores are expected, as in acme_store"
        raise click.BadParameter(expected, param_hint="NAME")
    template = TEMPLATES[kind]
    package = f"{template.prefix}_{name.lower()}"
    target = folder / package.replace("_", "-")
    taken = KNOWN_PLUGINS.get((kind.replace("-", "_"), name))
    if taken or target.name in KNOWN_PLUGINS.values():
        raise click.BadParameter(f"{taken or target.name} is a plugin of SFS; take another name", param_hint="NAME")
    values = {
        "name": name,
        "class_name": "".join(word[:1].upper() + word[1:].lower() for word in name.split("_")) + _SUFFIXES[kind],
        "package": package,
        "distribution": target.name,
        "title": template.title,
        "module": template.module,
        "base": template.base,
        "hook": template.hook,
        "summary": template.summary,
        "libraries": "".join(f', "{library}"' for library in template.libraries),
        "untyped": _UNTYPED_PYARROW if any(each.startswith("pyarrow") for each in template.libraries) else "",
    }
    try:
        target.mkdir(parents=True)
        for file, text in files_of(kind).items():
            path = target / string.Template(file).substitute(values)
            path.parent.mkdir(exist_ok=True)
            path.write_text(string.Template(text).substitute(values))
    except FileExistsError:
        raise click.ClickException(f"{target} is there already") from None
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror or type(error).__name__}") from None
    print(f"{target} holds the {template.title} {name}. Next:")
    print(f'  pip install -e {target} "sfs-core[testing]"')
    print(f"  pytest --sfs-report {target}")
