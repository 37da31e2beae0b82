"""The contract of authenticators."""

from __future__ import annotations

import pytest

from sfs_core import Caller, Credentials
from sfs_core.testing import AuthenticatorCase, AuthenticatorContract


class TestContract(AuthenticatorContract):
    @pytest.fixture
    def case(self):
        return AuthenticatorCase(
            component="certificate",
            options={"callers": {"shop": {"names": ["CN:shop"]}, "bank": {"names": ["CN:bank"]}}},
            good=Credentials({}, frozenset({"CN:shop"})),
            caller=Caller("shop"),
            wrong=[Credentials({}, frozenset({"CN:shop", "CN:bank"}))],
        )
