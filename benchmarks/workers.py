"""What a second worker gains: one party with one worker or two, and one connection to it or several.

    .venv/bin/python benchmarks/workers.py [--work 300] [--connections 4] [--rounds 9]

Two parties with a linear model, 10 features each; 16 callers of alice ask for 4 rows over HTTP/JSON, over connections
that are kept, and every score is checked. One party's features come from a source that computes `--work` microseconds
per row, on the processor that serves: that party is what limits all. `alice` is asked by callers, each over
connections of its own; `bob` by alice alone, over as many as `--connections` says.

Slices of all variants alternate. Both parties and the callers share the machine's cores, as does whatever else runs:
with as many cores as workers, what they use is lost to the second worker. `idle` is what was left of all cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster import FEATURES, IDS, PARTIES, checked_load
from benchmarks.run import cpu_seconds
from sfs_core.client.load.generator import Callers
from tests.support.clusters import linear_files
from tests.support.processes import Party, running

CALLERS = 16
ROWS = 4
SOURCE = '''
"""A table whose rows take time on the processor."""
import time
from sfs_core import Batch, FeatureResult, FeatureSource, FeatureSourceSpec, hookimpl

SFS_API = ">=1,<2"

class Busy(FeatureSource):
    blocking = False

    def fetch_rows(self, query):
        end = time.thread_time() + {work} * 1e-6 * len(query.ids)
        while time.thread_time() < end:
            pass
        rows = [tuple(float(int(id_) * {features} + j) for j in range({features})) for id_ in query.ids]
        return FeatureResult(Batch.from_rows(self.schema, rows))

@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("busy", f"{{__name__}}:Busy", "rows that take time")]
'''


@dataclass(frozen=True)
class Variant:
    """Which party is busy, its workers, and the connections to bob."""

    busy: str
    workers: int
    connections: int


@contextlib.contextmanager
def cluster(folder: Path, variant: Variant, work: float) -> Iterator[Mapping[str, Party]]:
    """Both parties; one has the workers, and the source that takes time."""
    columns = {
        party: {f"{party}{j}": [float(i * FEATURES + j) for i in range(len(IDS))] for j in range(FEATURES)}
        for party in PARTIES
    }
    files = linear_files(folder, IDS, columns, intercept=0.5, limits={"target_latency": None}, link={"timeout": 30.0})
    (folder / "plugins").mkdir()
    (folder / "plugins" / "busy.py").write_text(SOURCE.format(work=work, features=FEATURES))
    config = files.configs[variant.busy]
    config["workers"] = variant.workers
    config["plugins"] = {"directories": [str(folder / "plugins")]}
    config["services"][0]["features"]["source"] = {"name": "busy"}
    address = files.configs["alice"]["parties"]["bob"]
    files.configs["alice"]["parties"]["bob"] = {"address": address, "connections": variant.connections}
    with running(files.start("--log-level", "warning")) as parties:
        yield parties


def processes(party: Party) -> list[int]:
    """Ids of a party's process and of its workers."""
    pid = party.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


@dataclass(frozen=True)
class Slice:
    """What was found in one slice: requests per second, milliseconds, and cores used, or not used by anything."""

    rate: float
    p50: float
    p99: float
    busy: float
    other: float
    idle: float


async def measure(variant: Variant, parties: Mapping[str, Party], seconds: float) -> Slice:
    """One slice of load, a moment to warm up before it."""
    load = checked_load(parties["alice"].service_port, rows=ROWS, connections=CALLERS)
    await load.run(Callers(CALLERS, 0.2))
    pids = {name: processes(party) for name, party in parties.items()}
    before = {name: cpu_seconds(own) for name, own in pids.items()}
    idle_before, begin = idle_seconds(), time.perf_counter()
    samples = await load.run(Callers(CALLERS, seconds))
    took = time.perf_counter() - begin
    used = {name: (cpu_seconds(own) - before[name]) / took for name, own in pids.items()}
    idle = (idle_seconds() - idle_before) / took
    await load.close()
    if samples.problems:
        raise SystemExit(f"not all was answered: {samples.problems}")
    p50, p99 = np.percentile(samples.latencies, (50, 99)) * 1000
    busy = used.pop(variant.busy)
    return Slice(len(samples.latencies) / took, p50, p99, busy, sum(used.values()), idle)


async def measure_by_turns(
    clusters: Mapping[Variant, Mapping[str, Party]], rounds: int, seconds: float
) -> Mapping[Variant, Sequence[Slice]]:
    """Slices of all variants, one after the other, in changing order."""
    found: dict[Variant, list[Slice]] = {variant: [] for variant in clusters}
    for number in range(rounds):
        for variant in list(clusters)[:: 1 if number % 2 else -1]:
            found[variant].append(await measure(variant, clusters[variant], seconds))
    return found


def idle_seconds() -> float:
    """Seconds that all cores together had nothing to do."""
    numbers = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(numbers[4]) / os.sysconf("SC_CLK_TCK")


def report(found: Mapping[Variant, Sequence[Slice]]) -> None:
    """Print the table: of each variant the slice of the median rate, and the median of the rounds' gains."""
    print(
        "| busy party | workers | connections to bob | requests/s | p50 ms | p99 ms | cores used there | by the other "
        "| idle | gain |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for variant, slices in found.items():
        median = sorted(slices, key=lambda each: each.rate)[len(slices) // 2]
        first = found[Variant(variant.busy, 1, 1)]
        gain = statistics.median(each.rate / base.rate for each, base in zip(slices, first, strict=True))
        print(
            f"| {variant.busy} | {variant.workers} | {variant.connections} | {median.rate:,.0f} | {median.p50:.1f} "
            f"| {median.p99:.1f} | {median.busy:.2f} | {median.other:.2f} | {median.idle:.2f} | {gain:.2f} |"
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=float, default=300.0, help="microseconds per row")
    parser.add_argument("--connections", type=int, default=4, help="of alice to bob, besides a single one")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a slice")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    variants = [Variant("alice", 1, 1), Variant("alice", 2, 1)]
    variants += [Variant("bob", *each) for each in ((1, 1), (2, 1), (2, options.connections))]
    with contextlib.ExitStack() as stack:
        clusters = {}
        for variant in variants:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            clusters[variant] = stack.enter_context(cluster(folder, variant, options.work))
        report(uvloop.run(measure_by_turns(clusters, options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
