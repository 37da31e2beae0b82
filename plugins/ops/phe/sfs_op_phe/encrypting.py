"""From the plain graphs of two parties to encrypted ones that give the same scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sfs_core import Dispatch, Graph, GraphBuilder, GraphError, HeKeys, NodeSpec, Operator

from .building import encrypt_intercept, encrypt_weights, share_leaf_weights
from .decrypt_peer_y import PheDecryptPeerY
from .dot_product import PheDotProduct
from .keys import SecretKey
from .merge_y import PheMergeY
from .numbers import check_scale
from .reduce import PheReduce
from .tree_ensemble import PheTreeEnsembleMerge, PheTreeEnsemblePredict
from .tree_merge import PheTreeMerge
from .tree_select import PheTreeSelect

__all__ = ["DEFAULT_SCALE", "encrypt_graphs"]

DEFAULT_SCALE: Final = 1 << 26
_RESULT: Final = {"partial_y_col_name": "partial_y", "rand_number_col_name": "rand"}
_TREE_ATTRIBUTES: Final = (
    "input_feature_names",
    "input_feature_types",
    "root_node_id",
    "node_ids",
    "lchild_ids",
    "rchild_ids",
    "split_feature_idxs",
    "split_values",
    "leaf_node_ids",
)


def encrypt_graphs(
    graphs: Mapping[str, Graph],
    keys: Mapping[str, SecretKey],
    scale: int = DEFAULT_SCALE,
    *,
    with_secret_keys: bool = True,
) -> dict[str, Graph]:
    """Encrypted graphs of the model of two plain ones, by party.

    A linear model's weights and intercept are encrypted under the other party's key; the weights of trees' leaves
    become random shares, one for each party. Whoever calls this sees the plain model and both secret keys.

    Args:
        graphs: of the two parties: DOT_PRODUCT and MERGE_Y, or TREE_SELECT, TREE_MERGE and TREE_ENSEMBLE_PREDICT.
        keys: of each party, of one scheme.
        scale: fixed-point scale of the weights; errors of a score are some 1/scale per weight.
        with_secret_keys: whether each graph holds its party's secret key; else its server's config must.

    Raises:
        GraphError: there are not two parties, their graphs are none of these models, or a key or scale cannot serve.
        FeatureError: a weight is not finite, or too large (code 3).
    """
    check_scale(scale)
    if len(graphs) != 2 or graphs.keys() != keys.keys():
        raise GraphError(f"encrypted models are for two parties with a key each, {len(graphs)} graphs are given")
    first, second = keys.values()
    if first.public.scheme != second.public.scheme or first.public.n == second.public.n:
        raise GraphError("the parties need different keys of one scheme")
    shapes = {tuple(node.op for node in graph.nodes.values()) for graph in graphs.values()}
    if len(shapes) != 1:
        raise GraphError("the parties' graphs are not of the same model")
    (ops,) = shapes
    if sorted(ops) == ["DOT_PRODUCT", "MERGE_Y"]:
        builders = _linear(graphs, keys, scale)
    elif set(ops) == {"TREE_SELECT", "TREE_MERGE", "TREE_ENSEMBLE_PREDICT"}:
        builders = _trees(graphs, scale)
    elif any(op.startswith("PHE_") for op in ops):
        raise GraphError("the graphs are encrypted already", hint="start from the packages of the plain model")
    else:
        found = ", ".join(sorted(set(ops)))
        raise GraphError(
            f"a graph of {found} cannot be encrypted",
            hint="linear models (DOT_PRODUCT, MERGE_Y) and tree ensembles (TREE_SELECT, TREE_MERGE, "
            "TREE_ENSEMBLE_PREDICT) can",
        )
    return {
        party: builder.build(_he_keys(keys[party], scale, with_secret=with_secret_keys))
        for party, builder in builders.items()
    }


def _he_keys(key: SecretKey, scale: int, *, with_secret: bool) -> HeKeys:
    return HeKeys(key.public.to_bytes(), key.to_bytes() if with_secret else b"", scale)


def _builder() -> GraphBuilder:
    return GraphBuilder(_no_operator)


def _no_operator(name: str) -> type[Operator]:
    raise KeyError(name)  # nodes are added by class


def _of(graph: Graph, op: str) -> list[NodeSpec]:
    return [node for node in graph.nodes.values() if node.op == op]


def _values(node: NodeSpec, renamed: Mapping[str, str]) -> dict[str, Any]:
    """A node's attributes under other names, those that it has."""
    return {new: node.attributes[old].value for old, new in renamed.items() if old in node.attributes}


# ----------------------------------------------------------------------------------------------- linear models
def _linear(graphs: Mapping[str, Graph], keys: Mapping[str, SecretKey], scale: int) -> dict[str, GraphBuilder]:
    builders = {}
    for party, graph in graphs.items():
        (other,) = graphs.keys() - {party}
        (dot,), (merge,) = _of(graph, "DOT_PRODUCT"), _of(graph, "MERGE_Y")
        plain = _values(dot, {name: name for name in ("feature_names", "feature_weights", "input_types", "intercept")})
        key = keys[other].public
        encrypted: dict[str, Any] = {}
        if plain["feature_weights"]:
            encrypted["feature_weights_ciphertext"] = encrypt_weights(plain["feature_weights"], scale, key)
        if plain.get("intercept"):
            encrypted["intercept_ciphertext"] = encrypt_intercept(plain["intercept"], scale, key)
        builders[party] = (
            _builder()
            .add_node(
                "dot",
                PheDotProduct,
                feature_names=plain["feature_names"],
                feature_types=plain["input_types"],
                result_col_name=_RESULT["partial_y_col_name"],
                rand_number_col_name=_RESULT["rand_number_col_name"],
                **encrypted,
            )
            .begin_execution(Dispatch.SELF)
            .add_node("for_peer", PheReduce, parents=["dot"], select_crypted_for_peer=True, **_RESULT)
            .add_node("for_self", PheReduce, parents=["dot"], select_crypted_for_peer=False, **_RESULT)
            .begin_execution(Dispatch.PEER)
            .add_node(
                "decrypt",
                PheDecryptPeerY,
                parents=["for_peer"],
                partial_y_col_name=_RESULT["partial_y_col_name"],
                decrypted_col_name="decrypted_y",
            )
            .begin_execution(Dispatch.SELF)
            .add_node(
                "merge",
                PheMergeY,
                parents=["decrypt", "for_self"],
                decrypted_y_col_name="decrypted_y",
                crypted_y_col_name=_RESULT["partial_y_col_name"],
                **_values(
                    merge,
                    {
                        "output_col_name": "score_col_name",
                        "link_function": "link_function",
                        "yhat_scale": "yhat_scale",
                        "exp_iters": "exp_iters",
                    },
                ),
            )
        )
    return builders


# ---------------------------------------------------------------------------------------------- tree ensembles
def _trees(graphs: Mapping[str, Graph], scale: int) -> dict[str, GraphBuilder]:
    selects = {party: _of(graph, "TREE_SELECT") for party, graph in graphs.items()}
    merges = {party: {node.parents[0]: node for node in _of(graph, "TREE_MERGE")} for party, graph in graphs.items()}
    shards: dict[str, list[bytes]] = {party: [] for party in graphs}
    for nodes in zip(*selects.values(), strict=True):  # their numbers are equal, as their graphs' operators are
        names = {node.name for node in nodes}
        leaves = {tuple(node.attributes["leaf_node_ids"].value) for node in nodes} - {()}
        if len(names) != 1 or len(leaves) > 1 or any(nodes[0].name not in its for its in merges.values()):
            raise GraphError("the parties' graphs are not of the same model")
        weights = _leaf_weights([its[nodes[0].name] for its in merges.values()])
        for party, shard in zip(graphs, share_leaf_weights(weights, scale), strict=True):
            shards[party].append(shard)
    return {
        party: _tree_graph(selects[party], _of(graph, "TREE_ENSEMBLE_PREDICT")[0], shards[party])
        for party, graph in graphs.items()
    }


def _leaf_weights(merges: Sequence[NodeSpec]) -> list[float]:
    """The weights of a tree's leaves, which one party has."""
    held = [node.attributes["leaf_weights"].value for node in merges if "leaf_weights" in node.attributes]
    held = [weights for weights in held if weights]
    if len(held) != 1:
        raise GraphError(f"{len(held)} parties have leaf weights, one is needed", node=merges[0].name)
    return list(held[0])


def _tree_graph(selects: Sequence[NodeSpec], ensemble: NodeSpec, shards: Sequence[bytes]) -> GraphBuilder:
    builder = _builder()
    columns = {"select_col_name": "selects", "weight_shard_col_name": "shares"}
    for number, (select, shard) in enumerate(zip(selects, shards, strict=True)):
        attributes = _values(select, {name: name for name in _TREE_ATTRIBUTES})
        builder.add_node(f"select_{number}", PheTreeSelect, weight_shard=shard, **columns, **attributes)
    builder.begin_execution(Dispatch.PEER)
    for number, shard in enumerate(shards):
        builder.add_node(
            f"merge_{number}",
            PheTreeMerge,
            parents=[f"select_{number}"],
            output_col_name="weight",
            weight_shard=shard,
            **columns,
        )
    trees = [f"merge_{number}" for number in range(len(shards))]
    renamed = {"output_col_name": "output_col_name", "base_score": "base_score", "algo_func": "algo_func"}
    return (
        builder.add_node(
            "sum",
            PheTreeEnsembleMerge,
            parents=trees,
            input_col_name="weight",
            output_col_name="sum",
            num_trees=len(trees),
        )
        .begin_execution(Dispatch.SELF)
        .add_node("score", PheTreeEnsemblePredict, parents=["sum"], input_col_name="sum", **_values(ensemble, renamed))
    )
