"""Splitting plain models: the parties together score what the whole model scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from sfs_core.batch import Batch
from sfs_core.errors import ErrorCode, GraphError
from sfs_core.host.registry import Registry
from sfs_core.model.consistency import check_consistency
from sfs_core.model.graph import Dispatch, Graph
from sfs_core.model.package import Model, model_info
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.model.validation import CheckedGraph, check_cluster, check_graph
from sfs_core.sdk.operator import ComputeContext

ROWS = 200
Features = Mapping[str, np.ndarray]


@pytest.fixture
def needed(is_installed: Callable[[str], bool]) -> None:
    for name in ("DOT_PRODUCT", "MERGE_Y", "TREE_SELECT", "TREE_MERGE", "TREE_ENSEMBLE_PREDICT"):
        if not is_installed(name):
            pytest.skip(f"operator {name} is not installed")


def run(checked: CheckedGraph, index: int, given: dict[str, Any], party: str) -> dict[str, Batch]:
    """What a party's execution gives; `given` maps outside parents (or "" for the features) to their tables."""
    made: dict[str, Any] = dict(given)
    for name in checked.executions[index].order:
        operator = checked.operators[name]
        inputs = [made[parent] for parent in operator.node.parents] or [given[""]]
        made[name] = operator.compute(ComputeContext(party, party), *inputs)
    return made


def score(graphs: Mapping[str, Graph], features: Features, installed: Registry, last: str) -> np.ndarray:
    """The scores that parties with these graphs compute together; `last` runs the last execution."""
    parties = list(graphs)
    checked = {party: check_graph(graph, installed.operator) for party, graph in graphs.items()}
    infos = {party: model_info(Model("m", "", graph)) for party, graph in graphs.items()}
    first, *others = parties
    assert check_consistency(first, infos[first], {party: infos[party] for party in others}) == ()
    outputs = {}
    for party in parties:
        check_cluster(checked[party], parties)
        schema = checked[party].feature_schema
        columns = [
            features[name].astype(type_.to_pandas_dtype())
            for name, type_ in zip(schema.names, schema.types, strict=True)
        ]
        outputs[party] = run(checked[party], 0, {"": Batch.from_columns(schema, columns, ROWS)}, party)
    final = checked[last].executions[1]
    given = {parent: [outputs[party][parent] for party in parties] for parent in final.outside_parents}
    return run(checked[last], 1, given, last)[final.exit_nodes[0]].float64(0)


def random_features(names: Sequence[str], seed: int) -> Features:
    chance = np.random.default_rng(seed)
    return {name: np.round(chance.normal(size=ROWS), 1) for name in names}


@pytest.mark.usefixtures("needed")
def test_linear_model(installed: Registry) -> None:
    weights = {"alice": {"a": 0.5, "b": -2.0}, "bob": {"c": 3.0}, "carol": {}}
    graphs = split_linear(
        installed.operator, weights, label_holder="carol", intercept=0.25, link="LF_SIGMOID_RAW", yhat_scale=10.0
    )
    features = random_features("abc", 1)
    raw = 0.5 * features["a"] - 2.0 * features["b"] + 3.0 * features["c"] + 0.25
    for last in graphs:
        np.testing.assert_allclose(score(graphs, features, installed, last), 10 / (1 + np.exp(-raw)), rtol=1e-12)
    assert graphs["alice"].executions[1].dispatch is Dispatch.ANYONE
    assert [graphs[p].nodes["dot"].attributes["intercept"].value for p in graphs] == [0.0, 0.0, 0.25]


@pytest.mark.usefixtures("needed")
def test_feature_types(installed: Registry) -> None:
    weights = {"alice": {"a": 1.0}, "bob": {"b": 1.0}}
    graphs = split_linear(installed.operator, weights, label_holder="bob", feature_types={"a": "DT_INT32"})
    schemas = [check_graph(graph, installed.operator).feature_schema for graph in graphs.values()]
    assert [str(schema.types[0]) for schema in schemas] == ["int32", "double"]


def random_tree(names: Sequence[str], chance: np.random.Generator, size: int) -> Tree:
    left, right, feature, threshold, value = [-1], [-1], [""], [0.0], [0.0]
    for _ in range(size):
        leaf = chance.choice([i for i, child in enumerate(left) if child < 0])
        left[leaf], right[leaf] = len(left), len(left) + 1
        feature[leaf], threshold[leaf] = str(chance.choice(list(names))), float(np.round(chance.normal(), 1))
        for column, blank in ((left, -1), (right, -1), (feature, ""), (threshold, 0.0), (value, 0.0)):
            column.extend([blank] * 2)  # type: ignore[attr-defined]
        value[-2:] = chance.normal(size=2).tolist()
    return Tree(left, right, feature, threshold, value)


def evaluated(tree: Tree, features: Features, row: int) -> float:
    node = 0
    while tree.children_left[node] >= 0:
        goes_left = features[tree.feature[node]][row] < tree.threshold[node]
        node = tree.children_left[node] if goes_left else tree.children_right[node]
    return tree.value[node]


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize("label_holder", ["alice", "carol"])
def test_trees(installed: Registry, label_holder: str) -> None:
    chance = np.random.default_rng(3)
    trees = [random_tree("abcd", chance, size) for size in (1, 5, 12, 30)] + [Tree([-1], [-1], [""], [0.0], [0.75])]
    owner = {"a": "alice", "b": "alice", "c": "bob", "d": "bob", "unused": "bob"}
    graphs = split_trees(
        installed.operator,
        trees,
        owner,
        parties=["alice", "bob", "carol"],
        label_holder=label_holder,
        base_score=0.5,
        link="LF_SIGMOID_RAW",
    )
    features = random_features("abcd", 2)
    raw = np.array([sum(evaluated(tree, features, row) for tree in trees) + 0.5 for row in range(ROWS)])
    np.testing.assert_allclose(score(graphs, features, installed, label_holder), 1 / (1 + np.exp(-raw)), rtol=1e-12)


@pytest.mark.usefixtures("needed")
def test_parties_learn_only_their_own_splits_and_no_leaf_values(installed: Registry) -> None:
    tree = Tree([1, 3, -1, -1, -1], [2, 4, -1, -1, -1], ["a", "b", "", "", ""], [7.5, 8.5, 0, 0, 0], [0, 0, 1, 2, 3])
    graphs = split_trees(
        installed.operator, [tree], {"a": "alice", "b": "bob"}, parties=["alice", "bob", "carol"], label_holder="bob"
    )
    splits = {party: graph.nodes["select_0"].attributes["split_values"].value for party, graph in graphs.items()}
    assert splits == {"alice": [7.5, 0, 0, 0, 0], "bob": [0, 8.5, 0, 0, 0], "carol": []}
    assert [party for party, g in graphs.items() if "leaf_weights" in g.nodes["merge_0"].attributes] == ["bob"]
    assert [party for party, g in graphs.items() if g.executions[1].specific] == ["bob"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Tree([], [], [], [], []), "one length, at least 1"),
        (Tree([-1], [-1], [""], [0.0], []), "one length"),
        (Tree([1, -1], [-1, -1], ["a", ""], [0, 0], [0, 0]), "node 0 must have two children"),
        (Tree([1, -1], [9, -1], ["a", ""], [0, 0], [0, 0]), "node 0 must have two children"),
        (Tree([0, -1], [1, -1], ["a", ""], [0, 0], [0, 0]), "node 0 is the child of two nodes, or of itself"),
        (Tree([1, -1, -1], [1, -1, -1], ["a", "", ""], [0] * 3, [0] * 3), "node 1 is the child of two"),
        (Tree([1, -1, -1, -1], [2, -1, -1, -1], ["a", "", "", ""], [0] * 4, [0] * 4), "1 nodes cannot be reached"),
        (Tree([1, -1, -1], [2, -1, -1], ["x", "", ""], [0] * 3, [0] * 3), "feature 'x' has no owner"),
    ],
)
def test_arrays_that_are_no_tree(installed: Registry, tree: Tree, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        split_trees(installed.operator, [tree], {"a": "alice"}, parties=["alice", "bob"], label_holder="alice")
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


def test_unknown_parties_are_refused(installed: Registry) -> None:
    leaf = Tree([-1], [-1], [""], [0.0], [1.0])
    with pytest.raises(GraphError, match="'dave' is none of the parties alice, bob"):
        split_linear(installed.operator, {"alice": {}, "bob": {}}, label_holder="dave")
    with pytest.raises(GraphError, match="'dave' is none of the parties"):
        split_trees(installed.operator, [leaf], {"a": "dave"}, parties=["alice"], label_holder="alice")
    with pytest.raises(GraphError, match="at least one tree"):
        split_trees(installed.operator, [], {}, parties=["alice"], label_holder="alice")
