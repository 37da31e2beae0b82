"""Encrypted models served by two real processes, either transport, either requester."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
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
        assert_masks_stay_home(configs, case.ids[:1])
        for party in parties.values():
            scores = party.scores("svc", case.parties, case.ids[:ROWS])
            np.testing.assert_allclose(scores, case.scores[:ROWS], rtol=2e-15)
    for party in parties.values():
        assert party.process.returncode == 0, party.log.read_text()


def assert_masks_stay_home(configs: Mapping[str, tuple[Path, int]], ids: Sequence[str]) -> None:
    """Whoever calls a party in its own name would get what it shows only itself: masks in plain."""
    for party, (path, _) in configs.items():
        port = json.loads(path.read_text())["serverConf"]["communicationPort"]
        request = {
            "service_spec": {"id": "svc"},
            "requester_id": party,
            "feature_source": {"type": "FS_SERVICE", "fs_param": {"query_datas": list(ids)}},
            "task": {"execution_id": 0},
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/ExecutionService/Execute", json.dumps(request), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert "the requester is this party itself" in answer["status"]["msg"], answer
        assert not (answer.get("result") or {}).get("nodes")
