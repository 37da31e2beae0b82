"""Two parties with keys, and operators made from plain attribute values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from sfs_op_phe.base import PheOperator
from sfs_op_phe.keys import SecretKey
from sfs_op_phe.okamoto_uchiyama import generate_ou_keys
from sfs_op_phe.packing import EXTENSION
from sfs_op_phe.paillier import generate_paillier_keys

from sfs_core import Cluster, ComputeContext
from sfs_core.testing import make_operator

SCALE = 1 << 26


ALONE = {"noise_stock": 0, "workers": 0}
"""Without threads that fill stocks beside the tests, and without processes."""


@dataclass(frozen=True)
class Parties:
    """Alice and bob, their keys, and their view of the cluster."""

    secrets: dict[str, SecretKey]
    extensions: frozenset[str] = frozenset()
    clusters: dict[str, Cluster] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = {party: secret.public.to_bytes() for party, secret in self.secrets.items()}
        for party, secret in self.secrets.items():
            self.clusters[party] = Cluster(
                party, ("alice", "bob"), keys, secret.to_bytes(), SCALE, extensions=self.extensions
            )

    def key(self, party: str) -> Any:
        return self.secrets[party].public

    def make(self, party: str, cls: type[PheOperator], parents: tuple[str, ...] = ("parent",), **values: Any) -> Any:
        """An operator of a party, ready to compute."""
        operator = make(cls, parents, **values)
        operator.prepare(self.clusters[party])
        return operator


def make(
    cls: type[PheOperator],
    parents: tuple[str, ...] = ("parent",),
    node: str = "node",
    options: Mapping[str, Any] | None = None,
    **values: Any,
) -> Any:
    """An operator without keys."""
    return make_operator(cls, values, parents, name=node, options=ALONE | dict(options or {}))


def context(party: str, requester: str) -> ComputeContext:
    return ComputeContext(party, requester)


def other(party: str) -> str:
    return {"alice": "bob", "bob": "alice"}[party]


@pytest.fixture(scope="session")
def parties() -> Parties:
    """With OU keys."""
    return Parties({"alice": generate_ou_keys(2048), "bob": generate_ou_keys(2048)})


@pytest.fixture(scope="session")
def packing(parties: Parties) -> Parties:
    """The same two, who agreed on packing."""
    return Parties(parties.secrets, frozenset({EXTENSION}))


@pytest.fixture(scope="session")
def paillier_parties() -> Parties:
    """With ZPaillier keys."""
    return Parties({"alice": generate_paillier_keys(2048), "bob": generate_paillier_keys(2048)})


@pytest.fixture(scope="session", params=["OU", "ZPaillier"])
def small(request: pytest.FixtureRequest) -> SecretKey:
    """A short key, for arithmetic alone."""
    return generate_ou_keys(768) if request.param == "OU" else generate_paillier_keys(512)
