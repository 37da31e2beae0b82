"""Make the data and models of `sfs demo`: run once, with scikit-learn in an environment of its own (see README.md)."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

OUTPUT = Path(__file__).parents[2] / "sfs_core" / "cli" / "demo_data"
SEED = 7


def main() -> None:
    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    malignant = 1 - data.target  # scikit-learn's target is 1 for benign
    ids = np.array([f"p{number:03}" for number in range(1, len(data.data) + 1)])
    train, test = train_test_split(np.arange(len(ids)), test_size=0.3, random_state=SEED, stratify=malignant)

    logistic, logistic_scores = fit_logistic(names, data.data, malignant, train)
    trees, tree_scores = fit_trees(names, data.data, malignant, train)
    for kind, scores in (("logistic", logistic_scores), ("trees", tree_scores)):
        print(f"{kind}: AUC of the rows held out {roc_auc_score(malignant[test], scores[test]):.4f}")

    models = {
        "made_with": f"scikit-learn {sklearn.__version__}",
        "test_ids": sorted(ids[test]),
        "logistic": logistic,
        "trees": trees,
    }
    (OUTPUT / "models.json").write_text(json.dumps(models, separators=(",", ":")) + "\n")
    columns = dict(zip(names, data.data.T, strict=True))
    # The two parties know the same people, each in an order of its own.
    shuffled = np.random.default_rng(SEED).permutation(len(ids))
    write_csv("alice.csv", {"id": ids, "malignant": malignant, **{name: columns[name] for name in names[:15]}})
    write_csv("bob.csv", {"id": ids[shuffled], **{name: columns[name][shuffled] for name in names[15:]}})


def fit_logistic(names: list[str], features: Any, labels: Any, train: Any) -> tuple[dict[str, Any], Any]:
    """Trained on standardised features; the scales are then folded into weights for the features as they are."""
    scaler = StandardScaler().fit(features[train])
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(features[train]), labels[train])
    weights = model.coef_[0] / scaler.scale_
    intercept = float(model.intercept_[0] - weights @ scaler.mean_)
    scores = 1 / (1 + np.exp(-(features @ weights + intercept)))
    np.testing.assert_allclose(scores, model.predict_proba(scaler.transform(features))[:, 1], rtol=1e-9)
    return {"intercept": intercept, "weights": dict(zip(names, map(float, weights), strict=True))}, scores


def fit_trees(names: list[str], features: Any, labels: Any, train: Any) -> tuple[dict[str, Any], Any]:
    """Left is `value < threshold` in our trees and `value <= threshold` in scikit-learn's."""
    model = GradientBoostingClassifier(
        n_estimators=20, max_depth=3, learning_rate=0.3, subsample=0.8, max_features="sqrt", random_state=SEED
    )
    model.fit(features[train], labels[train])
    share = labels[train].mean()
    base_score = math.log(share / (1 - share))
    trees = [tree_arrays(names, estimator.tree_, model.learning_rate) for estimator in model.estimators_[:, 0]]
    margins = [base_score + sum(leaf_value(tree, names, row) for tree in trees) for row in features]
    scores = 1 / (1 + np.exp(-np.array(margins)))
    np.testing.assert_allclose(scores, model.predict_proba(features)[:, 1], rtol=1e-9)
    return {"base_score": base_score, "trees": trees}, scores


def tree_arrays(names: list[str], tree: Any, learning_rate: float) -> dict[str, list[Any]]:
    """The fields of `sfs_core.model.split.Tree`."""
    inner = tree.children_left >= 0
    return {
        "children_left": tree.children_left.tolist(),
        "children_right": tree.children_right.tolist(),
        "feature": [names[index] if split else "" for index, split in zip(tree.feature, inner, strict=True)],
        "threshold": np.where(inner, np.nextafter(tree.threshold, np.inf), 0.0).tolist(),
        "value": np.where(inner, 0.0, learning_rate * tree.value[:, 0, 0]).tolist(),
    }


def leaf_value(tree: dict[str, list[Any]], names: list[str], row: Any) -> float:
    node = 0
    while tree["children_left"][node] >= 0:
        left = row[names.index(tree["feature"][node])] < tree["threshold"][node]
        node = tree["children_left" if left else "children_right"][node]
    return float(tree["value"][node])


def write_csv(name: str, columns: dict[str, Any]) -> None:
    with (OUTPUT / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


if __name__ == "__main__":
    main()
