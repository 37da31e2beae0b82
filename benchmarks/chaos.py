"""Chaos: two replicas of each party, steady load, and one thing after the other goes wrong around them.

    .venv/bin/python benchmarks/chaos.py [--seconds 600]

Peers lie, hang, die and end, as do their workers; replicas of the asked party, the feature source, the disk for logs
and the clocks fail.
Prints a line for every kind of fault. Exits with 1 if an answer was wrong, came too late, was lost or came twice, if a
process died that nobody killed, or if memory of the asked party grew by more than 10 % after the first round.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sfs_core.client.load.generator import Samples
from tests.support.chaos import (
    PEER_DEATHS,
    PEER_FAULTS,
    REPLICA_DEATHS,
    SURROUNDINGS,
    WORKER_DEATHS,
    Chaos,
    Fault,
    chaos,
)

FAULTS = (*PEER_FAULTS, *PEER_DEATHS, *WORKER_DEATHS, *REPLICA_DEATHS, *SURROUNDINGS)
GROWTH = 1.1
BETWEEN = 400
"""Requests between two faults."""


async def strike(cluster: Chaos, seconds: float) -> tuple[dict[Fault, Samples], list[dict[str, float]]]:
    """What became of requests by fault, and memory after each round of all faults."""
    results = {fault: Samples() for fault in FAULTS}
    memory: list[dict[str, float]] = []
    end = time.monotonic() + seconds
    with cluster.second_alice():
        for fault in itertools.cycle(FAULTS):
            results[fault].add(await cluster.strike(fault, calm=BETWEEN))
            if fault is FAULTS[-1]:
                memory.append(cluster.memory())
                print(f"after {seconds - (end - time.monotonic()):.0f} s: {cluster.samples.problems}", file=sys.stderr)
            if time.monotonic() > end and len(memory) > 1:
                break
    await cluster.load.close()
    return results, memory


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="every fault is tried twice, whatever this says")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chaos(Path(folder), replicas=2) as cluster:
        results, memory = uvloop.run(strike(cluster, options.seconds))
        wrong = report(results)
        asked = Counter({f"code {code}": count for code, count in cluster.asked().items()})
        right = asked.pop("code 1")
        lost = asked != cluster.samples.problems or right != len(cluster.samples.latencies)
        dead = [name for name, party in cluster.parties.items() if party.process.poll() is not None]
        failed = [name for name, party in cluster.parties.items() if "Traceback" in party.log.read_text()]
    used = [each["alice"] for each in memory]
    print(
        f"\n{right + asked.total():,.0f} requests answered; as many counted by the server: {'no' if lost else 'yes'}; "
        f"wrong or late: {wrong}; died: {dead or 'none'}; tracebacks: {failed or 'none'}; "
        f"memory of the asked party after each round, MB: {', '.join(f'{mb:.0f}' for mb in used)}"
    )
    return 1 if wrong or lost or dead or failed or used[-1] > used[0] * GROWTH else 0


def report(results: dict[Fault, Samples]) -> int:
    """Print the table; how many requests did not end as they may."""
    print("| fault | times answered right | refused with a code | longest right answer, s | wrong, late or lost |")
    print("|---|---|---|---|---|")
    total = 0
    for fault, samples in results.items():
        refused = Counter({name: count for name, count in samples.problems.items() if name in fault.problems})
        wrong = samples.problems.total() - refused.total()
        total += wrong
        print(
            f"| {fault.name} | {len(samples.latencies):,} | {refused.total()} "
            f"| {max(samples.latencies, default=0):.2f} | {wrong} |"
        )
    return total


if __name__ == "__main__":
    sys.exit(main())
