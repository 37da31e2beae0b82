"""Features from Redis, or anything that speaks its protocol."""

from __future__ import annotations

from sfs_core import FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_feature_sources() -> list[FeatureSourceSpec]:
    """The one source of this plugin."""
    return [
        FeatureSourceSpec(
            "redis", "sfs_feature_redis.source:RedisFeatureSource", "hashes or packed rows in Redis", egress="ids"
        )
    ]
