"""Made-up distributions with real metadata, for discovery to find."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

Install = Callable[..., Path]

HEAD = """
from sfs_core import FeatureSourceSpec, ModelSourceSpec, OperatorSpec, hookimpl

SFS_API = ">=1,<2"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path`, as site-packages is; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Installs `name` with the declaration module `source` (after imports and SFS_API, unless `head` differs)."""

    def install(
        name: str, source: str, *, head: str = HEAD, version: str = "1.2", plugin_id: str = "", module: str = ""
    ) -> Path:
        module = module or name.replace("-", "_")
        package = site / module
        package.mkdir()
        (package / "__init__.py").write_text(head + dedent(source))
        metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[sfs_core.plugins]\n{plugin_id or name} = {module}\n")
        return package

    return install
