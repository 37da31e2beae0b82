"""Features from a CSV file."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one source of this plugin."""
    return [FeatureSourceSpec("csv", "sfs_feature_csv.source:CsvFeatureSource", "rows of a CSV file, kept in memory")]
