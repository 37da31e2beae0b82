"""One cluster, two engines: ours and the reference's, each as the requester and as the helper."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.support.cases import Case, load_case
from tests.support.certificates import Certificates
from tests.support.processes import SFS, Party, reference_configs, wait_for
from tests.support.reference_engine import start_engine

pytestmark = [pytest.mark.mixed, pytest.mark.timeout(300)]

CASES = [
    "packages/sgd_logistic",
    "packages/glm_tweedie_log",
    "packages/xgb_logistic",
    "packages/sgb_logistic",
    "packages/pre_binq_onehot_glm",
    "packages/pre_ops_sgd",
]
ENCRYPTED = [
    "packages/sgd_logistic_he",
    "packages/glm_gamma_log_he",
    "packages/pre_woe_sgd_he",
    "packages/xgb_logistic_he",
]
PROTOCOLS = ["baidu_std", "http", "h2:grpc"]
SECONDS = 120


def _configs(case: Case, protocol: str, folder: Path) -> dict[str, tuple[Path, int]]:
    features = {
        party: {"streamingOpts": {"file_path": str(case.features(party)), "id_name": "id"}}
        if case.has_features(party)
        else {"mockOpts": {}}
        for party in case.parties
    }
    packages = {party: case.package(party) for party in case.parties}
    # With only one of the two set, the reference's tool replaces the other by its default.
    timeouts = {"rpcTimeoutMs": 300_000, "connectTimeoutMs": 10_000}
    return reference_configs(folder, case.parties, packages, features, protocol, **timeouts)


def _scores(result: Path) -> np.ndarray:
    with result.open(newline="") as file:
        header, *rows = csv.reader(file)
    column = header.index("score") if "score" in header else 0
    return np.array([float(row[column]) for row in rows])


def _secure(configs: Mapping[str, tuple[Path, int]], certificates: Certificates) -> None:
    """Mutual TLS, with the reference's options for it."""
    for party, (path, _) in configs.items():
        files = certificates.files(party)
        names = {
            "certificatePath": files.certificate_file,
            "privateKeyPath": files.key_file,
            "caFilePath": files.ca_file,
        }
        tls = {option: str(file) for option, file in names.items()}
        config = json.loads(path.read_text())
        config["serverConf"]["tlsConfig"] = config["clusterConf"]["channelDesc"]["tlsConfig"] = tls
        path.write_text(json.dumps(config))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", [*CASES, *ENCRYPTED])
def test_the_reference_asks_and_ours_helps(
    name: str, protocol: str, cases: Path, tmp_path: Path, inferencer: Path
) -> None:
    case = load_case(cases, name)
    _reference_asks(case, _configs(case, protocol, tmp_path), tmp_path, inferencer)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_reference_asks_over_tls(
    protocol: str, cases: Path, tmp_path: Path, inferencer: Path, certificates: Certificates
) -> None:
    case = load_case(cases, CASES[0])
    configs = _configs(case, protocol, tmp_path)
    _secure(configs, certificates)
    log = _reference_asks(case, configs, tmp_path, inferencer)
    assert "called without TLS" not in log
    assert "the communication port has no TLS" not in log


def _reference_asks(case: Case, configs: Mapping[str, tuple[Path, int]], folder: Path, inferencer: Path) -> str:
    """Have the reference score with our help; what ours logged."""
    result = folder / "scores.csv"
    ours = Party(*configs["bob"], ["--bulk-requester", "alice"])
    reference = start_engine(inferencer, configs["alice"][0], "alice", "alice", result)
    try:
        assert reference.wait(SECONDS) == 0, ours.log.read_text()
        assert ours.process.wait(20) == 0, ours.log.read_text()
        case.assert_scores(_scores(result))
    finally:
        ours.kill()
        reference.kill()
    return ours.log.read_text()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", [*CASES, *ENCRYPTED])
def test_ours_asks_and_the_reference_helps(
    name: str, protocol: str, cases: Path, tmp_path: Path, inferencer: Path
) -> None:
    case = load_case(cases, name)
    _ours_asks(case, _configs(case, protocol, tmp_path), tmp_path, inferencer)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ours_asks_over_tls(
    protocol: str, cases: Path, tmp_path: Path, inferencer: Path, certificates: Certificates
) -> None:
    case = load_case(cases, CASES[0])
    configs = _configs(case, protocol, tmp_path)
    _secure(configs, certificates)
    _ours_asks(case, configs, tmp_path, inferencer)


def _ours_asks(case: Case, configs: Mapping[str, tuple[Path, int]], folder: Path, inferencer: Path) -> None:
    result = folder / "scores.csv"
    reference = start_engine(inferencer, configs["bob"][0], "bob", "alice", folder / "none.csv")
    try:
        ours = subprocess.run(
            [SFS, "bulk", configs["alice"][0], result, "--block-rows", "64"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ours.returncode == 0, ours.stderr
        case.assert_scores(_scores(result))
        wait_for(lambda: reference.poll() is not None, "the reference ends")
        assert reference.returncode == 0
    finally:
        reference.kill()
