"""Packages that SecretFlow exported, scored by the operators alone."""

import csv

import numpy as np
import pytest
from sfs_op_tree.ensemble import TreeEnsemblePredict
from sfs_op_tree.merge import TreeMerge
from sfs_op_tree.select import TreeSelect

from sfs_core import Batch, ComputeContext
from sfs_core.model.package import read_package

CASES = [
    "packages/xgb_logistic",
    "packages/edge_xgb_logistic",
    "packages/p3_xgb",
    "packages/sgb_logistic",
    "packages/sgb_linear",
    "packages/xgb_onep",
    "reference_ci/xgb",
]


@pytest.mark.parametrize("rows_at_once", [1, 1000])
@pytest.mark.parametrize("case", CASES)
def test_scores_equal_the_reference_engine_s(case, rows_at_once, cases):
    folder = cases / case
    with next(folder.glob("cpp_score_*.csv")).open() as file:
        expected = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    ids = list(expected)
    packages = sorted(folder.glob("*.tar.gz"))
    graphs = [read_package(package).graph.nodes.values() for package in packages]
    features = [_read_features(package.with_name(package.name.replace(".tar.gz", ".csv"))) for package in packages]
    scores = []
    for start in range(0, len(ids), rows_at_once):
        rows = [[table[id_] for id_ in ids[start : start + rows_at_once]] for table in features]
        scores += _score(graphs, rows)
    np.testing.assert_allclose(scores, list(expected.values()), rtol=1e-9)


def _read_features(path):
    with path.open() as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def _score(graphs, rows):
    """The scores of one batch: selections at every party, the rest at the first, which owns the weights."""
    context = ComputeContext("alice", "alice")
    outputs = {}
    for graph, own_rows in zip(graphs, rows, strict=True):
        for node in graph:
            if node.op == "TREE_SELECT":
                operator = TreeSelect(node)
                schema = operator.input_schemas()[0]
                values = [tuple(float(row[name]) for name in schema.names) for row in own_rows]
                selected = operator.compute(context, Batch.from_rows(schema, values))
                outputs.setdefault(node.name, []).append(selected)
    for node in graphs[0]:
        if node.op == "TREE_MERGE":
            outputs[node.name] = TreeMerge(node).compute(context, outputs[node.parents[0]])
    (last,) = (node for node in graphs[0] if node.op == "TREE_ENSEMBLE_PREDICT")
    weights = [outputs[parent] for parent in last.parents]
    return TreeEnsemblePredict(last).compute(context, *weights).float64(0).tolist()
