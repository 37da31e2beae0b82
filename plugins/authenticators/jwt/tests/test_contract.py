"""The contract of authenticators."""

from __future__ import annotations

import pytest

from sfs_core import Caller
from sfs_core.testing import AuthenticatorCase, AuthenticatorContract

from .test_jwt import AUDIENCE, ISSUER, key_set, shown, token


class TestContract(AuthenticatorContract):
    @pytest.fixture
    def case(self, tmp_path):
        (tmp_path / "keys.json").write_text(key_set("one"))
        return AuthenticatorCase(
            component="jwt",
            options={"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "keys.json"},
            base_directory=tmp_path,
            good=shown(token()),
            caller=Caller("shop"),
            wrong=[shown(token(exp=1)), shown(token("stranger")), shown(token(aud="sfs-bob"))],
        )
