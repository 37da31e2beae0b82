"""A soak: 32 callers for five minutes; memory and open files of both parties stay as they are, every score is right.

    .venv/bin/python benchmarks/soak.py [--seconds 300] [--callers 32]

Prints a line for every tenth of the time. Exits with 1 if an answer was wrong, memory grew by more than 5 % after the
first tenth, or files stayed open.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cluster import checked_load, linear_cluster
from sfs_core.client.load.figures import figures_of
from sfs_core.client.load.generator import Callers

PARTS = 10
GROWTH = 1.05


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def soak(port: int, pids: Sequence[int], callers: int, seconds: float) -> bool:
    """Whether all went well."""
    load = checked_load(port, connections=callers)
    before = [open_files(pid) for pid in pids]
    memory: list[list[float]] = []
    wrong = 0
    print(
        "| s | requests/s | p50 ms | p99 ms | wrong | memory of alice, bob, MB | open files |\n"
        "|---|---|---|---|---|---|---|"
    )
    for part in range(PARTS):
        figures = figures_of("", [await load.run(Callers(callers, seconds / PARTS))])
        memory.append([resident_mb(pid) for pid in pids])
        wrong += sum(figures.problems.values())
        latency = figures.latency_ms
        print(
            f"| {(part + 1) * seconds / PARTS:.0f} | {figures.rate:,.0f} | {latency[50.0]:.2f} | {latency[99.0]:.2f} "
            f"| {wrong} | {', '.join(f'{mb:.1f}' for mb in memory[-1])} "
            f"| {', '.join(str(open_files(pid)) for pid in pids)} |",
            flush=True,
        )
    await load.close()
    await asyncio.sleep(1)
    after = [open_files(pid) for pid in pids]
    grown = any(last > first * GROWTH for first, last in zip(memory[0], memory[-1], strict=True))
    print(f"\nopen files before {before}, after {after}; memory {'grew' if grown else 'flat'}; {wrong} wrong answers")
    return not wrong and not grown and max(a - b for a, b in zip(after, before, strict=True)) <= 2


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--callers", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, linear_cluster(Path(folder)) as parties:
        pids = [party.process.pid for party in parties.values()]
        good = uvloop.run(soak(parties["alice"].service_port, pids, options.callers, options.seconds))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
