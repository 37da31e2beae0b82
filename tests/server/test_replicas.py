"""Two replicas of a party as processes, of which one ends, dies or comes back while they are needed.

More of it: `test_rolling.py`.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.support.clusters import ClusterFiles, linear_files, registry
from tests.support.processes import Party, free_ports, running, wait_for

PARTIES = ("alice", "bob")
IDS = ["a", "b", "c"]
COLUMNS = {"alice": {"x": [1.0, 2.0, 3.0]}, "bob": {"y": [10.0, 20.0, 30.0]}}
SCORES = [11.5, 22.5, 33.5]


class Replicated:
    """Alice, and bob as two processes that alice finds in a file."""

    def __init__(self, files: ClusterFiles) -> None:
        self.files = files
        self.ports = [files.communication_port("bob"), free_ports(1)[0]]
        self.list = files.folder / "bob.addresses"
        self.write_list(*self.ports)

    def write_list(self, *ports: int) -> None:
        """Have alice find bob at these ports."""
        lines = ["# bob", *(f"127.0.0.1:{port}" for port in ports)]
        self.list.write_text("\n".join(lines) + "\n")

    def start(self, address: object, second_package: Path | None = None) -> dict[str, Party]:
        """All three processes; alice finds bob at `address`, whose second replica may have another package."""
        files = self.files
        files.configs["alice"]["parties"]["bob"] = address
        parties = files.start()
        (service,) = free_ports(1)
        second = copy.deepcopy(files.configs["bob"])
        second["listen"] = {"service": service, "communication": self.ports[1]}
        if second_package is not None:
            second["services"][0]["model"]["source"]["path"] = str(second_package)
        path = files.folder / "bob2.json"
        path.write_text(json.dumps(second))
        return parties | {"bob2": Party(path, service)}


@pytest.fixture
def replicated(tmp_path: Path) -> Replicated:
    return Replicated(linear_files(tmp_path, IDS, COLUMNS, link={"timeout": 2.0, "handshake_interval": 0.2}))


class Load:
    """Two callers that ask a party without a pause, until the end of the block."""

    def __init__(self, party: Party) -> None:
        self._party = party
        self._stop = threading.Event()
        self.codes: list[int] = []

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self) -> None:
        while not self._stop.is_set():
            answer = self._party.predict("linear", dict.fromkeys(PARTIES, IDS))
            code = answer["status"]["code"]
            if code == 1 and [row["scores"][0]["value"] for row in answer["results"]] != SCORES:
                code = -1
            self.codes.append(code)

    def wait_for_more(self, count: int = 200) -> None:
        """Until so many further requests are answered."""
        wanted = len(self.codes) + count
        wait_for(lambda: len(self.codes) >= wanted, "further answers")

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def parties(replicated: Replicated) -> Iterator[Mapping[str, Party]]:
    with running(replicated.start([f"127.0.0.1:{port}" for port in replicated.ports])) as parties:
        yield parties


def test_a_replica_that_is_killed_costs_calls_under_way_at_most_and_one_that_ends_none(
    parties: Mapping[str, Party],
) -> None:
    with Load(parties["alice"]) as load:
        load.wait_for_more()
        parties["bob"].kill()
        load.wait_for_more()
        killed = len(load.codes)
        parties["bob"].start()
        parties["bob"].wait_ready()
        assert parties["bob2"].stop() == 0
        load.wait_for_more()
    assert set(load.codes) <= {1, 4}
    assert set(load.codes[killed:]) == {1}
    assert load.codes.count(4) <= 2


def test_replicas_with_different_packages_are_not_mixed(replicated: Replicated) -> None:
    weights = {party: dict.fromkeys(columns, 10.0) for party, columns in COLUMNS.items()}
    graphs = split_linear(registry().operator, weights, label_holder="alice", intercept=0.5)
    package = replicated.files.folder / "bob-other.tar.gz"
    write_package(package, "linear", "made for a test", graphs["bob"])
    with running(replicated.start([f"127.0.0.1:{port}" for port in replicated.ports], package)) as parties:
        scores = [tuple(parties["alice"].scores("linear", PARTIES, IDS)) for _ in range(20)]
        assert len(set(scores)) == 1


def test_a_file_of_addresses_is_followed(replicated: Replicated) -> None:
    first, second = replicated.ports
    replicated.write_list(first)
    with running(replicated.start(f"file:{replicated.list}")) as parties:
        with Load(parties["alice"]) as load:
            load.wait_for_more(20)
            replicated.write_list(second)
            load.wait_for_more(20)
        assert set(load.codes) == {1}
        wait_for(lambda: parties["bob"].stop() == 0, "bob ends")
        wait_for(
            lambda: parties["alice"].predict("linear", dict.fromkeys(PARTIES, IDS))["status"]["code"] == 1,
            "alice uses the second",
        )
        assert parties["alice"].scores("linear", PARTIES, IDS) == SCORES
