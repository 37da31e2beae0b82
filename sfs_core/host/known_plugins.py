"""Which distribution offers which component: the source of `pip install …` hints.

Generated from the declarations of the workspace's plugins by tests/host/generate_known_plugins.py; a test compares.
"""

from __future__ import annotations

from typing import Final

__all__ = ["KNOWN_PLUGINS"]

KNOWN_PLUGINS: Final[dict[tuple[str, str], str]] = {
    ("authenticator", "api_key"): "sfs-auth-api-key",
    ("authenticator", "certificate"): "sfs-auth-certificate",
    ("authenticator", "jwt"): "sfs-auth-jwt",
    ("command", "he"): "sfs-op-phe",
    ("feature_source", "csv"): "sfs-feature-csv",
    ("feature_source", "http"): "sfs-feature-http",
    ("feature_source", "mock"): "sfs-feature-mock",
    ("feature_source", "redis"): "sfs-feature-redis",
    ("feature_source", "sql"): "sfs-feature-sql",
    ("feature_source", "streaming"): "sfs-feature-streaming",
    ("model_source", "http"): "sfs-model-http",
    ("model_source", "local"): "sfs-model-local",
    ("model_source", "s3"): "sfs-model-s3",
    ("operator", "ARROW_PROCESSING"): "sfs-op-arrow",
    ("operator", "DOT_PRODUCT"): "sfs-op-linear",
    ("operator", "MERGE_Y"): "sfs-op-linear",
    ("operator", "PHE_2P_DECRYPT_PEER_Y"): "sfs-op-phe",
    ("operator", "PHE_2P_DOT_PRODUCT"): "sfs-op-phe",
    ("operator", "PHE_2P_MERGE_Y"): "sfs-op-phe",
    ("operator", "PHE_2P_REDUCE"): "sfs-op-phe",
    ("operator", "PHE_2P_TREE_ENSEMBLE_MERGE"): "sfs-op-phe",
    ("operator", "PHE_2P_TREE_ENSEMBLE_PREDICT"): "sfs-op-phe",
    ("operator", "PHE_2P_TREE_MERGE"): "sfs-op-phe",
    ("operator", "PHE_2P_TREE_SELECT"): "sfs-op-phe",
    ("operator", "TREE_ENSEMBLE_PREDICT"): "sfs-op-tree",
    ("operator", "TREE_MERGE"): "sfs-op-tree",
    ("operator", "TREE_SELECT"): "sfs-op-tree",
}
