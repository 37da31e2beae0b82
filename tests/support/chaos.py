"""Parties under steady load while things go wrong around them: what tests and `benchmarks/chaos.py` do to them.

Alice is asked. Her features come from a service of their own, bob's from a file; she finds bob behind a relay that
damages answers, and with two replicas of each party also directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import math
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from sfs_core.client.load.generator import Callers, Generator, Samples
from sfs_core.client.load.protocols import open_transport
from sfs_core.client.load.questions import draw_questions
from sfs_core.client.target import Target
from tests.support.clusters import ClusterFiles, exchange, linear_files
from tests.support.processes import SFS, Party, free_ports, wait_for
from tests.support.relay import Damage, FaultyRelay, garbage, half, half_and_gone, never, other_correlation_ids

PARTIES: Final = ("alice", "bob")
IDS: Final = [str(i) for i in range(500)]
SERVICE: Final = "linear"
PEER_SECONDS: Final = 1.0
"""What a peer and the feature service may take."""
LATE_SECONDS: Final = 20.0
"""After so long a request counts as not answered in time: far more than the limits add up to, for busy machines."""
CALLERS: Final = 8

CLOCK_PLUGIN: Final = '''
"""Moves this process's clock by as many seconds as a file says."""
import time
from pathlib import Path

SFS_API = ">=1,<2"
FILE = Path({file!r})
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + float(FILE.read_text())
time.time_ns = lambda: now_ns() + int(float(FILE.read_text()) * 1e9)
'''


# ---------------------------------------------------------------------------------------------------------- the parties
class FeatureService:
    """`sfs spi serve` over a table: alice's feature source, a process of its own."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._log = table.with_suffix(".log")
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}/BatchFeatureService/BatchFetchFeature"
        self.start()

    def start(self) -> None:
        """Start the process; does not wait."""
        with self._log.open("wb") as log:
            command = [SFS, "spi", "serve", self._table, "--port", str(self._port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def wait_ready(self) -> None:
        """Until it answers."""
        wait_for(lambda: self.url in self._log.read_text(), "the feature service")

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@dataclass
class Chaos:
    """A cluster under load.

    Attributes:
        files: configs.
        parties: by name; alice2 and bob2 are replicas.
        source: alice's feature service.
        relay: the way to bob, or to bob2 where there is one.
        load: requests to alice whose every score is known.
        samples: what became of all requests so far.
    """

    files: ClusterFiles
    parties: dict[str, Party]
    source: FeatureService
    relay: FaultyRelay
    load: Generator
    samples: Samples = field(default_factory=Samples)

    def asked(self) -> dict[str, float]:
        """Predictions that alice counted, by code."""
        answer = exchange(self.files.configs["alice"]["listen"]["metrics"], "/metrics", method="GET")
        return {
            sample.labels["code"]: sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.name == "prediction_request_count_total"
        }

    def move_clocks(self, seconds: float) -> None:
        """Have every party's clock go wrong by so much."""
        path = self.files.folder / "clock"
        path.with_suffix(".new").write_text(str(seconds))
        path.with_suffix(".new").rename(path)

    def fill_disk(self, full: bool) -> None:
        """Let no file of alice's grow any more, or let them grow again."""
        for name, party in self.parties.items():
            if name.startswith("alice"):
                limit = 0 if full else resource.RLIM_INFINITY
                resource.prlimit(party.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def workers(self) -> list[int]:
        """Process ids of bob's workers, the oldest first."""
        supervisor = self.parties["bob"].process.pid
        return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]

    def restore_workers(self) -> None:
        """Until both of bob's workers serve."""
        health = self.files.configs["bob"]["listen"]["health"]
        wait_for(lambda: exchange(health, "/ready", method="GET").status == 200, "both workers serve")

    @contextlib.contextmanager
    def second_alice(self) -> Iterator[None]:
        """Meanwhile a second alice tries to start at the same ports, and says why she cannot."""
        command = [SFS, "serve", str(self.files.paths["alice"])]
        second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            yield
            _, said = second.communicate(timeout=60)
            assert second.returncode == 1, said
            port = self.files.configs["alice"]["listen"]["metrics"]
            assert f"the metrics port cannot listen on 127.0.0.1:{port}" in said
            assert "Traceback" not in said
        finally:
            second.kill()
            second.wait()

    def memory(self) -> dict[str, float]:
        """Resident megabytes of each party's process."""
        page = resource.getpagesize() / 1e6
        return {
            name: int(Path(f"/proc/{party.process.pid}/statm").read_text().split()[1]) * page
            for name, party in self.parties.items()
        }

    # --------------------------------------------------------------------------------------------------------- load
    async def strike(self, fault: Fault, calm: int = 100) -> Samples:
        """What became of the requests before, during and after a fault.

        Args:
            fault: it begins after `calm` right answers in a row, and ends before as many.
        """
        asking = asyncio.ensure_future(self.load.run(Callers(CALLERS, math.inf)))
        try:
            await self._right_for_a_while(calm)
            try:
                await asyncio.to_thread(fault.begin, self)
                await self._more(fault.answers)
            finally:
                await asyncio.to_thread(fault.end, self)
            await self._right_for_a_while(calm)
        except TimeoutError:
            lines = self.parties["alice"].log.read_text().splitlines()
            told = "\n".join(line for line in lines[-2000:] if "answered:" not in line)[-4000:]
            raise AssertionError(
                f"{fault.name}: {self.load.samples.problems} and no end; alice says:\n{told}"
            ) from None
        finally:
            self.load.stop()
            samples = await asking
        self.samples.add(samples)
        return samples

    def _answers(self) -> int:
        samples = self.load.samples
        return len(samples.latencies) + samples.problems.total()

    async def _more(self, count: int) -> None:
        """Until so many further requests are answered."""
        wanted = self._answers() + count
        async with asyncio.timeout(120):
            while self._answers() < wanted:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)

    async def _right_for_a_while(self, count: int) -> None:
        """Until so many requests in a row were answered right."""
        async with asyncio.timeout(120):
            problems, right = -1, 0
            while True:
                samples = self.load.samples
                if samples.problems.total() != problems:
                    problems, right = samples.problems.total(), len(samples.latencies)
                elif len(samples.latencies) >= right + count:
                    return
                await asyncio.sleep(0.01)


@contextlib.contextmanager
def chaos(folder: Path, *, replicas: int = 1) -> Iterator[Chaos]:
    """Alice and bob, ready, with so many replicas of each; of two, the first of bob's has two workers."""
    columns = {
        party: {f"{party[0]}{j}": [float(i * (j + 1)) for i in range(len(IDS))] for j in range(3)} for party in PARTIES
    }
    files = linear_files(
        folder, IDS, columns, link={"timeout": PEER_SECONDS, "handshake_interval": 0.1}, shutdown={"grace": 5.0}
    )
    plugins = folder / "plugins"
    plugins.mkdir()
    (folder / "clock").write_text("0")
    (plugins / "clock.py").write_text(CLOCK_PLUGIN.format(file=str(folder / "clock")))
    source = FeatureService(folder / "alice.csv")
    endpoint = {"name": "http", "endpoint": source.url, "timeout": PEER_SECONDS}
    files.configs["alice"]["services"][0]["features"]["source"] = endpoint
    for name, port in zip(PARTIES, free_ports(2), strict=True):
        config = files.configs[name]
        config["listen"]["metrics"] = port
        config["plugins"] = {"directories": [str(plugins)]}
        config["tracing"] = {"file": str(folder / f"{name}.trace"), "interval": "50 ms", "max_file_bytes": 1 << 20}
        config["logging"] = {
            "file": str(folder / f"{name}.log.jsonl"),
            "format": "json",
            "access": True,
            "slow": "0.5 s",
        }
        config["logging"]["max_file_bytes"] = 1 << 20
    extra = _add_replicas(files) if replicas == 2 else []
    if extra:
        files.configs["bob"]["workers"] = 2
        files.configs["bob"]["listen"]["health"] = free_ports(1)[0]
    relay = FaultyRelay(extra[-1][1]["listen"]["communication"] if extra else files.communication_port("bob"))
    files.configs["alice"]["parties"]["bob"] = [
        f"127.0.0.1:{port}" for port in ([files.communication_port("bob"), relay.port] if extra else [relay.port])
    ]
    for name, config in extra:
        config["parties"] = files.configs[name.rstrip("2")]["parties"]
        (folder / f"{name}.json").write_text(json.dumps(config))
    parties = files.start()
    parties |= {name: Party(folder / f"{name}.json", config["listen"]["service"]) for name, config in extra}
    try:
        source.wait_ready()
        for party in parties.values():
            party.wait_ready()
        yield Chaos(files, parties, source, relay, _load(files, columns))
    finally:
        source.process.send_signal(signal.SIGCONT)
        source.kill()
        for party in parties.values():
            if party.process.poll() is None:
                party.process.send_signal(signal.SIGCONT)
                party.kill()
        relay.close()


def _add_replicas(files: ClusterFiles) -> list[tuple[str, dict[str, object]]]:
    """The configs of alice2 and bob2; their peers find them."""
    extra = []
    for name in PARTIES:
        config = copy.deepcopy(files.configs[name])
        service, communication, metrics = free_ports(3)
        config["listen"] = {"service": service, "communication": communication, "metrics": metrics}
        config["logging"]["file"] = str(files.folder / f"{name}2.log.jsonl")
        config["tracing"]["file"] = str(files.folder / f"{name}2.trace")
        extra.append((f"{name}2", config))
    files.configs["bob"]["parties"]["alice"] = [
        f"127.0.0.1:{port}" for port in (files.communication_port("alice"), extra[0][1]["listen"]["communication"])
    ]
    return extra


def _load(files: ClusterFiles, columns: dict[str, dict[str, list[float]]]) -> Generator:
    """Requests to alice for three rows each, whose scores tell every id."""
    scores = {id_: sum(own[i] for each in columns.values() for own in each.values()) + 0.5 for i, id_ in enumerate(IDS)}
    questions = draw_questions(SERVICE, PARTIES, IDS, 3, scores=scores)
    target = Target(f"127.0.0.1:{files.service_port('alice')}", "http")
    name = "secretflow.serving.apis.PredictionService"
    transport = open_transport(target, name, "Predict", connections=CALLERS, seconds=LATE_SECONDS)
    return Generator(transport, questions.bodies(json=True), questions.check_json, timeout=LATE_SECONDS)


# ----------------------------------------------------------------------------------------------------------- the faults
def nothing(chaos: Chaos) -> None:
    """Done."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for a while.

    Args:
        name: what.
        begin, end: make it go wrong, and right again.
        problems: what may become of requests besides right answers.
        answers: so many requests are to be answered meanwhile.
    """

    name: str
    begin: Callable[[Chaos], object]
    end: Callable[[Chaos], object] = nothing
    problems: frozenset[str] = frozenset({"code 4"})
    answers: int = CALLERS


def _lying(name: str, damage: Damage) -> Fault:
    return Fault(
        name, lambda chaos: setattr(chaos.relay, "damage", damage), lambda chaos: setattr(chaos.relay, "damage", None)
    )


def _hang(name: str) -> Fault:
    def send(chaos: Chaos, number: signal.Signals) -> None:
        chaos.parties[name].process.send_signal(number)

    return Fault(
        f"SIGSTOP of {name}", lambda chaos: send(chaos, signal.SIGSTOP), lambda chaos: send(chaos, signal.SIGCONT)
    )


def _restart(name: str) -> Callable[[Chaos], None]:
    def restart(chaos: Chaos) -> None:
        chaos.parties[name].start()
        chaos.parties[name].wait_ready()

    return restart


def _restart_source(chaos: Chaos) -> None:
    chaos.source.start()
    chaos.source.wait_ready()


NO_PROBLEM: Final[frozenset[str]] = frozenset()
PEER_FAULTS: Final = (
    _lying("a peer answers garbage", garbage),
    _lying("a peer breaks off in an answer", half_and_gone),
    _lying("a peer sends half a frame", half),
    _lying("a peer answers other calls", other_correlation_ids),
    _lying("a peer never answers", never),
)
PEER_DEATHS: Final = (
    _hang("bob"),
    Fault("kill -9 of bob", lambda chaos: chaos.parties["bob"].kill(), _restart("bob")),
    Fault("SIGTERM of bob", lambda chaos: chaos.parties["bob"].stop(), _restart("bob"), NO_PROBLEM),
)
"""With two replicas."""
WORKER_DEATHS: Final = (
    Fault(
        "SIGSTOP of a worker of bob",
        lambda chaos: os.kill(chaos.workers()[0], signal.SIGSTOP),
        lambda chaos: os.kill(chaos.workers()[0], signal.SIGCONT),
    ),
    Fault(
        "kill -9 of a worker of bob",
        lambda chaos: os.kill(chaos.workers()[0], signal.SIGKILL),
        Chaos.restore_workers,
    ),
)
REPLICA_DEATHS: Final = (
    Fault("kill -9 of alice2", lambda chaos: chaos.parties["alice2"].kill(), _restart("alice2"), NO_PROBLEM),
    Fault("SIGTERM of alice2", lambda chaos: chaos.parties["alice2"].stop(), _restart("alice2"), NO_PROBLEM),
    Fault("kill -9 of the source", lambda chaos: chaos.source.kill(), _restart_source),
)
SURROUNDINGS: Final = (
    Fault(
        "SIGSTOP of the source",
        lambda chaos: chaos.source.process.send_signal(signal.SIGSTOP),
        lambda chaos: chaos.source.process.send_signal(signal.SIGCONT),
        frozenset({"code 4"}),
    ),
    Fault(
        "full disk",
        lambda chaos: chaos.fill_disk(True),
        lambda chaos: chaos.fill_disk(False),
        NO_PROBLEM,
        answers=200,
    ),
    Fault("clocks jump an hour ahead", lambda chaos: chaos.move_clocks(3600), problems=NO_PROBLEM, answers=200),
    Fault(
        "clocks jump a day back",
        lambda chaos: chaos.move_clocks(-86400),
        lambda chaos: chaos.move_clocks(0),
        NO_PROBLEM,
        answers=200,
    ),
)
