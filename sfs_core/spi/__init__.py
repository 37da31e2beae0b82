"""What plugins that speak to a feature service need: features as messages carry them, and the retry options.

The records and the type table are those of predefined features, and `retry` means to a plugin what it means to peers.
"""

from __future__ import annotations

from sfs_core.codec.features import Feature, FeatureField, FeatureValue, batch_of_features, field_type
from sfs_core.config.schema import Retry
from sfs_core.link.retry import FailureKind, RetryPolicy, retry_policy

__all__ = [
    "FailureKind",
    "Feature",
    "FeatureField",
    "FeatureValue",
    "Retry",
    "RetryPolicy",
    "batch_of_features",
    "field_type",
    "retry_policy",
]
