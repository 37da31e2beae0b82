from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sfs_auth_api_key.authenticator import ApiKeys, ApiKeysConfig

from sfs_core import AuthenticationError, AuthenticatorContext, Caller, Credentials

CONTEXT = AuthenticatorContext("alice", logging.getLogger("test"), Path())
OLD, NEW, OTHER = "old key", "new-key", "canary-of-the-bank"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def keys() -> ApiKeys:
    options: dict[str, Any] = {
        "shop": {"sha256": [hashed(OLD), hashed(NEW).upper()]},
        "bank": {"sha256": [hashed(OTHER)], "services": ["credit"]},
    }
    return ApiKeys(ApiKeysConfig(keys=options), CONTEXT)


@pytest.mark.parametrize("key", [OLD, NEW])
@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_every_key_of_a_caller_is_good(keys: ApiKeys, key: str, header: str) -> None:
    value = f"Bearer {key}" if header == "authorization" else key
    assert keys.authenticate(Credentials({header: value})) == Caller("shop")


def test_a_caller_may_be_bound_to_services(keys: ApiKeys) -> None:
    assert keys.authenticate(Credentials({"x-api-key": OTHER})) == Caller("bank", frozenset({"credit"}))


@pytest.mark.parametrize("key", ["", "wrong", OTHER + " ", hashed(OLD), "\udce4", "x" * 100_000])
def test_a_key_that_is_not_known_is_refused(keys: ApiKeys, key: str) -> None:
    with pytest.raises(AuthenticationError, match="is not known"):
        keys.authenticate(Credentials({"x-api-key": key}))


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer a.b.c"}, {"authorization": f"Basic {OLD}"}])
def test_what_is_no_key_is_left_to_others(keys: ApiKeys, headers: dict[str, str]) -> None:
    assert keys.authenticate(Credentials(headers, frozenset({"CN:shop"}))) is None


def test_another_header_can_be_chosen() -> None:
    config = ApiKeysConfig.model_validate({"keys": {"shop": {"sha256": [hashed(OLD)]}}, "header": "X-Shop-Key"})
    assert ApiKeys(config, CONTEXT).authenticate(Credentials({"x-shop-key": OLD})) == Caller("shop")


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"shop": {"sha256": []}},
        {"shop": {"sha256": ["a key itself"]}},
        {"shop": {"sha256": [hashed(OLD)]}, "bank": {"sha256": [hashed(OLD).upper()]}},
    ],
)
def test_wrong_options_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApiKeysConfig(keys=keys)
