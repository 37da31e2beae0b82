"""The graph of a model as plain records, and its protobuf forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NoReturn

from sfs_core.errors import GraphError
from sfs_core.proto import op_pb2, serving_pb2
from sfs_core.sdk.operator import AttributeValue, NodeSpec

__all__ = [
    "GRAPH_VERSION",
    "Dispatch",
    "Execution",
    "Graph",
    "HeKeys",
    "graph_from_message",
    "graph_to_message",
    "view_of",
]

GRAPH_VERSION: Final = "0.2.0"
"""The graph version that packages written here carry."""


class Dispatch(IntEnum):
    """Which parties run an execution (`DispatchType` on the wire)."""

    UNKNOWN = 0
    ALL = 1
    ANYONE = 2
    SPECIFIED = 3
    SELF = 4
    PEER = 12

    @property
    def wire_name(self) -> str:
        """The name that graphs and the reference use."""
        return serving_pb2.DispatchType.Name(self.value)


@dataclass(frozen=True, slots=True)
class Execution:
    """A part of the graph that one party, or every party, runs in one go.

    Args:
        index: its place in the order of executions, from 0.
        nodes: names of its nodes, as listed.
        dispatch: who runs it.
        specific: with `Dispatch.SPECIFIED`: whether this package's party does.
    """

    index: int
    nodes: tuple[str, ...]
    dispatch: Dispatch
    specific: bool = False


@dataclass(frozen=True, slots=True)
class HeKeys:
    """This party's keys for homomorphic encryption, as HEU serializes them.

    Args:
        public_key: may be told to anyone.
        secret_key: never leaves the process, and shows in no representation.
        encode_scale: fixed-point scale of encrypted weights.
    """

    public_key: bytes = field(repr=False)
    secret_key: bytes = field(repr=False)
    encode_scale: int = 0

    def __reduce__(self) -> NoReturn:
        raise TypeError("what holds a secret key is not pickled")


@dataclass(frozen=True, slots=True)
class Graph:
    """A model's graph with this party's private attribute values.

    Args:
        version: of the graph format, free text.
        nodes: by name, in the order of the package's list.
        executions: in the order in which they run.
        he: this party's keys, or None when the package has none.
        party_num: number of parties the model is for; 0 where the package does not say.
    """

    version: str
    nodes: Mapping[str, NodeSpec] = field(repr=False)
    executions: tuple[Execution, ...]
    he: HeKeys | None = None
    party_num: int = 0


def graph_from_message(message: serving_pb2.GraphDef) -> Graph:
    """The records of a GraphDef.

    Raises:
        GraphError: two nodes have one name, or a dispatch type has an unknown number.
    """
    he = message.he_config
    keys = HeKeys(he.pk_buf, he.sk_buf, he.encode_scale) if he.ByteSize() else None
    executions = tuple(_execution(index, execution) for index, execution in enumerate(message.execution_list))
    return Graph(message.version, _nodes(message.node_list), executions, keys, message.party_num)


def _nodes(messages: Iterable[serving_pb2.NodeDef]) -> dict[str, NodeSpec]:
    nodes: dict[str, NodeSpec] = {}
    for message in messages:
        if message.name in nodes:
            raise GraphError("two nodes have this name", node=message.name)
        attributes = {name: _attribute(value) for name, value in sorted(message.attr_values.items())}
        nodes[message.name] = NodeSpec(message.name, message.op, message.op_version, tuple(message.parents), attributes)
    return nodes


def _attribute(message: op_pb2.AttrValue) -> AttributeValue:
    case = message.WhichOneof("value") or ""
    value: Any = getattr(message, case) if case else None
    return AttributeValue(case, list(value.data) if case.endswith("s") and case != "s" else value)


def _execution(index: int, message: serving_pb2.ExecutionDef) -> Execution:
    number = message.config.dispatch_type
    try:
        dispatch = Dispatch(number)
    except ValueError:
        raise GraphError(f"execution {index}: dispatch type {number} is not known") from None
    return Execution(index, tuple(message.nodes), dispatch, message.config.specific_flag)


def graph_to_message(graph: Graph) -> serving_pb2.GraphDef:
    """The GraphDef of a graph, secret key included: for this party's own package only."""
    message = serving_pb2.GraphDef(version=graph.version, party_num=graph.party_num)
    for node in graph.nodes.values():
        added = message.node_list.add(name=node.name, op=node.op, parents=node.parents, op_version=node.op_version)
        for name, value in node.attributes.items():
            added.attr_values[name].CopyFrom(attribute_message(value))
    message.execution_list.extend(_execution_messages(graph))
    if graph.he is not None:
        message.he_config.pk_buf = graph.he.public_key
        message.he_config.sk_buf = graph.he.secret_key
        message.he_config.encode_scale = graph.he.encode_scale
    return message


def attribute_message(value: AttributeValue) -> op_pb2.AttrValue:
    """The AttrValue of an attribute; an empty list still sets its case.

    Raises:
        TypeError, ValueError: the content does not fit the case.
    """
    message = op_pb2.AttrValue()
    if isinstance(value.value, list):
        getattr(message, value.case).SetInParent()
        getattr(message, value.case).data.extend(value.value)
    elif value.case:
        setattr(message, value.case, value.value)
    return message


def _execution_messages(graph: Graph) -> list[serving_pb2.ExecutionDef]:
    return [
        serving_pb2.ExecutionDef(
            nodes=execution.nodes,
            config=serving_pb2.RuntimeConfig(
                dispatch_type=execution.dispatch.value,  # type: ignore[arg-type]
                specific_flag=execution.specific,
            ),
        )
        for execution in graph.executions
    ]


def view_of(graph: Graph) -> serving_pb2.GraphView:
    """What other parties may know of a graph: no attribute values, no secret key.

    `encode_scale` stays 0: the reference compares it with its own 0 and refuses any other.
    """
    view = serving_pb2.GraphView(version=graph.version, party_num=graph.party_num)
    for node in graph.nodes.values():
        view.node_list.add(name=node.name, op=node.op, parents=node.parents, op_version=node.op_version)
    view.execution_list.extend(_execution_messages(graph))
    view.he_info.SetInParent()
    if graph.he is not None:
        view.he_info.pk_buf = graph.he.public_key
    return view
