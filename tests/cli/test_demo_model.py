"""The demo's data, its split over parties, and what it is compared with."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core.cli.demo_model import (
    DemoData,
    ModelKind,
    auc,
    load_demo_data,
    single_machine_scores,
    write_features,
    write_packages,
)
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.host.registry import Registry
from sfs_core.testing import predictors


@pytest.fixture(scope="module")
def data() -> DemoData:
    return load_demo_data()


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([0.5, 0.5, 0.5], [0, 1, 1], 0.5),
        ([0.1, 0.3, 0.3, 0.7], [0, 0, 1, 1], 0.875),
    ],
)
def test_auc_of_hand_made_scores(scores: list[float], labels: list[int], expected: float) -> None:
    assert auc(np.array(scores), np.array(labels, dtype=float)) == expected


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2).filter(lambda r: len({b for _, b in r}) == 2))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p, positive in rows if positive for n, other in rows if not other]
    scores, labels = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    assert auc(scores, labels) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


def test_the_data_is_the_whole_data_set(data: DemoData) -> None:
    assert len(set(data.ids)) == 569
    assert data.labels.sum() == 212
    assert data.held_out.sum() == 171
    assert len(data.features) == 30
    assert all(values.shape == (569,) and np.isfinite(values).all() for values in data.features.values())


@pytest.mark.parametrize(("kind", "least"), [("logistic", 0.98), ("trees", 0.95)])
def test_the_models_find_the_malignant_ones(data: DemoData, kind: ModelKind, least: float) -> None:
    scores = single_machine_scores(data, kind)
    assert auc(scores[data.held_out], data.labels[data.held_out]) > least


@pytest.mark.parametrize("parties", [2, 3])
def test_no_column_is_at_two_parties(data: DemoData, parties: int, tmp_path: Path) -> None:
    paths = write_features(data, parties, tmp_path)
    columns: list[str] = []
    for path in paths.values():
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header[0] == "id"
        assert [row[0] for row in rows] == list(data.ids)
        np.testing.assert_array_equal([float(row[-1]) for row in rows], data.features[header[-1]])
        columns += header[1:]
    assert len(paths) == parties
    assert sorted(columns) == sorted(data.features)


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("kind", get_args(ModelKind))
async def test_parties_score_as_one_machine_does(data: DemoData, kind: ModelKind, parties: int, tmp_path: Path) -> None:
    registry = Registry.discover()
    packages = write_packages(data, kind, parties, tmp_path, registry.operator)
    sources = {
        party: {"name": "csv", "path": str(path)} for party, path in write_features(data, parties, tmp_path).items()
    }
    request = PredictRequest.of("svc", {party: FeatureParam(list(data.ids)) for party in packages})
    with ThreadPoolExecutor(1) as pool:
        for predictor in predictors(packages, sources, registry, pool).values():
            scores = (await predictor.predict(request)).scores.float64(0)
            np.testing.assert_allclose(scores, single_machine_scores(data, kind), rtol=1e-11)
