"""Real packages score as the reference's engine did, whichever party is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.host.registry import Registry
from sfs_core.testing import predictors
from tests.support.cases import PLAIN, load_case


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize("name", PLAIN)
async def test_scores_equal_the_reference_s(name: str, cases: Path, registry: Registry) -> None:
    case = load_case(cases, name)
    sources = {
        p: {"name": "csv", "path": str(case.features(p))} if case.has_features(p) else {"name": "mock"}
        for p in case.parties
    }
    with ThreadPoolExecutor(1) as pool:
        for party, predictor in predictors({p: case.package(p) for p in case.parties}, sources, registry, pool).items():
            whole = await predictor.predict(_request(case.parties, case.ids))
            case.assert_scores(whole.scores.float64(0))
            singles = [await predictor.predict(_request(case.parties, [id_])) for id_ in case.ids[:20]]
            assert [s.scores.float64(0)[0] for s in singles] == pytest.approx(case.scores[:20], rel=1e-9, abs=1e-12), (
                party
            )


def _request(parties: tuple[str, ...], ids: list[str]) -> PredictRequest:
    return PredictRequest.of("svc", {party: FeatureParam(ids) for party in parties})
