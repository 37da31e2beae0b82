"""Features streamed from a CSV file, block after block, for bulk scoring."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one source of this plugin."""
    home = "sfs_feature_streaming.source:StreamingFeatureSource"
    return [FeatureSourceSpec("streaming", home, "the next rows of a CSV file, whatever the ids (bulk scoring)")]
