"""Real packages, real processes, either transport, every requester: the scores of the reference's engine."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.cases import PLAIN, Case, load_case
from tests.support.processes import Party, free_ports, reference_configs, running, start_parties

PROTOCOLS = ["baidu_std", "http"]

REFERENCE = [
    ("packages/sgd_logistic_he", "baidu_std"),
    ("packages/xgb_logistic_he", "http"),
    ("packages/p3_xgb", "http"),
]
"""Served from the reference's serving JSON; the other encrypted ones are scored in one process by tests/engine."""

Configs = dict[str, tuple[Path, int]]
Serving = Callable[[tuple[str, ...], str], Mapping[str, Party]]


def service_of(name: str) -> str:
    return name.replace("/", ".")


def features_of(case: Case, party: str) -> dict[str, Any]:
    if case.has_features(party):
        return {"name": "csv", "path": str(case.features(party)), "id_column": "id"}
    return {"name": "mock"}


def configs_of(folder: Path, parties: tuple[str, ...], served: list[Case], protocol: str) -> Configs:
    """One config per party with a service for each case, and its service port."""
    ports = free_ports(2 * len(parties))
    addresses = {party: f"127.0.0.1:{port}" for party, port in zip(parties, ports, strict=False)}
    configs = {}
    for party, service_port in zip(parties, ports[len(parties) :], strict=True):
        services = [
            {
                "service": service_of(case.name),
                "model": {"source": {"name": "local", "path": str(case.package(party))}},
                "features": {"source": features_of(case, party)},
            }
            for case in served
        ]
        port = int(addresses[party].rpartition(":")[2])
        config = {
            "party": party,
            "listen": {"service": service_port, "communication": port},
            "parties": addresses,
            "services": services,
            "link": {"protocol": protocol, "timeout": "20 s"},
        }
        path = folder / f"{party}.yaml"
        path.write_text(json.dumps(config))
        configs[party] = path, service_port
    return configs


@pytest.fixture(scope="module")
def serving(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Starts, once, the processes of some parties: they serve all their plain cases over one transport."""
    groups: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for name in PLAIN:
        case = load_case(cases, name)
        groups[case.parties].append(case)
    with ExitStack() as stack:

        @cache
        def started(parties: tuple[str, ...], protocol: str) -> Mapping[str, Party]:
            folder = tmp_path_factory.mktemp(protocol)
            configs = configs_of(folder, parties, groups[parties], protocol)
            return stack.enter_context(running(start_parties(configs)))

        yield started


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_scores_equal_the_reference_s(name: str, protocol: str, cases: Path, serving: Serving) -> None:
    case = load_case(cases, name)
    for party in serving(case.parties, protocol).values():
        case.assert_scores(party.scores(service_of(name), case.parties, case.ids))


@pytest.mark.parametrize(("name", "protocol"), REFERENCE)
def test_configs_of_the_reference_serve_them(name: str, protocol: str, cases: Path, tmp_path: Path) -> None:
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
