"""Features from any database that SQLAlchemy has a driver for."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one source of this plugin."""
    return [
        FeatureSourceSpec(
            "sql", "sfs_feature_sql.source:SqlFeatureSource", "rows of a SQL table or query", egress="ids"
        )
    ]
