"""Whether the parties of a cluster serve the same model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from sfs_core.errors import GraphError
from sfs_core.proto import serving_pb2

__all__ = ["check_consistency", "compare_models", "model_version", "specified_parties"]


def check_consistency(
    own_party: str, own: serving_pb2.ModelInfo, peers: Mapping[str, serving_pb2.ModelInfo]
) -> tuple[str, ...]:
    """Compare what this party and its peers publish of their models; descriptions and list orders may differ.

    Args:
        own_party: this party's id.
        own: its model.
        peers: the other parties' models, by party id.

    Returns:
        Warnings: differences that are served.

    Raises:
        GraphError: the models do not fit together; says what differs, and between whom.
    """
    warnings = [warning for party in sorted(peers) for warning in compare_models(own_party, own, party, peers[party])]
    specified_parties({own_party: own} | dict(peers))
    return tuple(warnings)


def compare_models(
    own_party: str, own: serving_pb2.ModelInfo, party: str, peer: serving_pb2.ModelInfo
) -> tuple[str, ...]:
    """The part of `check_consistency` that needs only one peer's answer."""
    return tuple(_Comparison(own_party, party).compare(own, peer))


def model_version(info: serving_pb2.ModelInfo, label: str = "") -> str:
    """What the models of one export have in common at all parties, as 16 hexadecimal digits.

    Equal at two parties whose models `compare_models` finds to fit, if they are labelled alike.

    Args:
        info: a party's model.
        label: tells exports apart that differ in nothing but their numbers.
    """
    view = info.graph_view
    nodes = sorted((node.name, node.op, node.op_version, sorted(set(node.parents))) for node in view.node_list)
    executions = [(_dispatch_name(each), list(each.nodes)) for each in view.execution_list]
    text = repr((label, info.name, view.version, nodes, executions))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Comparison:
    """The comparison of this party's model with one peer's."""

    def __init__(self, own: str, peer: str) -> None:
        self._own = own
        self._peer = peer

    def compare(self, own: serving_pb2.ModelInfo, peer: serving_pb2.ModelInfo) -> list[str]:
        """The warnings."""
        self._equal("the model's name", own.name, peer.name)
        ours, theirs = own.graph_view, peer.graph_view
        self._equal("the graph's version", ours.version, theirs.version)
        self._equal("the number of executions", len(ours.execution_list), len(theirs.execution_list))
        if ours.he_info.encode_scale and theirs.he_info.encode_scale:  # the reference publishes none
            self._equal("encode_scale", ours.he_info.encode_scale, theirs.he_info.encode_scale)
        self._equal("the number of nodes", len(ours.node_list), len(theirs.node_list))
        warnings = self._compare_nodes(ours.node_list, theirs.node_list)
        for index, (our, their) in enumerate(zip(ours.execution_list, theirs.execution_list, strict=True)):
            what = f"of execution {index}"
            self._equal(f"the dispatch type {what}", _dispatch_name(our), _dispatch_name(their))
            self._equal(f"the number of nodes {what}", len(our.nodes), len(their.nodes))
            for place, (our_node, their_node) in enumerate(zip(our.nodes, their.nodes, strict=True)):
                self._equal(f"node {place} {what}", our_node, their_node)
        return warnings

    def _compare_nodes(self, ours: Iterable[serving_pb2.NodeView], theirs: Iterable[serving_pb2.NodeView]) -> list[str]:
        own_nodes, peer_nodes = ({node.name: node for node in nodes} for nodes in (ours, theirs))
        self._equal("the nodes' names", *_only_differing(set(own_nodes), set(peer_nodes)))
        warnings = []
        for name, own in own_nodes.items():
            peer, what = peer_nodes[name], f"of node {_short(name)}"
            self._equal(f"the operator {what}", own.op, peer.op)
            self._equal(f"op_version {what}", own.op_version, peer.op_version)
            self._equal(f"the parents {what}", sorted(set(own.parents)), sorted(set(peer.parents)))
            if list(own.parents) != list(peer.parents):
                warnings.append(f"the parents {what} are listed in another order by party {self._peer}")
        return warnings

    def _equal(self, what: str, own: object, peer: object) -> None:
        if own != peer:
            raise GraphError(
                f"{what} is {_short(own)} at {self._own}, but {_short(peer)} at {self._peer}",
                party=self._peer,
                hint="all parties must load the packages of one export",
            )


def specified_parties(models: Mapping[str, serving_pb2.ModelInfo]) -> dict[int, str]:
    """The one party that runs each execution dispatched as DP_SPECIFIED, by the execution's index.

    Raises:
        GraphError: `specific_flag` is set at no party, or at several.
    """
    count = min(len(model.graph_view.execution_list) for model in models.values())
    chosen = {}
    for index in range(count):
        executions = {party: model.graph_view.execution_list[index] for party, model in models.items()}
        if next(iter(executions.values())).config.dispatch_type != serving_pb2.DP_SPECIFIED:
            continue
        flagged = sorted(party for party, execution in executions.items() if execution.config.specific_flag)
        if len(flagged) != 1:
            raise GraphError(
                f"execution {index} is DP_SPECIFIED and needs specific_flag at exactly one party, "
                f"it is set at {', '.join(flagged) or 'none'}"
            )
        chosen[index] = flagged[0]
    return chosen


def _only_differing(own: set[str], peer: set[str]) -> tuple[list[str], list[str]]:
    return sorted(own - peer), sorted(peer - own)


def _dispatch_name(execution: serving_pb2.ExecutionDef) -> str:
    number = int(execution.config.dispatch_type)
    known = serving_pb2.DispatchType.DESCRIPTOR.values_by_number.get(number)
    return known.name if known else str(number)


def _short(value: object) -> str:
    """A peer's text, made safe and short enough for one line of an error."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
