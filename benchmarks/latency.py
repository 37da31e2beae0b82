"""Latencies at fixed rates: half and nine tenths of what the server does, with and without joining, near and far.

    .venv/bin/python benchmarks/latency.py [--seconds 5]

Two parties, two processes, one row, 10 features each, random arrivals. Capacity is what 32 callers get, measured
just before for the same set-up; latencies count from when a request was due. "Far": a proxy of its own process keeps
the parties 5 ms apart (2.5 ms each way).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster import checked_load, linear_cluster
from sfs_core.client.load.figures import Figures, figures_of
from sfs_core.client.load.generator import Callers, random_arrivals

CALLERS = 32
SHARES = (0.5, 0.9)


async def measure(port: int, seconds: float) -> tuple[float, list[Figures]]:
    """Capacity, and the figures at each share of it."""
    load = checked_load(port)
    try:
        await load.run(Callers(CALLERS, 1.0))
        capacity = figures_of("capacity", [await load.run(Callers(CALLERS, seconds))]).rate
        figures = []
        for share in SHARES:
            rate = capacity * share
            await load.run(random_arrivals(rate, 0.5, seed=1))
            figures.append(figures_of(f"{share:.0%}", [await load.run(random_arrivals(rate, seconds, seed=2))]))
    finally:
        await load.close()
    return capacity, figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options = parser.parse_args()
    print("| parties | joining | capacity/s | load | p50 ms | p99 ms | p99.9 ms | sent late (99%), ms | wrong |")
    print("|---|---|---|---|---|---|---|---|---|")
    for delay in (0.0, 2.5):
        for joined in (True, False):
            with (
                tempfile.TemporaryDirectory() as folder,
                linear_cluster(Path(folder), delay_ms=delay, batching={"enabled": joined}) as parties,
            ):
                capacity, figures = uvloop.run(measure(parties["alice"].service_port, options.seconds))
            for each in figures:
                latency = each.latency_ms
                print(
                    f"| {'5 ms apart' if delay else 'near'} | {'on' if joined else 'off'} | {capacity:,.0f} "
                    f"| {each.target} | {latency[50.0]:.2f} | {latency[99.0]:.2f} | {latency[99.9]:.2f} "
                    f"| {each.late_ms:.2f} | {sum(each.problems.values())} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
