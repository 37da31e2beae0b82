from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sfs_auth_certificate.authenticator import Certificates, CertificatesConfig

from sfs_core import AuthenticationError, AuthenticatorContext, Caller, Credentials

CONTEXT = AuthenticatorContext("alice", logging.getLogger("test"), Path())


@pytest.fixture
def certificates() -> Certificates:
    options: Any = {
        "shop": {"names": ["DNS:Shop.example", "CN:shop"]},
        "bank": {"names": ["URI:spiffe://example/Bank"], "services": ["credit"]},
    }
    return Certificates(CertificatesConfig(callers=options), CONTEXT)


@pytest.mark.parametrize(
    ("names", "caller"),
    [
        ({"DNS:shop.example", "CN:anything"}, Caller("shop")),
        ({"CN:shop", "DNS:shop.example"}, Caller("shop")),
        ({"URI:spiffe://example/Bank"}, Caller("bank", frozenset({"credit"}))),
        ({"URI:spiffe://example/bank"}, None),
        ({"CN:Shop"}, None),
        ({"DNS:other.example"}, None),
        (set(), None),
    ],
)
def test_names_lead_to_callers(certificates: Certificates, names: set[str], caller: Caller | None) -> None:
    assert certificates.authenticate(Credentials({"x-api-key": "shop"}, frozenset(names))) == caller


def test_a_certificate_of_two_callers_is_refused(certificates: Certificates) -> None:
    with pytest.raises(AuthenticationError, match="several callers"):
        certificates.authenticate(Credentials({}, frozenset({"CN:shop", "URI:spiffe://example/Bank"})))


@pytest.mark.parametrize(
    "callers",
    [
        {},
        {"shop": {"names": []}},
        {"shop": {"names": ["shop"]}},
        {"shop": {"names": ["DNS:a.example"]}, "bank": {"names": ["DNS:A.example"]}},
    ],
)
def test_wrong_options_are_refused(callers: Any) -> None:
    with pytest.raises(ValidationError):
        CertificatesConfig(callers=callers)
