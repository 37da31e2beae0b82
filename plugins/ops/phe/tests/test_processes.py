"""Encrypted models served by two real processes, either transport, either requester."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.cases import load_case
from tests.support.processes import reference_configs, running, start_parties

ROWS = 8


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("packages/glm_gamma_log_he", "baidu_std"),
        ("packages/xgb_onep_he", "http"),
        ("reference_ci/ou_xgb", "baidu_std"),
    ],
)
def test_scores_equal_the_reference_s(name: str, protocol: str, cases: Path, tmp_path: Path) -> None:
    case = load_case(cases, name)
    features = {
        party: {"csvOpts": {"filePath": str(case.features(party)), "idName": "id"}}
        if case.has_features(party)
        else {"mockOpts": {}}
        for party in case.parties
    }
    packages = {party: case.package(party) for party in case.parties}
    configs = reference_configs(tmp_path, case.parties, packages, features, protocol)
    with running(start_parties(configs)) as parties:
        for party in parties.values():
            scores = party.scores("svc", case.parties, case.ids[:ROWS])
            np.testing.assert_allclose(scores, case.scores[:ROWS], rtol=2e-15)
    for party in parties.values():
        assert party.process.returncode == 0, party.log.read_text()
