"""The files of a new plugin, as templates of `string.Template`; their texts are in `plugin_files`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["TEMPLATES", "Template", "files_of"]


class Template(NamedTuple):
    """What differs between the kinds of components.

    Args:
        title: of the kind.
        prefix: of the package's name.
        module: name of the class's module.
        base: of the class; its declaration is a `…Spec`, its contract a `…Contract`.
        hook: that the declaration module implements.
        summary: what the component is, for `sfs plugins explain`.
        libraries: that the class's module imports.
    """

    title: str
    prefix: str
    module: str
    base: str
    hook: str
    summary: str
    libraries: tuple[str, ...] = ()


_TEXTS: Final = Path(__file__).with_name("plugin_files")
_FILES: Final = {
    "pyproject.toml": "common/pyproject.toml.txt",
    "README.md": "common/README.md.txt",
    "$package/__init__.py": "common/declaration.py.txt",
    "$package/$module.py": "$kind/component.py.txt",
    "tests/test_$package.py": "$kind/test.py.txt",
}
"""Where each file of a plugin has its text from."""

TEMPLATES: Final = {
    "authenticator": Template(
        title="authenticator",
        prefix="sfs_auth",
        module="authenticator",
        base="Authenticator",
        hook="sfs_authenticators",
        summary="one caller with one password",
        libraries=("pydantic>=2.11",),
    ),
    "feature-source": Template(
        title="feature source",
        prefix="sfs_feature",
        module="source",
        base="FeatureSource",
        hook="sfs_feature_sources",
        summary="rows that stand in the config",
        libraries=("pyarrow>=15",),
    ),
    "model-source": Template(
        title="model source",
        prefix="sfs_model",
        module="source",
        base="ModelSource",
        hook="sfs_model_sources",
        summary="files of this machine",
    ),
    "operator": Template(
        title="operator",
        prefix="sfs_op",
        module="operator",
        base="Operator",
        hook="sfs_operators",
        summary="a column times a factor",
        libraries=("pyarrow>=15",),
    ),
}


def files_of(kind: str) -> dict[str, str]:
    """The templates of a plugin of this kind: of a file's path, and of its text."""
    texts = {path: (_TEXTS / source.replace("$kind", kind)).read_text() for path, source in _FILES.items()}
    return {**texts, "$package/py.typed": ""}
