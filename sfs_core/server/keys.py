"""What operators need once the parties have agreed on a model: everybody's public keys."""

from __future__ import annotations

from collections.abc import Mapping

from sfs_core.errors import GraphError, SfsError
from sfs_core.model.graph import Graph
from sfs_core.proto.serving_pb2 import ModelInfo
from sfs_core.sdk.operator import Cluster, Operator

__all__ = ["cluster_of", "prepare_operators"]


def cluster_of(party: str, graph: Graph, peers: Mapping[str, ModelInfo]) -> Cluster:
    """The cluster as this party's operators see it, after the handshake.

    Args:
        party: this party.
        graph: its own graph, which holds its keys.
        peers: what each other party told of its model.
    """
    keys = {name: info.graph_view.he_info.pk_buf for name, info in peers.items()}
    own = graph.he
    if own is not None:
        keys[party] = own.public_key
    return Cluster(
        party=party,
        parties=tuple(sorted([party, *peers])),
        public_keys={name: key for name, key in keys.items() if key},
        secret_key=own.secret_key if own is not None else b"",
        encode_scale=own.encode_scale if own is not None else 0,
    )


def prepare_operators(operators: Mapping[str, Operator], cluster: Cluster) -> None:
    """Let every operator of a model make what needs keys. Blocks, for seconds where models are encrypted.

    Raises:
        SfsError: an operator cannot work in this cluster; a failure of its own is named by kind only, for its text may
            hold a key.
    """
    for name, operator in operators.items():
        try:
            operator.prepare(cluster)
        except SfsError as error:
            error.node = error.node or name
            raise
        except Exception as error:  # the text may hold anything: only its kind is told
            raise GraphError(f"the operator cannot be prepared ({type(error).__name__})", node=name) from error
