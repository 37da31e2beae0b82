"""Features from a file of JSON lines: the declaration, which SFS reads at start."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one feature source of this plugin; its class is imported when a config selects it."""
    return [FeatureSourceSpec("jsonl", "acme_feature_source.source:JsonLinesSource", "rows of a file of JSON lines")]
