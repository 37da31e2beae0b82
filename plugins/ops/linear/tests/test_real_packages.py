"""Packages that SecretFlow exported, scored by the operators alone."""

import csv

import numpy as np
import pytest
from sfs_op_linear.dot_product import DotProduct
from sfs_op_linear.merge_y import MergeY

from sfs_core import Batch, ComputeContext
from sfs_core.model.package import read_package


@pytest.mark.parametrize(
    "case",
    [
        "packages/sgd_logistic",
        "packages/sgd_onep",
        "packages/glm_tweedie_log",
        "packages/glm_gamma_reciprocal",
        "packages/p3_glm",
    ],
)
def test_scores_equal_the_reference_engine_s(case, cases):
    folder = cases / case
    with next(folder.glob("cpp_score_*.csv")).open() as file:
        expected = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    context = ComputeContext("alice", "alice")
    partials = []
    for package in sorted(folder.glob("*.tar.gz")):
        dot, merge = read_package(package).graph.nodes.values()
        operator = DotProduct(dot)
        features = _features(package.with_name(package.name.replace(".tar.gz", ".csv")), operator, list(expected))
        partials.append(operator.compute(context, features))
    scores = MergeY(merge).compute(context, partials).float64(0)
    np.testing.assert_allclose(scores, list(expected.values()), rtol=1e-9)


def _features(path, operator, ids):
    schema = operator.input_schemas()[0]
    with path.open() as file:
        rows = {row["id"]: tuple(float(row[name]) for name in schema.names) for row in csv.DictReader(file)}
    return Batch.from_rows(schema, [rows[id_] for id_ in ids])
