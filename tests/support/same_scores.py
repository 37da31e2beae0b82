"""Whether two parties' scores are the same from whatever source their features come."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfs_core.model.split import split_linear
from tests.support.clusters import Answer, ClusterFiles, Columns, cluster_files, exchange, registry, write_csv
from tests.support.in_process import serving_here

ROWS, FEATURES = 10_000, 30
_ROWS_OF_A_REQUEST = 2_500


@dataclass(frozen=True)
class TwoParties:
    """A cluster in this process with two services of one model: `csv`, and `other` with the sources under test."""

    files: ClusterFiles
    ids: Sequence[str]

    def ask(self, service: str, ids: Sequence[str], party: str = "alice", **header: str) -> Answer:
        """What a party answers."""
        body = {
            "service_spec": {"id": service},
            "header": {"data": header},
            "fs_params": {each: {"query_datas": ids} for each in self.files.configs},
        }
        headers = {"Content-Type": "application/json"}
        port = self.files.service_port(party)
        return exchange(port, "/PredictionService/Predict", json.dumps(body).encode(), headers=headers)

    def scores(self, service: str, ids: Sequence[str]) -> list[float]:
        """The scores of rows, asked of both parties in turn."""
        found: list[float] = []
        for turn, begin in enumerate(range(0, len(ids), _ROWS_OF_A_REQUEST)):
            answer = self.ask(service, ids[begin : begin + _ROWS_OF_A_REQUEST], ("alice", "bob")[turn % 2])
            assert answer.code == 1, answer.message
            found += [row["scores"][0]["value"] for row in answer.json()["results"]]
        return found

    def assert_same_scores(self, ids: Sequence[str] = ()) -> None:
        """These rows, or all, in another order and some of them twice, score as with csv."""
        order, rows = random.Random(7), list(ids or self.ids)
        ids = [*order.sample(rows, len(rows)), *order.choices(rows, k=100)]
        assert self.scores("other", ids) == pytest.approx(self.scores("csv", ids), rel=1e-12)


def columns_of(rows: int = ROWS, features: int = FEATURES) -> tuple[list[str], dict[str, dict[str, list[float]]]]:
    """Ids, and for each of two parties half of the features."""
    values = np.random.default_rng(4).normal(scale=1e3, size=(features, rows)).tolist()
    columns = {f"f{i}": column for i, column in enumerate(values)}
    names = list(columns)
    halves = {"alice": names[: features // 2], "bob": names[features // 2 :]}
    return [f"u{i}" for i in range(rows)], {party: {n: columns[n] for n in own} for party, own in halves.items()}


@contextmanager
def two_parties(
    folder: Path,
    ids: Sequence[str],
    columns: Mapping[str, Columns],
    features: Callable[[str], Mapping[str, Any]],
) -> Iterator[TwoParties]:
    """The cluster, ready.

    Args:
        folder: for its files.
        ids: of all rows.
        columns: each party's features.
        features: gives each party's `features` block for the service `other`.
    """
    weights = {party: {name: 0.01 * i - 0.1 for i, name in enumerate(own)} for party, own in columns.items()}
    graphs = split_linear(registry().operator, weights, label_holder="alice", intercept=0.5)
    csv = {party: write_csv(folder / f"{party}.csv", ids, own) for party, own in columns.items()}
    files = cluster_files(folder, dict.fromkeys(("csv", "other"), graphs), csv)
    for party, config in files.configs.items():
        config["services"][1]["features"] = dict(features(party))
    with serving_here(files):
        yield TwoParties(files, ids)
