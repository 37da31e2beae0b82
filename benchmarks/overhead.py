"""What metrics and limits cost: two clusters, with them and without, under load by turns.

    .venv/bin/python benchmarks/overhead.py [--seconds 1] [--rounds 30] [--callers 8]

Both clusters have two parties, a linear model with 10 features each, and no tracing; requests are for one row over
HTTP/JSON, and every score is checked. In each round both have a slice, in changing order. CPU is user and system time
of both parties per request; the figure is the median of the rounds' ratios. Exits with 1 where it is above 1.10.
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
    """The median ratio of CPU with to CPU without."""
    loads = {on: checked_load(parties["alice"].service_port) for on, parties in clusters.items()}
    rounds: list[dict[bool, float]] = []
    for number in range(-1, options.rounds):  # the first one is to warm up
        order = (True, False) if number % 2 else (False, True)
        found = {on: await slice_cpu_us(loads[on], clusters[on], options.callers, options.seconds) for on in order}
        if number >= 0:
            rounds.append(found)
    for load in loads.values():
        await load.close()
    ratios = sorted(found[True] / found[False] for found in rounds)
    without, with_ = (statistics.median(found[on] for found in rounds) for on in (False, True))
    lower, _, upper = statistics.quantiles(ratios, n=4)
    median = statistics.median(ratios)
    print(
        "| callers | CPU µs without | CPU µs with | ratio, median | ratio, middle half |\n|---|---|---|---|---|\n"
        f"| {options.callers} | {without:.0f} | {with_:.0f} | {median:.3f} | {lower:.3f} to {upper:.3f} |"
    )
    return median


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a slice")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--callers", type=int, default=8)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        linear_cluster(Path(one)) as without,
        linear_cluster(Path(two), metrics=True, **WITH) as with_,
    ):
        median = uvloop.run(measure({False: without, True: with_}, options))
    return 0 if median <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
