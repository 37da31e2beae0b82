"""Plain models, split into one graph per party: linear models and tree ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfs_core.errors import ErrorCode, GraphError
from sfs_core.model.builder import GraphBuilder
from sfs_core.model.graph import Dispatch, Graph
from sfs_core.model.validation import OperatorClass

__all__ = ["Tree", "split_linear", "split_trees"]

_DEFAULT_TYPE = "DT_DOUBLE"


def split_linear(
    operator_class: OperatorClass,
    weights: Mapping[str, Mapping[str, float]],
    *,
    label_holder: str,
    intercept: float = 0.0,
    link: str = "LF_IDENTITY",
    yhat_scale: float = 1.0,
    exp_iters: int = 0,
    feature_types: Mapping[str, str] | None = None,
    score: str = "score",
) -> dict[str, Graph]:
    """Graphs of `link(features · weights + intercept) * yhat_scale`, by party.

    Args:
        operator_class: finds an operator by its name.
        weights: for each party, a weight for each of its features; a party without features has none.
        label_holder: the party whose graph holds the intercept.
        intercept: constant added before the link function.
        link: name of the link function, such as `LF_SIGMOID_RAW`.
        yhat_scale: factor after the link function.
        exp_iters: for `LF_EXP_TAYLOR` only.
        feature_types: `DataType` names of features that are not `DT_DOUBLE`.
        score: name of the score.

    Raises:
        GraphError: the label holder is none of the parties, or a value is not valid.
    """
    _require_party(label_holder, weights)
    types = feature_types or {}
    return {
        party: GraphBuilder(operator_class)
        .add_node(
            "dot",
            "DOT_PRODUCT",
            feature_names=list(own),
            feature_weights=list(own.values()),
            input_types=[types.get(name, _DEFAULT_TYPE) for name in own],
            output_col_name="partial",
            intercept=intercept if party == label_holder else 0.0,
        )
        .begin_execution(Dispatch.ANYONE)
        .add_node(
            "merge",
            "MERGE_Y",
            parents=["dot"],
            input_col_name="partial",
            output_col_name=score,
            link_function=link,
            yhat_scale=yhat_scale,
            exp_iters=exp_iters,
        )
        .build()
        for party, own in weights.items()
    }


@dataclass(frozen=True, slots=True)
class Tree:
    """A decision tree as parallel arrays with one entry per node; node 0 is the root.

    A row goes left where **x < threshold**, else right (NaN, too). XGBoost compares so. scikit-learn and LightGBM go
    left where x <= threshold: pass `np.nextafter(threshold, np.inf)`. scikit-learn and XGBoost also round features
    to float32 before they compare: declare the features as `DT_FLOAT` to get the same.

    Args:
        children_left: index of the left child, -1 at a leaf.
        children_right: index of the right child, -1 at a leaf.
        feature: name of the feature that an inner node splits on; anything at a leaf.
        threshold: where an inner node splits; anything at a leaf.
        value: what a leaf adds to the score; anything at an inner node.
    """

    children_left: Sequence[int]
    children_right: Sequence[int]
    feature: Sequence[str]
    threshold: Sequence[float]
    value: Sequence[float]

    @property
    def leaves(self) -> list[int]:
        """Indices of the leaves."""
        return [i for i, child in enumerate(self.children_left) if child < 0]

    @property
    def inner_nodes(self) -> list[int]:
        """Indices of the nodes that split."""
        return [i for i, child in enumerate(self.children_left) if child >= 0]

    def check(self, where: str) -> None:
        """Whether the arrays are a tree.

        Raises:
            GraphError: lengths differ, an inner node lacks a child, or a node is not reached exactly once.
        """
        size = len(self.children_left)
        if {len(a) for a in (self.children_right, self.feature, self.threshold, self.value)} != {size} or not size:
            raise _invalid("the arrays must be of one length, at least 1", where)
        reached: set[int] = set()
        waiting = [0]
        while waiting:
            node = waiting.pop()
            left, right = self.children_left[node], self.children_right[node]
            if (left < 0) != (right < 0) or max(left, right) >= size:
                raise _invalid(f"node {node} must have two children, or -1 twice", where)
            if node in reached:
                raise _invalid(f"node {node} is the child of two nodes, or of itself", where)
            reached.add(node)
            waiting.extend(child for child in (left, right) if child >= 0)
        if len(reached) < size:
            raise _invalid(f"{size - len(reached)} nodes cannot be reached from node 0", where)


def split_trees(
    operator_class: OperatorClass,
    trees: Sequence[Tree],
    feature_owner: Mapping[str, str],
    *,
    parties: Sequence[str],
    label_holder: str,
    base_score: float = 0.0,
    link: str = "LF_IDENTITY",
    feature_types: Mapping[str, str] | None = None,
    score: str = "score",
) -> dict[str, Graph]:
    """Graphs of `link(sum of the trees + base_score)`, by party.

    Each party learns the shape of the trees and its own splits. Leaf values stay with the label holder, which
    computes the score whoever asks for it.

    Args:
        operator_class: finds an operator by its name.
        trees: the ensemble, at least one tree.
        feature_owner: the party of each feature.
        parties: all parties; one without features takes part with empty trees.
        label_holder: the party that holds the leaf values.
        base_score: constant added to the sum; on the scale of the sum, not of the score.
        link: name of the link function, such as `LF_SIGMOID_RAW`.
        feature_types: `DataType` names of features that are not `DT_DOUBLE`.
        score: name of the score.

    Raises:
        GraphError: an array is no tree, a feature has no owner, or a party is unknown.
    """
    for party in (label_holder, *feature_owner.values()):
        _require_party(party, parties)
    if not trees:
        raise _invalid("an ensemble needs at least one tree")
    used: dict[str, None] = {}
    for number, tree in enumerate(trees):
        tree.check(f"tree {number}")
        used |= dict.fromkeys(tree.feature[node] for node in tree.inner_nodes)
    for feature in used:
        if feature not in feature_owner:
            raise _invalid(f"feature {feature!r} has no owner")
    types = feature_types or {}
    graphs = {}
    for party in parties:
        own = [feature for feature in used if feature_owner[feature] == party]
        own_types = [types.get(feature, _DEFAULT_TYPE) for feature in own]
        builder = GraphBuilder(operator_class)
        for number, tree in enumerate(trees):
            _add_select(builder, number, tree, own, own_types)
        builder.begin_execution(Dispatch.SPECIFIED, specific=party == label_holder)
        for number, tree in enumerate(trees):
            weights = {"leaf_weights": [tree.value[leaf] for leaf in tree.leaves]} if party == label_holder else {}
            builder.add_node(
                f"merge_{number}",
                "TREE_MERGE",
                parents=[f"select_{number}"],
                input_col_name="selects",
                output_col_name="weights",
                **weights,
            )
        builder.add_node(
            "ensemble",
            "TREE_ENSEMBLE_PREDICT",
            parents=[f"merge_{number}" for number in range(len(trees))],
            input_col_name="weights",
            output_col_name=score,
            num_trees=len(trees),
            base_score=base_score,
            algo_func=link,
        )
        graphs[party] = builder.build()
    return graphs


def _add_select(builder: GraphBuilder, number: int, tree: Tree, own: Sequence[str], own_types: Sequence[str]) -> None:
    """One party's TREE_SELECT: its own splits only; no tree at all where it owns none."""
    index = {feature: i for i, feature in enumerate(own)}
    nodes = range(len(tree.children_left)) if own else range(0)
    inner = set(tree.inner_nodes)
    splits = [index.get(tree.feature[node], -1) if node in inner else -1 for node in nodes]
    builder.add_node(
        f"select_{number}",
        "TREE_SELECT",
        input_feature_names=own,
        input_feature_types=own_types,
        output_col_name="selects",
        root_node_id=0,
        node_ids=nodes,
        lchild_ids=[tree.children_left[node] if node in inner else -1 for node in nodes],
        rchild_ids=[tree.children_right[node] if node in inner else -1 for node in nodes],
        split_feature_idxs=splits,
        split_values=[tree.threshold[node] if split >= 0 else 0.0 for node, split in zip(nodes, splits, strict=True)],
        leaf_node_ids=tree.leaves if own else [],
    )


def _require_party(party: str, parties: Mapping[str, object] | Sequence[str]) -> None:
    if party not in parties:
        raise _invalid(f"{party!r} is none of the parties {', '.join(parties)}")


def _invalid(message: str, where: str = "") -> GraphError:
    return GraphError(message, code=ErrorCode.INVALID_ARGUMENT, where=where)
