"""Model packages from web servers."""

from __future__ import annotations

from sfs_core import ModelSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_model_sources() -> list[ModelSourceSpec]:
    """The one source of this plugin."""
    return [ModelSourceSpec("http", "sfs_model_http.source:HttpModelSource", "a file of a web server")]
