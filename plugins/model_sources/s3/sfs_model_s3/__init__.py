"""Model packages from object stores."""

from __future__ import annotations

from sfs_core import ModelSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_model_sources() -> list[ModelSourceSpec]:
    """The one source of this plugin."""
    return [ModelSourceSpec("s3", "sfs_model_s3.source:S3ModelSource", "an object of S3, OSS or any store like them")]
