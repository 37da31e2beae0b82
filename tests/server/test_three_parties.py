"""Three real processes serve one model, and one of them dies, hangs, ends, or has another idea of the model."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from sfs_core.model.split import Tree, split_linear, split_trees
from tests.support.clusters import ClusterFiles, cluster_files, exchange, linear_files, registry, write_csv
from tests.support.processes import Party, wait_for
from tests.support.relay import Relay

PARTIES = ("alice", "bob", "carol")
IDS = ["a", "b", "c"]
COLUMNS = {party: {f"x_{party}": [1.0 * i, 2.0 * i, 3.0 * i]} for i, party in enumerate(PARTIES, 1)}
SCORES = [6.5, 12.5, 18.5]
TWO = ("alice", "bob")
SCORES_OF_TWO = [3.5, 6.5, 9.5]
BODY = json.dumps(
    {"service_spec": {"id": "linear"}, "fs_params": {party: {"query_datas": IDS} for party in PARTIES}}
).encode()
ENDING = 503
"""What a party that ends says to who got a connection just before it took no more."""
TIMEOUT = 2.0
"""Seconds that the configs give a peer."""
SLACK = 30.0
"""What a caller may wait longer than that, on a machine that has other things to do."""
BACK = 60.0
"""Seconds within which a party that listens again is used again."""


@pytest.fixture(scope="module")
def shared_files(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    return linear_files(tmp_path_factory.mktemp("three"), IDS, COLUMNS, link={"timeout": TIMEOUT})


@pytest.fixture(scope="module")
def parties(shared_files: ClusterFiles) -> Iterator[Mapping[str, Party]]:
    """All three, running; a test that ends one starts it again."""
    with shared_files.running() as parties:
        assert parties["alice"].scores("linear", PARTIES, IDS) == SCORES
        yield parties


@pytest.fixture
def files(tmp_path: Path) -> ClusterFiles:
    """Of two parties, where two are enough."""
    return linear_files(tmp_path, IDS, {party: COLUMNS[party] for party in TWO}, link={"timeout": TIMEOUT})


@dataclass(frozen=True)
class Outcome:
    """One request of the load: at whom, when and how long, and its code (0: the connection failed; or ENDING)."""

    party: str
    began: float
    seconds: float
    code: int


@dataclass
class Load:
    """Callers that ask the parties named without a pause, two threads each, until the end of the block."""

    parties: Mapping[str, Party]
    outcomes: list[Outcome] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor()
        self._callers = [self._pool.submit(self._ask, name) for name in self.parties for _ in range(2)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.result()
        self._pool.shutdown()

    def _ask(self, name: str) -> None:
        while not self._stop.is_set():
            began, code = time.monotonic(), 0
            try:
                status, body = self.parties[name].request("POST", "/PredictionService/Predict", BODY)
            except (ConnectionError, http.client.RemoteDisconnected):
                time.sleep(0.01)
            else:
                if status == ENDING:
                    assert (name, body) == ("bob", b"the server is stopping")
                    self.outcomes.append(Outcome(name, began, time.monotonic() - began, ENDING))
                    continue
                assert status == 200, body
                answer = json.loads(body)
                code = answer["status"]["code"]
                if code == 1:
                    assert [result["scores"][0]["value"] for result in answer["results"]] == SCORES
                else:
                    assert re.match(r"\[[0-9a-f]{32}\] .*bob", answer["status"]["msg"]), answer
            self.outcomes.append(Outcome(name, began, time.monotonic() - began, code))

    def count(self, code: int, since: float = 0.0) -> int:
        return sum(1 for each in list(self.outcomes) if each.code == code and each.began >= since)

    def assert_in_time(self) -> None:
        """Every answer came within the limit; the machine's own pauses are no part of it."""
        assert max(each.seconds for each in self.outcomes) < TIMEOUT + SLACK


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def wait_until_listening(files: ClusterFiles, party: str) -> None:
    wait_for(lambda: listens(files.communication_port(party)), f"{party} listens")


def test_a_party_killed_under_load_and_started_again(shared_files: ClusterFiles, parties: Mapping[str, Party]) -> None:
    others = {name: parties[name] for name in ("alice", "carol")}
    processes = {name: party.process.pid for name, party in others.items()}
    with Load(others) as load:
        wait_for(lambda: load.count(1) > 50, "requests are answered")
        parties["bob"].kill()
        killed = time.monotonic()
        wait_for(lambda: load.count(4, since=killed) > 50, "requests are refused")
        for party in others.values():
            assert party.request("GET", "/health")[0] == 200
            assert (
                b'"code":1'
                in party.request("POST", "/ModelService/GetModelInfo", b'{"service_spec":{"id":"linear"}}')[1]
            )
        parties["bob"].start()
        wait_until_listening(shared_files, "bob")
        listening = time.monotonic()
        wait_for(lambda: load.count(1, since=listening) > 20, "requests are answered again")
        back = min(each.began + each.seconds for each in load.outcomes if each.code == 1 and each.began >= killed)
        assert back - listening < BACK
        parties["bob"].wait_ready()
    assert {each.code for each in load.outcomes} == {1, 4}
    load.assert_in_time()
    for name, party in parties.items():
        assert party.scores("linear", PARTIES, IDS) == SCORES
        assert name == "bob" or party.process.pid == processes[name]


def test_a_party_that_hangs_and_comes_back(parties: Mapping[str, Party]) -> None:
    others = {name: parties[name] for name in ("alice", "carol")}
    with Load(others) as load:
        wait_for(lambda: load.count(1) > 10, "requests are answered")
        parties["bob"].process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            wait_for(lambda: load.count(4, since=stopped) > 8, "requests are refused")
        finally:
            parties["bob"].process.send_signal(signal.SIGCONT)
        continued = time.monotonic()
        wait_for(lambda: load.count(1, since=continued) > 10, "requests are answered again", BACK)
    load.assert_in_time()


def test_a_party_that_is_asked_to_end_under_load(parties: Mapping[str, Party]) -> None:
    with Load(parties) as load:
        wait_for(lambda: load.count(1) > 50, "requests are answered")
        assert parties["bob"].stop() == 0
        ended = time.monotonic()
        wait_for(lambda: load.count(4, since=ended) > 10, "requests are refused")
    at_bob = [each for each in load.outcomes if each.party == "bob"]
    assert {each.code for each in at_bob} <= {0, 1, ENDING}
    assert "Traceback" not in parties["bob"].log.read_text()
    parties["bob"].start()
    parties["bob"].wait_ready()


def test_a_request_under_way_is_answered_before_the_end(files: ClusterFiles) -> None:
    relay = Relay(files.communication_port("bob"))
    files.configs["alice"]["parties"]["bob"] = f"127.0.0.1:{relay.port}"
    files.configs["alice"]["link"]["timeout"] = 60.0
    with files.running() as parties, ThreadPoolExecutor(1) as pool:
        alice, bob = parties["alice"], parties["bob"]
        bob.process.send_signal(signal.SIGSTOP)
        try:
            before = len(relay.sent)
            answer = pool.submit(alice.scores, "linear", TWO, IDS)
            wait_for(lambda: len(relay.sent) > before, "the request is under way")
            alice.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not listens(alice.service_port), "alice accepts nothing more")
            assert not answer.done()
        finally:
            bob.process.send_signal(signal.SIGCONT)
        assert answer.result() == SCORES_OF_TWO
        assert alice.stop() == 0
    relay.close()


# --------------------------------------------------------------- parties that cannot agree
@pytest.fixture
def start() -> Iterator[Callable[..., dict[str, Party]]]:
    """Starts parties without waiting for them; they are stopped at the end, whatever happens."""
    begun: list[Party] = []

    def start(files: ClusterFiles, *names: str) -> dict[str, Party]:
        parties = {name: Party(files.write(name), files.service_port(name)) for name in names}
        begun.extend(parties.values())
        return parties

    yield start
    for party in begun:
        party.stop()


Start = Callable[..., dict[str, Party]]


def ended(party: Party, seconds: float) -> str:
    """The log of a party that ends by itself, with exit code 1."""
    wait_for(lambda: party.process.poll() is not None, f"{party.config.name} ends", seconds)
    log = party.log.read_text()
    assert party.process.returncode == 1, log
    assert "Traceback" not in log
    return log


@pytest.mark.parametrize("first", ["alice", "both"])
def test_parties_with_different_models_both_refuse_to_start(start: Start, tmp_path: Path, first: str) -> None:
    weights = {"alice": {"x": 1.0}, "bob": {"y": 1.0}}
    operator = registry().operator
    graphs = split_linear(operator, weights, label_holder="alice")
    stump = Tree([1, -1, -1], [2, -1, -1], ["y", "", ""], [0.5, 0.0, 0.0], [0.0, 1.0, 2.0])
    graphs["bob"] = split_trees(operator, [stump], {"y": "bob"}, parties=list(weights), label_holder="alice")["bob"]
    features = {p: write_csv(tmp_path / f"{p}.csv", ["a"], {name: [1.0] for name in weights[p]}) for p in weights}
    files = cluster_files(tmp_path, {"linear": graphs}, features)
    parties = {}
    if first != "both":
        parties = start(files, first)
        wait_until_listening(files, first)
    parties |= start(files, *(name for name in weights if name != first))
    counts = {"alice": "2 at alice, but 3 at bob", "bob": "3 at bob, but 2 at alice"}
    for name, party in parties.items():
        assert f"the number of nodes is {counts[name]}" in ended(party, 60)


def test_a_peer_that_serves_another_service(start: Start, files: ClusterFiles) -> None:
    files.configs["bob"]["services"][0]["service"] = "other"
    parties = start(files, *TWO)
    for name, asked in (("alice", "linear"), ("bob", "other")):
        log = ended(parties[name], 60)
        assert f"serves no service '{asked}'" in log
        assert "same id at all parties" in log


def test_a_peer_that_never_comes(start: Start, files: ClusterFiles) -> None:
    files.configs["alice"]["link"] = {"timeout": 0.3, "handshake_attempts": 3, "handshake_interval": 0.2}
    began = time.monotonic()
    log = ended(start(files, "alice")["alice"], 60)
    assert "bob" in log
    assert "did not answer the handshake for 0.6 s" in log
    assert (
        f"is it running, and is its address right? It was asked at {files.configs['alice']['parties']['bob']}." in log
    )
    assert time.monotonic() - began > 0.6


def test_a_peer_that_comes_late(start: Start, files: ClusterFiles) -> None:
    parties = start(files, "alice")
    wait_until_listening(files, "alice")
    ready = exchange(files.communication_port("alice"), "/ready", method="GET")
    assert (ready.status, ready.json()["waiting_for_peers"]) == (503, ["linear"])
    assert not listens(files.service_port("alice"))
    parties |= start(files, "bob")
    for party in parties.values():
        party.wait_ready()
    for party in parties.values():
        assert party.scores("linear", TWO, IDS) == SCORES_OF_TWO
