"""Features from a feature service, over HTTP."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one source of this plugin."""
    return [
        FeatureSourceSpec(
            "http",
            "sfs_feature_http.source:HttpFeatureSource",
            "a feature service over HTTP (BatchFetchFeature)",
            egress="ids",
        )
    ]
