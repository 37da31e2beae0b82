"""Encrypted models over two processes: latencies, and where the time goes.

    .venv/bin/python benchmarks/phe_parties.py [--seconds 3] [--cases DIR]

A linear model of 10 features per party, and 50 trees of 8 leaves over both parties' features, with 2048-bit OU keys
and all options at their defaults, by turns without and with packing. `--cases` adds packages that SecretFlow exported.
Callers wait for an answer before they ask again, so that random encryptions of zero run out and are made on the spot;
lines with 0 callers ask at even intervals instead (`--rate`), with stocks full. The scores of some rows are compared
with the plain model's. CPU is of both parties with their worker processes. Steps are from the parties' own metrics:
milliseconds of each node at the party asked and at its peer, all trees' together, per request.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop
from sfs_op_phe.encrypting import encrypt_graphs
from sfs_op_phe.okamoto_uchiyama import generate_ou_keys

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.trees import complete_tree
from sfs_core.client.load.figures import Figures, figures_of
from sfs_core.client.load.generator import Callers, Generator, even_arrivals
from sfs_core.client.load.protocols import open_transport
from sfs_core.client.load.questions import draw_questions
from sfs_core.client.target import Target
from sfs_core.model.split import Tree, split_linear, split_trees
from tests.support.cases import load_case
from tests.support.clusters import ClusterFiles, cluster_files, registry, write_csv
from tests.support.processes import Party, free_ports

PARTIES = ("alice", "bob")
FEATURES = 10  # per party
NUM_TREES, DEPTH = 50, 3
SECONDS = 300.0  # more than a request may take
IDS = [str(i) for i in range(200)]
CASES = ("packages/sgd_logistic_he", "reference_ci/ou_xgb")


class Model(NamedTuple):
    """What is served, and what it scores."""

    files: ClusterFiles
    parties: Sequence[str]
    ids: Sequence[str]
    scores: np.ndarray


# ------------------------------------------------------------------------------------------------------ models
def own_models(folder: Path) -> dict[str, Model]:
    """The linear model and the trees."""
    draw = np.random.default_rng(1)
    columns = {
        party: {f"{party}{j}": draw.standard_normal(len(IDS)).round(6).tolist() for j in range(FEATURES)}
        for party in PARTIES
    }
    features = {party: write_csv(folder / f"{party}.csv", IDS, own) for party, own in columns.items()}
    weights = {party: {name: float(draw.normal()) for name in own} for party, own in columns.items()}
    every = {name: np.array(values) for own in columns.values() for name, values in own.items()}
    trees = [complete_tree(DEPTH, random.Random(seed), list(every)) for seed in range(NUM_TREES)]
    owner = {name: party for party, own in columns.items() for name in own}
    find = registry().operator
    graphs = {
        "linear": split_linear(find, weights, label_holder="alice", intercept=0.5),
        "trees": split_trees(find, trees, owner, parties=PARTIES, label_holder="alice"),
    }
    keys = {party: generate_ou_keys() for party in PARTIES}
    linear = sum((every[name] * weight for own in weights.values() for name, weight in own.items()), 0.5)
    scores = {"linear": linear, "trees": sum(_values(tree, every) for tree in trees)}
    made = {}
    for name, plain in graphs.items():
        (folder / name).mkdir()
        files = cluster_files(folder / name, {name: encrypt_graphs(plain, keys)}, features, link={"timeout": SECONDS})
        made[name] = Model(files, PARTIES, IDS, np.array(scores[name]))
    return made


def _values(tree: Tree, features: Mapping[str, np.ndarray]) -> np.ndarray:
    at = np.zeros(len(IDS), np.int64)
    for _ in range(DEPTH):
        goes_left = [features[tree.feature[node]][row] < tree.threshold[node] for row, node in enumerate(at)]
        at = np.where(goes_left, 2 * at + 1, 2 * at + 2)
    return np.array(tree.value)[at]


def case_model(cases: Path, name: str, folder: Path) -> Model:
    """A recorded case."""
    case = load_case(cases, name)
    files = cluster_files(
        folder, {}, {party: case.features(party) for party in case.parties}, link={"timeout": SECONDS}
    )
    for party, config in files.configs.items():
        source = {"name": "local", "path": str(case.package(party))}
        features = {"source": {"name": "csv", "path": str(case.features(party)), "id_column": "id"}}
        config["services"] = [{"service": name.rpartition("/")[2], "model": {"source": source}, "features": features}]
    return Model(files, case.parties, case.ids, case.scores)


@contextlib.contextmanager
def serving(model: Model) -> Iterator[tuple[Mapping[str, Party], dict[str, int]]]:
    """The parties, and their metrics' ports."""
    ports = dict(zip(model.parties, free_ports(len(model.parties)), strict=True))
    for party, port in ports.items():
        model.files.configs[party]["listen"]["metrics"] = port
    with model.files.running("--log-level", "warning") as parties:
        yield parties, ports


# --------------------------------------------------------------------------------------------------- measuring
_LINE = re.compile(r'sfs_(node|peer_call)_seconds_(sum|count)\{[^}]*?(?:node|peer)="([^"]*)"[^}]*\} (\S+)')


def spent(port: int) -> dict[str, float]:
    """Seconds of each step so far, all trees' together."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    seconds: dict[str, float] = defaultdict(float)
    for kind, what, name, value in _LINE.findall(text):
        step = "peer" if kind == "peer_call" else re.sub(r"\d+", "", name).strip("_")
        seconds[f"{step} {what}"] += float(value)
    return seconds


def rounds(before: Mapping[str, float], after: Mapping[str, float], requests: int) -> str:
    """Milliseconds per request of each step."""
    requests = max(requests, 1)
    took = {step: value - before.get(step, 0.0) for step, value in after.items() if step.endswith(" sum")}
    shown = [f"{step.removesuffix(' sum')} {value / requests * 1e3:.1f}" for step, value in took.items() if value]
    return ", ".join(shown)


def cpu_seconds(parties: Mapping[str, Party]) -> float:
    """What the parties and their workers have used."""
    ticks = 0
    for party in parties.values():
        pid = party.process.pid
        workers = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
        for each in {str(pid), *(worker for some in workers for worker in some)}:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(generator: Generator, callers: int, seconds: float, rate: float) -> Figures:
    """Figures of some seconds of load; of `rate` requests a second, without callers."""
    load = Callers(callers, seconds) if callers else even_arrivals(rate, 2 * seconds)
    return figures_of(str(callers), [await generator.run(load)])


def check(party: Party, name: str, model: Model) -> None:
    """A few rows score as they should."""
    some = slice(0, 5)
    found = party.scores(name, model.parties, model.ids[some])
    np.testing.assert_allclose(found, model.scores[some], rtol=1e-5, atol=1e-5)


async def lines(
    label: str,
    name: str,
    model: Model,
    parties: Mapping[str, Party],
    ports: Mapping[str, int],
    options: argparse.Namespace,
) -> None:
    """Measure and print the lines of a model."""
    asked, other = model.parties
    target = Target(f"127.0.0.1:{parties[asked].service_port}", "http")
    for rows in options.rows or (1, 10, 100):
        questions = draw_questions(name, model.parties, model.ids, rows)
        transport = open_transport(
            target, "secretflow.serving.apis.PredictionService", "Predict", connections=8, seconds=SECONDS
        )
        generator = Generator(transport, questions.bodies(json=True), questions.check_json, timeout=SECONDS)
        for callers in options.callers or (0, 1, 8):
            before, cpu = {party: spent(port) for party, port in ports.items()}, cpu_seconds(parties)
            figures = await measure(generator, callers, options.seconds, options.rate)
            cpu = (cpu_seconds(parties) - cpu) / max(figures.right, 1) * 1e3
            after = {party: spent(port) for party, port in ports.items()}
            steps = [rounds(before[party], after[party], figures.right) for party in (asked, other)]
            latency = figures.latency_ms
            print(
                f"| {label} | {rows} | {callers} | {figures.rate:,.1f} | {latency[50.0]:.1f} | {latency[99.0]:.1f} "
                f"| {cpu:.1f} | {sum(figures.problems.values())} | {steps[0]} | {steps[1]} |",
                flush=True,
            )
        await generator.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each line")
    parser.add_argument("--cases", type=Path, help="folder of recorded packages")
    parser.add_argument("--only", action="append", help="of these models; repeat")
    parser.add_argument("--rows", action="append", type=int, help="so many of a request; repeat")
    parser.add_argument("--callers", action="append", type=int, help="so many; repeat")
    parser.add_argument("--rate", type=float, default=1.0, help="requests a second of lines with 0 callers")
    parser.add_argument("--slices", type=int, default=1, help="so many turns without and with packing")
    parser.add_argument("--operators", type=json.loads, default={}, help="options of sfs-op-phe, as in a config")
    options = parser.parse_args()
    print("| model | rows | callers | requests/s | p50 ms | p99 ms | CPU ms | wrong | asked party, ms | its peer, ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        models: dict[str, Any] = own_models(Path(name))
        for case in CASES if options.cases else ():
            folder = Path(name, case.replace("/", "-"))
            folder.mkdir()
            models[case.rpartition("/")[2]] = case_model(options.cases, case, folder)
        for model_name, model in models.items():
            if options.only and model_name not in options.only:
                continue
            for packing in (False, True) * options.slices:
                for config in model.files.configs.values():
                    config["operators"] = {"sfs-op-phe": {"packing": packing} | options.operators}
                with serving(model) as (parties, ports):
                    check(parties[model.parties[0]], model_name, model)
                    label = f"{model_name}{', packed' if packing else ''}"
                    uvloop.run(lines(label, model_name, model, parties, ports, options))


if __name__ == "__main__":
    main()
