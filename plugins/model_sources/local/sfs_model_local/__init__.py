"""Model packages from the local file system."""

from __future__ import annotations

from sfs_core import ModelSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_model_sources() -> list[ModelSourceSpec]:
    """The one source of this plugin."""
    return [ModelSourceSpec("local", "sfs_model_local.source:LocalModelSource", "a file of this machine")]
