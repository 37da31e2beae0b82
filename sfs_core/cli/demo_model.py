"""The demo's data and models: split over the parties, and evaluated on one machine to compare with."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from sfs_core.model.package import write_package
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.model.validation import OperatorClass

__all__ = [
    "DemoData",
    "ModelKind",
    "auc",
    "load_demo_data",
    "single_machine_scores",
    "write_features",
    "write_packages",
]

ModelKind = Literal["logistic", "trees"]
Vector = npt.NDArray[np.float64]

_FOLDER: Final = Path(__file__).with_name("demo_data")
_LABEL: Final = "malignant"
_LINK: Final = "LF_SIGMOID_RAW"
_LABEL_HOLDER: Final = "alice"


@dataclass(frozen=True, slots=True)
class DemoData:
    """What all parties' files hold together, and the plain models.

    Args:
        ids: one per row.
        labels: per row 1.0 or 0.0.
        held_out: per row whether the models were trained without it.
        features: per feature its values, in the order of `ids`.
        models: the content of `models.json`.
    """

    ids: tuple[str, ...]
    labels: Vector
    held_out: npt.NDArray[np.bool_]
    features: dict[str, Vector]
    models: dict[str, Any]

    def features_of(self, parties: int) -> dict[str, tuple[str, ...]]:
        """The names of each party's features, for two parties (alice, bob) or three (and carol)."""
        names = tuple(self.features)
        if parties == 2:
            return {"alice": names[:15], "bob": names[15:]}
        return {"alice": names[:10], "bob": names[20:], "carol": names[10:20]}


def load_demo_data() -> DemoData:
    """The Wisconsin breast-cancer data, as alice's and bob's files hold it."""
    alice, bob = _read_table("alice.csv"), _read_table("bob.csv")
    position = {row_id: index for index, row_id in enumerate(bob.pop("id"))}
    ids = alice.pop("id")
    order = [position[row_id] for row_id in ids]
    columns = alice | {name: [cells[index] for index in order] for name, cells in bob.items()}
    models = json.loads((_FOLDER / "models.json").read_text())
    return DemoData(
        ids=tuple(ids),
        labels=np.array(columns.pop(_LABEL), dtype=np.float64),
        held_out=np.isin(ids, models["test_ids"]),
        features={name: np.array(cells, dtype=np.float64) for name, cells in columns.items()},
        models=models,
    )


def write_features(data: DemoData, parties: int, folder: Path) -> dict[str, Path]:
    """Write `<party>.csv` with the id and the party's features; its path by party."""
    paths = {}
    for party, names in data.features_of(parties).items():
        paths[party] = folder / f"{party}.csv"
        with paths[party].open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", *names))
            writer.writerows(zip(data.ids, *(data.features[name].tolist() for name in names), strict=True))
    return paths


def write_packages(
    data: DemoData, kind: ModelKind, parties: int, folder: Path, operator_class: OperatorClass
) -> dict[str, Path]:
    """Write `<party>-<kind>.tar.gz` with the party's part of the model; its path by party.

    The score is called `score`, and alice holds what belongs to the label's owner.
    """
    owned = data.features_of(parties)
    model = data.models[kind]
    if kind == "logistic":
        weights = {party: {name: model["weights"][name] for name in names} for party, names in owned.items()}
        graphs = split_linear(
            operator_class, weights, label_holder=_LABEL_HOLDER, intercept=model["intercept"], link=_LINK
        )
    else:
        graphs = split_trees(
            operator_class,
            [Tree(**tree) for tree in model["trees"]],
            {name: party for party, names in owned.items() for name in names},
            parties=list(owned),
            label_holder=_LABEL_HOLDER,
            base_score=model["base_score"],
            link=_LINK,
        )
    paths = {party: folder / f"{party}-{kind}.tar.gz" for party in owned}
    for party, path in paths.items():
        write_package(path, f"breast-cancer-{kind}", "chance that the tumour is malignant", graphs[party])
    return paths


def single_machine_scores(data: DemoData, kind: ModelKind) -> Vector:
    """The scores of the plain model for every row, computed by NumPy alone from all parties' features."""
    model = data.models[kind]
    if kind == "logistic":
        margins = sum((weight * data.features[name] for name, weight in model["weights"].items()), model["intercept"])
    else:
        margins = sum((_tree_values(tree, data.features) for tree in model["trees"]), model["base_score"])
    return np.asarray(1.0 / (1.0 + np.exp(-margins)), dtype=np.float64)


def auc(scores: Vector, labels: Vector) -> float:
    """Area under the ROC curve: the chance that a random positive row scores above a random negative one.

    A tie counts one half. `labels` are 1.0 for positive rows and 0.0 for negative ones, with at least one of each.
    """
    _, groups, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    positive = labels == 1.0
    positives, negatives = np.count_nonzero(positive), np.count_nonzero(~positive)
    rank_sum = mean_ranks[groups][positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def _tree_values(tree: Mapping[str, Any], features: Mapping[str, Vector]) -> Vector:
    """What one tree adds to each row's margin; all rows walk down together."""
    values = np.zeros(len(next(iter(features.values()))))
    waiting = [(0, np.arange(len(values)))]
    while waiting:
        node, rows = waiting.pop()
        if tree["children_left"][node] < 0:
            values[rows] = tree["value"][node]
            continue
        left = features[tree["feature"][node]][rows] < tree["threshold"][node]
        waiting += [(tree["children_left"][node], rows[left]), (tree["children_right"][node], rows[~left])]
    return values


def _read_table(name: str) -> dict[str, list[str]]:
    with (_FOLDER / name).open(newline="") as file:
        header, *rows = csv.reader(file)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
