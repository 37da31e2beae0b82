"""What metrics and limits cost: two clusters, with them and without, under load by turns.

    .venv/bin/python benchmarks/overhead.py [--seconds 0.3] [--rounds 100] [--callers 8]

Both clusters have two parties, a linear model with 10 features each, and no tracing; requests are for one row over
HTTP/JSON, and every score is checked. In each round both have a slice, in changing order. CPU is user and system time
of both parties per request; the figure is the ratio of the lower quartiles over all rounds, since what else runs on the
machine can only add to a slice. Exits with 1 where it is above 1.10.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster import checked_load, linear_cluster
from benchmarks.run import cpu_seconds
from sfs_core.client.load.generator import Callers, Generator
from tests.support.processes import Party

MOST = 1.10
WITH = {"limits": {"target_latency": "1 s", "max_waiting_rows": 100_000, "max_bytes": 256 << 20}}


async def slice_cpu_us(load: Generator, parties: Mapping[str, Party], callers: int, seconds: float) -> float:
    """Microseconds of CPU per request of one slice of load."""
    pids = [party.process.pid for party in parties.values()]
    before = cpu_seconds(pids)
    samples = await load.run(Callers(callers, seconds))
    if samples.problems:
        raise SystemExit(f"not all was answered: {samples.problems}")
    return (cpu_seconds(pids) - before) / len(samples.latencies) * 1e6


async def measure(clusters: Mapping[bool, Mapping[str, Party]], options: argparse.Namespace) -> float:
    """CPU with them, as a multiple of CPU without."""
    loads = {on: checked_load(parties["alice"].service_port) for on, parties in clusters.items()}
    rounds: list[dict[bool, float]] = []
    for number in range(-1, options.rounds):  # the first one is to warm up
        order = (True, False) if number % 2 else (False, True)
        found = {on: await slice_cpu_us(loads[on], clusters[on], options.callers, options.seconds) for on in order}
        if number >= 0:
            rounds.append(found)
    for load in loads.values():
        await load.close()
    quartiles = {on: statistics.quantiles([found[on] for found in rounds], n=4) for on in clusters}
    ratio = quartiles[True][0] / quartiles[False][0]
    median = statistics.median(found[True] / found[False] for found in rounds)
    shown = (" / ".join(f"{each:.0f}" for each in quartiles[on]) for on in (False, True))
    print(
        "| callers | CPU µs without, quartiles | CPU µs with, quartiles | ratio | median of the rounds' ratios |\n"
        "|---|---|---|---|---|\n"
        f"| {options.callers} | {' | '.join(shown)} | {ratio:.3f} | {median:.3f} |"
    )
    return ratio


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a slice")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--callers", type=int, default=8)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        linear_cluster(Path(one)) as without,
        linear_cluster(Path(two), metrics=True, **WITH) as with_,
    ):
        ratio = uvloop.run(measure({False: without, True: with_}, options))
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
