"""The contract of authenticators."""

from __future__ import annotations

import hashlib

import pytest

from sfs_core import Caller, Credentials
from sfs_core.testing import AuthenticatorCase, AuthenticatorContract


class TestContract(AuthenticatorContract):
    @pytest.fixture
    def case(self):
        digest = hashlib.sha256(b"a key").hexdigest()
        return AuthenticatorCase(
            component="api_key",
            options={"keys": {"shop": {"sha256": [digest]}}},
            good=Credentials({"x-api-key": "a key"}),
            caller=Caller("shop"),
            wrong=[Credentials({"x-api-key": "another-key"}), Credentials({"x-api-key": digest})],
        )
