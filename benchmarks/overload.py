"""Five times as much load as the server can take: what is let in keeps its latency, the rest is refused at once.

    .venv/bin/python benchmarks/overload.py [--seconds 60] [--times 5] [--rows 50]

Two parties, two processes on one core, 10 features each, random arrivals over HTTP/JSON from another core, so that the
load does not take the servers' time; every score is checked. Capacity is what 32 callers get. Latencies count from when
a request was due. Exits with 1 if requests that were let in took more than three times as long (99 %) as at 80 % load,
one was neither answered well nor refused with its code, memory grew, or right afterwards the server was not as quick as
before, or refused more than one in a hundred.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster import checked_load, linear_cluster
from benchmarks.soak import resident_mb
from sfs_core.client.load.figures import figures_of
from sfs_core.client.load.generator import Callers, Samples, random_arrivals
from tests.support.processes import Party

REFUSED = "HTTP 503"
USUAL_LOAD = 0.8
SLOWER = 3.0
GROWTH = 1.2
REFUSED_AFTERWARDS = 0.01


def keep_apart(parties: Collection[Party]) -> None:
    """The load on one core, the parties on another, where there are several."""
    own, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return
    os.sched_setaffinity(0, {own})
    for party in parties:
        for thread in Path(f"/proc/{party.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {others[0]})


def row(name: str, rate: float, samples: Samples, parties: Mapping[str, Party]) -> str:
    """A line of the table."""
    figures = figures_of(name, [samples])
    latency = figures.latency_ms
    refused = samples.problems[REFUSED]
    memory = ", ".join(f"{resident_mb(party.process.pid):.0f}" for party in parties.values())
    return (
        f"| {name} | {rate:,.0f} | {figures.rate:,.0f} | {refused / samples.seconds:,.0f} | {latency[50.0]:.1f} "
        f"| {latency[99.0]:.1f} | {figures.late_ms:.1f} | {sum(samples.problems.values()) - refused} | {memory} |"
    )


def p99(samples: Samples) -> float:
    """Seconds."""
    return float(np.quantile(samples.latencies, 0.99))


async def measure(parties: Mapping[str, Party], options: argparse.Namespace) -> bool:
    """Whether all is as it should be."""
    keep_apart(parties.values())
    load = checked_load(parties["alice"].service_port, rows=options.rows, connections=2000)
    print("| load | asked/s | answered/s | refused/s | p50 ms | p99 ms | sent late (99%), ms | other failures | MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        await load.run(Callers(32, 1.0))
        capacity = figures_of("", [await load.run(Callers(32, 3.0))]).rate
        await load.run(random_arrivals(capacity * options.times, 2.0, seed=2))  # memory and connections for it
        usual_rate = capacity * USUAL_LOAD
        usual = await load.run(random_arrivals(usual_rate, 10.0, seed=1))
        print(row("80 %", usual_rate, usual, parties), flush=True)
        before = [resident_mb(party.process.pid) for party in parties.values()]
        much = await load.run(random_arrivals(capacity * options.times, options.seconds, seed=3))
        after = [resident_mb(party.process.pid) for party in parties.values()]
        print(row(f"{options.times:g} times", capacity * options.times, much, parties), flush=True)
        again = await load.run(random_arrivals(usual_rate, 10.0, seed=4))
        print(row("80 % at once after", usual_rate, again, parties), flush=True)
    finally:
        await load.close()
    others = [samples.problems.keys() - {REFUSED} for samples in (usual, much, again)]
    return (
        p99(much) <= SLOWER * p99(usual)
        and p99(again) <= SLOWER * p99(usual)
        and again.problems[REFUSED] <= REFUSED_AFTERWARDS * len(again.latencies)
        and not any(others)
        and all(new <= old * GROWTH for old, new in zip(before, after, strict=True))
    )


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load beyond capacity")
    parser.add_argument("--times", type=float, default=5.0, help="the load beyond capacity, in capacities")
    parser.add_argument("--rows", type=int, default=50, help="of a request")
    options = parser.parse_args()
    gc.disable()  # a pause of the load's would count as the servers'
    with tempfile.TemporaryDirectory() as folder, linear_cluster(Path(folder)) as parties:
        good = uvloop.run(measure(parties, options))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
