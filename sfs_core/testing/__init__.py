"""For authors of plugins: contracts that judge any component, and what its own tests need.

    from sfs_core.testing import FeatureSourceCase, FeatureSourceContract

    class TestContract(FeatureSourceContract):
        @pytest.fixture
        def case(self, tmp_path):
            return FeatureSourceCase(component="acme", schema=..., rows=..., options=...)

Installed with the extra `testing`. The names load on first use: pytest imports this package at every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfs_core.testing.authenticator import AuthenticatorCase, AuthenticatorContract
    from sfs_core.testing.feature_source import FeatureSourceCase, FeatureSourceContract
    from sfs_core.testing.making import assert_fused_equals_single, feature_context, make_operator, plugin_context
    from sfs_core.testing.model_source import ModelSourceCase, ModelSourceContract
    from sfs_core.testing.operator import OperatorCase, OperatorContract, PackedTable
    from sfs_core.testing.parties import predictors

_HOME_OF = {
    "AuthenticatorCase": "authenticator",
    "AuthenticatorContract": "authenticator",
    "FeatureSourceCase": "feature_source",
    "FeatureSourceContract": "feature_source",
    "ModelSourceCase": "model_source",
    "ModelSourceContract": "model_source",
    "OperatorCase": "operator",
    "OperatorContract": "operator",
    "PackedTable": "operator",
    "assert_fused_equals_single": "making",
    "feature_context": "making",
    "make_operator": "making",
    "plugin_context": "making",
    "predictors": "parties",
}

__all__ = [
    "AuthenticatorCase",
    "AuthenticatorContract",
    "FeatureSourceCase",
    "FeatureSourceContract",
    "ModelSourceCase",
    "ModelSourceContract",
    "OperatorCase",
    "OperatorContract",
    "PackedTable",
    "assert_fused_equals_single",
    "feature_context",
    "make_operator",
    "plugin_context",
    "predictors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sfs_core.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"sfs_core.testing.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
