"""Encrypted packages that SecretFlow exported score as the reference's engine did, whichever party is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.host.registry import Registry
from sfs_core.testing import predictors
from tests.support.cases import HE, load_case

ROWS = 12


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize("name", HE)
async def test_scores_equal_the_reference_s(name: str, cases: Path, registry: Registry) -> None:
    case = load_case(cases, name)
    ids = case.ids[:ROWS]
    sources = {
        p: {"name": "csv", "path": str(case.features(p))} if case.has_features(p) else {"name": "mock"}
        for p in case.parties
    }
    packages = {party: case.package(party) for party in case.parties}
    with ThreadPoolExecutor(1) as pool:
        for predictor in predictors(packages, sources, registry, pool).values():
            reply = await predictor.predict(request(case.parties, ids))
            np.testing.assert_allclose(reply.scores.float64(0), case.scores[:ROWS], rtol=2e-15)
            single = await predictor.predict(request(case.parties, ids[-1:]))
            assert single.scores.float64(0)[0] == reply.scores.float64(0)[-1]


def request(parties: tuple[str, ...], ids: list[str]) -> PredictRequest:
    return PredictRequest.of("svc", {party: FeatureParam(ids) for party in parties})
