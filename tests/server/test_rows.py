"""Rows in any order, repeated, one or ten thousand: always the scores of the same rows asked for one by one."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sfs_core.model.split import Tree, split_linear, split_trees
from tests.support.clusters import cluster_files, registry, write_csv
from tests.support.in_process import serving_here
from tests.support.processes import ServicePort

PARTIES = ("alice", "bob", "carol")
ROWS = 60
MOST = 10_000
TYPES = {
    "alice": ["DT_DOUBLE", "DT_INT64", "DT_FLOAT"],
    "bob": ["DT_UINT8", "DT_FLOAT", "DT_INT16", "DT_INT32"],
    "carol": ["DT_DOUBLE"],
}
RANGES = {"DT_UINT8": (0, 255), "DT_INT16": (-(2**15), 2**15 - 1), "DT_INT32": (-(2**31), 2**31 - 1)}
INTERCEPT = -0.25
BASE_SCORE = 0.5


@dataclass(frozen=True)
class Model:
    """What is served, for the evaluator: rows by feature, and the plain models."""

    rows: list[dict[str, float]]
    weights: Mapping[str, float]
    trees: Sequence[Tree]

    def linear(self, row: int) -> float:
        x = INTERCEPT + math.fsum(weight * self.rows[row][name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-x))

    def boosted(self, row: int) -> float:
        return BASE_SCORE + math.fsum(walk(tree, self.rows[row]) for tree in self.trees)


def walk(tree: Tree, row: Mapping[str, float]) -> float:
    node = 0
    while tree.children_left[node] >= 0:
        left = row[tree.feature[node]] < tree.threshold[node]
        node = tree.children_left[node] if left else tree.children_right[node]
    return tree.value[node]


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def value(kind: str, chance: random.Random) -> float:
    """A value as a file holds it."""
    if kind in RANGES:
        return chance.randint(*RANGES[kind])
    if kind == "DT_INT64":
        return chance.randint(-(2**50), 2**50)
    return chance.uniform(-3, 3)


def grow(names: Sequence[str], chance: random.Random, depth: int = 4) -> Tree:
    left, right, feature, threshold, values = [], [], [], [], []

    def node(level: int) -> int:
        index = len(left)
        for each, empty in ((left, -1), (right, -1), (feature, ""), (threshold, 0.0), (values, 0.0)):
            each.append(empty)
        if level == 0 or (level < depth and chance.random() < 0.2):
            values[index] = chance.uniform(-1, 1)
            return index
        feature[index], threshold[index] = chance.choice(names), chance.uniform(-2, 2)
        left[index], right[index] = node(level - 1), node(level - 1)
        return index

    node(depth)
    return Tree(left, right, feature, threshold, values)


@pytest.fixture(scope="module", params=["baidu_std", "http", "http:proto"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mapping[str, ServicePort], Model]]:
    """Three parties that serve a linear model of many types and 20 trees."""
    chance = random.Random(20)
    columns: dict[str, dict[str, list[Any]]] = {party: {} for party in PARTIES}
    types, weights = {}, {party: {} for party in PARTIES}
    for party in PARTIES:
        for i, kind in enumerate(TYPES[party]):
            name = f"{party}_{i}"
            types[name], columns[party][name] = kind, [value(kind, chance) for _ in range(ROWS)]
            weights[party][name] = chance.uniform(-2, 2) / max(map(abs, columns[party][name]))
        for i in range(2):
            name = f"{party}_split_{i}"
            types[name] = ("DT_FLOAT", "DT_DOUBLE")[i]
            columns[party][name] = [chance.choice([math.nan, chance.gauss(0, 2)]) for _ in range(ROWS)]
    owners = {name: party for party in PARTIES for name in columns[party] if "split" in name}
    trees = [grow(list(owners), chance) for _ in range(20)]
    operator = registry().operator
    linear = split_linear(
        operator, weights, label_holder="bob", intercept=INTERCEPT, link="LF_SIGMOID_RAW", feature_types=types
    )
    boosted = split_trees(
        operator, trees, owners, parties=PARTIES, label_holder="bob", base_score=BASE_SCORE, feature_types=types
    )
    folder: Path = tmp_path_factory.mktemp("rows")
    features = {
        party: write_csv(folder / f"{party}.csv", list(map(str, range(ROWS))), columns[party]) for party in PARTIES
    }
    files = cluster_files(
        folder, {"linear": linear, "boosted": boosted}, features, link={"protocol": request.param, "timeout": 20}
    )
    known = {name: column for own in columns.values() for name, column in own.items()}
    rows = [{n: float32(c[row]) if types[n] == "DT_FLOAT" else c[row] for n, c in known.items()} for row in range(ROWS)]
    parties = {party: ServicePort(files.service_port(party)) for party in PARTIES}
    with serving_here(files):
        yield parties, Model(rows, {n: w for own in weights.values() for n, w in own.items()}, trees)


def assert_close(scores: Sequence[float], wanted: Sequence[float]) -> None:
    np.testing.assert_allclose(scores, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("requester", PARTIES)
def test_any_rows_get_the_scores_of_single_rows(
    served: tuple[Mapping[str, ServicePort], Model], requester: str
) -> None:
    parties, model = served
    singles = {
        service: [parties[requester].scores(service, PARTIES, [str(row)])[0] for row in range(ROWS)]
        for service in ("linear", "boosted")
    }
    assert_close(singles["linear"], [model.linear(row) for row in range(ROWS)])
    assert_close(singles["boosted"], [model.boosted(row) for row in range(ROWS)])
    assert len(set(singles["boosted"])) > ROWS / 2

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(count=st.integers(1, MOST), seed=st.integers(0, 1 << 32))
    @example(count=MOST, seed=1)
    @example(count=ROWS, seed=2)
    @example(count=5, seed=3)
    def check(count: int, seed: int) -> None:
        rows = random.Random(seed).choices(range(ROWS), k=count)
        for service, single in singles.items():
            scores = parties[requester].scores(service, PARTIES, list(map(str, rows)))
            assert_close(scores, [single[row] for row in rows])

    check()
