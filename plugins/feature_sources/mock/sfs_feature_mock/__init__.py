"""Made-up features, for trying a model out without data."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one source of this plugin."""
    return [FeatureSourceSpec("mock", "sfs_feature_mock.source:MockFeatureSource", "made-up values, fixed or random")]
