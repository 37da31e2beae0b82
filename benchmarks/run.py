"""Throughput, latency and CPU of two parties, as ratios to a yardstick measured in the same run.

    ./dev bench [--seconds 1.0] [--rounds 3] [--only linear trees] [--cases FOLDER] [--alone] [--json FILE]

For each model (a linear one; 5, 50 and 100 trees; with `--cases` two with ARROW_PROCESSING nodes), number of rows and
number of callers, slices of load on three targets alternate: this server (two parties, two processes), a bare uvicorn
ASGI echo, and a bare echo of `baidu_std` frames.
A caller sends its next request when it has its answer (closed loop). CPU is user and system time of the target's
processes per request, so the load generator, which shares the cores, does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.history import record
from benchmarks.load import HttpLoad, Load, PrpcLoad
from benchmarks.trees import complete_tree
from sfs_core.host.registry import Registry
from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear, split_trees
from tests.support.processes import free_ports, running, start_parties, wait_for

PARTIES = ("alice", "bob")
FEATURES = 10  # per party
PEOPLE = 1000
DEPTH = 5
TREES = {"trees-5": 5, "trees": 50, "trees-100": 100}
CASES = {"glm": "reference_ci/glm", "chain": "packages/pre_ops_sgd"}
"""Real packages with ARROW_PROCESSING nodes."""
MODELS = ("linear", *TREES, *CASES)
ROWS = (1, 10, 100)
CALLERS = (1, 8, 32)
HERE = Path(__file__).resolve().parent


@dataclass
class Target:
    """Something that answers requests."""

    name: str
    load: Load
    processes: Sequence[int]
    slices: list[tuple[float, float, list[float]]] = field(default_factory=list)  # requests/s, CPU s/request, latencies

    def slice(self, callers: int, seconds: float) -> None:
        """One slice of load; its figures are kept."""
        before, begin = cpu_seconds(self.processes), time.perf_counter()
        latencies = self.load.run(callers, seconds)
        elapsed, used = time.perf_counter() - begin, cpu_seconds(self.processes) - before
        self.slices.append((len(latencies) / elapsed, used / max(len(latencies), 1), latencies))

    def figures(self) -> dict[str, float]:
        """Medians over the slices; latencies over all of them, in milliseconds."""
        latencies = np.array([latency for *_, each in self.slices for latency in each]) * 1e3
        return {
            "requests_per_second": statistics.median(s[0] for s in self.slices),
            "cpu_us": statistics.median(s[1] for s in self.slices) * 1e6,
            "p50_ms": float(np.percentile(latencies, 50)),
            "p99_ms": float(np.percentile(latencies, 99)),
        }


def cpu_seconds(processes: Sequence[int]) -> float:
    """User and system time of processes so far."""
    ticks = 0
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# ----------------------------------------------------------------------- the models
def _features() -> dict[str, list[str]]:
    return {party: [f"{party[0]}{i}" for i in range(FEATURES)] for party in PARTIES}


def _write_features(folder: Path) -> dict[str, Path]:
    random_numbers = np.random.default_rng(1)
    paths = {}
    for party, names in _features().items():
        paths[party] = folder / f"{party}.csv"
        table = random_numbers.standard_normal((PEOPLE, len(names)))
        lines = [",".join(["id", *names])]
        lines += [",".join([str(i), *map(repr, row)]) for i, row in enumerate(table.tolist())]
        paths[party].write_text("\n".join(lines) + "\n")
    return paths


def _write_packages(model: str, folder: Path) -> dict[str, Path]:
    operator = Registry.discover().operator
    if model == "linear":
        weights = {party: dict.fromkeys(names, 0.1) for party, names in _features().items()}
        graphs = split_linear(operator, weights, label_holder="alice", intercept=0.5, link="LF_SIGMOID_RAW")
    else:
        owner = {name: party for party, names in _features().items() for name in names}
        chance = random.Random(1)
        trees = [complete_tree(DEPTH, chance, list(owner)) for _ in range(TREES[model])]
        graphs = split_trees(operator, trees, owner, parties=PARTIES, label_holder="alice", link="LF_SIGMOID_RAW")
    paths = {party: folder / f"{party}-{model}.tar.gz" for party in PARTIES}
    for party, path in paths.items():
        write_package(path, model, "", graphs[party])
    return paths


# ---------------------------------------------------------------------- the targets
@contextlib.contextmanager
def _parties(
    model: str, folder: Path, cases: Path | None = None, *, join: bool = True
) -> Iterator[tuple[int, list[int]]]:
    """Alice's service port and the parties' process ids."""
    if model in CASES:
        assert cases is not None
        packages, features = ({p: cases / CASES[model] / f"{p}.{end}" for p in PARTIES} for end in ("tar.gz", "csv"))
    else:
        packages, features = _write_packages(model, folder), _write_features(folder)
    ports = free_ports(4)
    configs = {}
    for i, party in enumerate(PARTIES):
        path = folder / f"{party}-{model}.json"
        config = {
            "service": model,
            "party": party,
            "listen": {"host": "127.0.0.1", "service": ports[i], "communication": ports[2 + i]},
            "parties": {p: f"127.0.0.1:{ports[2 + j]}" for j, p in enumerate(PARTIES)},
            "cache": str(folder / "cache" / party),
            "model": {"source": {"name": "local", "path": str(packages[party])}},
            "features": {"source": {"name": "csv", "path": str(features[party])}},
            "batching": {"enabled": join},
        }
        path.write_text(json.dumps(config))
        configs[party] = path, ports[i]
    with running(start_parties(configs, "--log-level", "warning")) as parties:
        yield ports[0], [party.process.pid for party in parties.values()]


@contextlib.contextmanager
def _echo(script: str, port: int) -> Iterator[int]:
    """A yardstick's process id."""
    process = subprocess.Popen([sys.executable, str(HERE / script), str(port)])
    try:
        wait_for(lambda: _accepts(port), f"{script} listens")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _bodies(model: str, rows: int, people: int = PEOPLE) -> list[bytes]:
    """Requests for different people, so that nothing is answered from a cache."""
    chance = random.Random(2)
    bodies = []
    for _ in range(200):
        ids = [str(chance.randrange(people)) for _ in range(rows)]
        params = {party: {"query_datas": ids} for party in PARTIES}
        bodies.append(json.dumps({"service_spec": {"id": model}, "fs_params": params}).encode())
    return bodies


# -------------------------------------------------------------------------- the run
def _measure(targets: Sequence[Target], callers: int, seconds: float, rounds: int) -> None:
    for target in targets:
        target.load.run(callers, seconds / 4)  # warm up
    for _ in range(rounds):
        for target in targets:
            target.slice(callers, seconds)


def _case(
    model: str,
    rows: int,
    callers: int,
    ports: Sequence[int],
    processes: Sequence[list[int]],
    options: argparse.Namespace,
) -> dict[str, object]:
    bodies = _bodies(model, rows, 32 if model in CASES else PEOPLE)
    targets = [
        Target("sfs", HttpLoad(ports[0], "/PredictionService/Predict", bodies, b'"code":1'), processes[0]),
        Target("asgi echo", HttpLoad(ports[1], "/", bodies, b"fs_params"), processes[1]),
        Target("framed echo", PrpcLoad(ports[2], bodies), processes[2]),
    ]
    _measure(targets, callers, options.seconds, options.rounds)
    figures = {target.name: target.figures() for target in targets}
    ratio = {name: figures["sfs"]["cpu_us"] / figures[name]["cpu_us"] for name in ("asgi echo", "framed echo")}
    return {"model": model, "rows": rows, "callers": callers, "figures": figures, "cpu_ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a slice")
    parser.add_argument("--rounds", type=int, default=3, help="slices per target")
    parser.add_argument("--only", choices=MODELS, nargs="*", help="measure these models")
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--callers", type=int, nargs="*", default=CALLERS)
    parser.add_argument("--cases", type=Path, help="folder of real packages, for the models glm and chain")
    parser.add_argument("--alone", action="store_true", help="run every request alone: no joined rounds")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(
        "| model | rows | callers | requests/s | p50 ms | p99 ms | CPU µs, both parties | ÷ ASGI echo | ÷ framed echo |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    results = []
    asgi_port, framed_port = free_ports(2)
    with (
        tempfile.TemporaryDirectory() as folder,
        _echo("asgi_echo.py", asgi_port) as asgi,
        _echo("framed_echo.py", framed_port) as framed,
    ):
        for model in options.only or MODELS:
            if model in CASES and options.cases is None:
                print(f"{model} is left out: --cases does not say where its package is", file=sys.stderr)
                continue
            with _parties(model, Path(folder), options.cases, join=not options.alone) as (port, pids):
                for rows in options.rows:
                    for callers in options.callers:
                        case = _case(
                            model, rows, callers, [port, asgi_port, framed_port], [pids, [asgi], [framed]], options
                        )
                        results.append(case)
                        _print(case)
    print(f"\nhistory of this machine: {record(results)}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def _print(case: dict[str, object]) -> None:
    sfs = case["figures"]["sfs"]  # type: ignore[index]
    ratio = case["cpu_ratio"]
    print(
        f"| {case['model']} | {case['rows']} | {case['callers']} | {sfs['requests_per_second']:,.0f} "
        f"| {sfs['p50_ms']:.2f} | {sfs['p99_ms']:.1f} | {sfs['cpu_us']:.0f} "
        f"| {ratio['asgi echo']:.1f} | {ratio['framed echo']:.1f} |",  # type: ignore[index]
        flush=True,
    )


if __name__ == "__main__":
    main()
