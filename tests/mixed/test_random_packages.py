"""Packages drawn at random score here as they do at the reference's engine, with every type and awkward values."""

from __future__ import annotations

import contextlib
import csv
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfs_core import Dispatch, GraphBuilder, write_package
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.host.registry import Registry
from sfs_core.proto.serving_pb2 import LinkFunctionType
from sfs_core.testing import predictors
from tests.support.processes import reference_configs, wait_for
from tests.support.reference_engine import start_engine

pytestmark = [pytest.mark.mixed, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::RuntimeWarning")]

LINKS = [name for name in LinkFunctionType.keys() if name not in ("UNKNOWN_LF_TYPE", "LF_EXP_TAYLOR")]  # noqa: SIM118
BOUNDS = {
    "DT_INT8": (-(1 << 7), (1 << 7) - 1),
    "DT_UINT8": (0, (1 << 8) - 1),
    "DT_INT16": (-(1 << 15), (1 << 15) - 1),
    "DT_UINT16": (0, (1 << 16) - 1),
    "DT_INT32": (-(1 << 31), (1 << 31) - 1),
    "DT_INT64": (-(1 << 53), 1 << 53),
}
AWKWARD = ["NaN", "-nan", "inf", "-inf", "-0.0", "5e-324", "1e300", "+1.5", "1E5", "16777217", "0.1"]
Features = dict[str, dict[str, str]]
"""Names and types of each party's features."""


def draw_value(dice: random.Random, type_: str) -> str:
    if type_ in BOUNDS:
        least, most = BOUNDS[type_]
        return str(dice.choice([least, most, 0, 1, dice.randint(max(least, -50), 50)]))
    return dice.choice([*AWKWARD, *(repr(round(dice.gauss(0, 2), 3)) for _ in range(8))])


def draw_linear(dice: random.Random, features: Features, builders: dict[str, GraphBuilder]) -> None:
    """A dot product of each party, merged by the one that is asked."""
    merged: dict[str, Any] = {"link_function": dice.choice(LINKS), "yhat_scale": dice.choice([1.0, -2.5])}
    if dice.random() < 0.2:
        merged |= {"link_function": "LF_EXP_TAYLOR", "exp_iters": dice.choice([1, 8])}
    for party, builder in builders.items():
        names, types = list(features[party]), list(features[party].values())
        weights = [dice.choice([dice.gauss(0, 0.5), 0.0]) for _ in names]
        dot = {"feature_names": names, "input_types": types, "feature_weights": weights, "output_col_name": "y"}
        builder.add_node("dot", "DOT_PRODUCT", **dot, intercept=dice.gauss(0, 1))
        builder.begin_execution(Dispatch.ANYONE)
        builder.add_node("merge", "MERGE_Y", ["dot"], input_col_name="y", output_col_name="score", **merged)


def draw_tree(
    dice: random.Random, owners: Sequence[str]
) -> tuple[dict[int, tuple[int, int]], dict[int, str], list[int]]:
    """Children and owner of each inner node, and the leaves in the order of their weights."""
    children: dict[int, tuple[int, int]] = {}
    leaves = [0]
    for i in range(dice.choice([0, 1, 2, 7, 8, 15, 63, 64])):
        node = leaves.pop(dice.randrange(len(leaves)))
        children[node] = (2 * i + 1, 2 * i + 2)
        leaves += children[node]
    dice.shuffle(leaves)
    return children, {node: dice.choice(owners) for node in children}, leaves


def draw_trees(dice: random.Random, features: Features, builders: dict[str, GraphBuilder]) -> None:
    """Trees whose splits belong to any party that has features, and whose weights belong to one party."""
    count, holder, link = dice.choice([1, 2, 9]), dice.choice(sorted(features)), dice.choice(LINKS)
    trees = [draw_tree(dice, [party for party in features if features[party]]) for _ in range(count)]
    for party, builder in builders.items():
        known = {
            "input_feature_names": list(features[party]),
            "input_feature_types": list(features[party].values()),
            "output_col_name": "select",
        }
        for t, (children, owner, leaves) in enumerate(trees):
            nodes = sorted([*children, *leaves])
            own = [owner.get(node) == party for node in nodes]
            tree = {
                "node_ids": nodes,
                "lchild_ids": [children.get(node, (-1, -1))[0] for node in nodes],
                "rchild_ids": [children.get(node, (-1, -1))[1] for node in nodes],
                "split_feature_idxs": [dice.randrange(len(features[party])) if is_own else -1 for is_own in own],
                "split_values": [
                    dice.choice([0.0, 0.1, dice.gauss(0, 2), 16777217.0]) if is_own else 0.0 for is_own in own
                ],
                "leaf_node_ids": leaves,
            }
            if party != holder and party not in owner.values():  # one that knows nothing of the tree
                tree = {key: [] for key in tree}
            builder.add_node(f"select{t}", "TREE_SELECT", **known, **tree)
        builder.begin_execution(Dispatch.SPECIFIED, specific=party == holder)
        for t, (_, _, leaves) in enumerate(trees):
            weights = [dice.gauss(0, 1) for _ in leaves] if party == holder else []
            columns = {"input_col_name": "select", "output_col_name": "weight"}
            builder.add_node(f"merge{t}", "TREE_MERGE", [f"select{t}"], **columns, leaf_weights=weights)
        columns = {"input_col_name": "weight", "output_col_name": "score"}
        parents = [f"merge{t}" for t in range(count)]
        builder.add_node("sum", "TREE_ENSEMBLE_PREDICT", parents, **columns, num_trees=count, algo_func=link)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("draw", [draw_linear, draw_trees])
async def test_scores_are_the_same(
    draw: Callable[..., None], number: int, dice: random.Random, inferencer: Path, tmp_path: Path
) -> None:
    parties = ["alice", "bob", "carol"][: dice.choice([2, 3])]
    types = [*BOUNDS, "DT_FLOAT", "DT_DOUBLE", "DT_DOUBLE"]
    features = {p: {f"{p[0]}{i}": dice.choice(types) for i in range(dice.choice([0, 1, 5]))} for p in parties}
    features["bob"] |= {"last": "DT_DOUBLE"}
    registry = Registry.discover()
    builders = {party: GraphBuilder(registry.operator) for party in parties}
    draw(dice, features, builders)
    ids = [str(i) for i in range(dice.choice([1, 30]))]
    for party, builder in builders.items():
        write_package(tmp_path / f"{party}.tar.gz", "drawn", "", builder.build(), dice.choice(["json", "pb"]))
        with (tmp_path / f"{party}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", *features[party]])
            rows.writerows([id_, *(draw_value(dice, type_) for type_ in features[party].values())] for id_ in ids)

    expected = _reference_scores(parties, dice.choice(parties), inferencer, tmp_path)
    packages = {party: tmp_path / f"{party}.tar.gz" for party in parties}
    sources = {party: {"name": "csv", "path": str(tmp_path / f"{party}.csv")} for party in parties}
    with ThreadPoolExecutor(1) as pool:
        for predictor in predictors(packages, sources, registry, pool).values():
            together = await predictor.predict(_request(parties, ids))
            np.testing.assert_allclose(together.scores.float64(0), expected, rtol=1e-9, atol=1e-12)
            for id_, score in list(zip(ids, expected, strict=True))[:5]:
                alone = await predictor.predict(_request(parties, [id_]))
                np.testing.assert_allclose(alone.scores.float64(0), [score], rtol=1e-9, atol=1e-12)


def _request(parties: Sequence[str], ids: list[str]) -> PredictRequest:
    return PredictRequest.of("svc", {party: FeatureParam(ids) for party in parties})


def _reference_scores(parties: Sequence[str], requester: str, inferencer: Path, folder: Path) -> list[float]:
    packages = {party: folder / f"{party}.tar.gz" for party in parties}
    sources = {p: {"streamingOpts": {"file_path": str(folder / f"{p}.csv"), "id_name": "id"}} for p in parties}
    waits = {"rpcTimeoutMs": 300_000, "connectTimeoutMs": 10_000, "handshakeRetryIntervalMs": 200}
    configs = reference_configs(folder, parties, packages, sources, **waits)
    result = folder / "scores.csv"
    with contextlib.ExitStack() as stack:
        processes = {}
        for party, (path, _) in configs.items():
            processes[party] = start_engine(inferencer, path, party, requester, result)
            stack.callback(processes[party].wait)
            stack.callback(processes[party].kill)
        wait_for(lambda: processes[requester].poll() is not None, "the reference has scored")
        assert processes[requester].returncode == 0, (folder / f"{requester}-reference.log").read_text()
    with result.open(newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file)]
