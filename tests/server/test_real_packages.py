"""Real packages, real processes, either transport, every requester: the scores of the reference's engine."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.support.cases import PLAIN, load_case
from tests.support.processes import reference_configs, running, start_parties

ENCRYPTED = [("packages/sgd_logistic_he", "baidu_std"), ("packages/xgb_logistic_he", "http")]
"""Two of the encrypted cases; all of them are scored in one process by tests/engine."""


@pytest.mark.parametrize(("name", "protocol"), [*product(PLAIN, ["baidu_std", "http"]), *ENCRYPTED])
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
            case.assert_scores(party.scores("svc", case.parties, case.ids))
    for party in parties.values():
        assert party.process.returncode == 0, party.log.read_text()
