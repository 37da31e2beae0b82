"""The rules that a graph must keep before it is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from packaging.version import InvalidVersion, Version

from sfs_core.batch import Schema
from sfs_core.errors import ErrorCode, GraphError, PluginError, SfsError
from sfs_core.model.graph import GRAPH_VERSION, Dispatch, Execution, Graph
from sfs_core.sdk.context import PluginConfig
from sfs_core.sdk.operator import NodeSpec, Operator

__all__ = ["CheckedExecution", "CheckedGraph", "OperatorClass", "check_cluster", "check_graph"]

OperatorClass = Callable[[str], type[Operator]]
"""The operator registered under a name; raises PluginError (code 2) where there is none."""


@dataclass(frozen=True, slots=True)
class CheckedExecution:
    """An execution that can be run.

    Args:
        execution: as the package has it.
        order: its nodes so that parents come first.
        entry_nodes: nodes without parents, or with a parent in an earlier execution; as listed.
        exit_nodes: nodes without children, or with a child in a later execution; as listed.
        outside_parents: distinct parents that lie in earlier executions: what the execution must be given.
    """

    execution: Execution
    order: tuple[str, ...]
    entry_nodes: tuple[str, ...]
    exit_nodes: tuple[str, ...]
    outside_parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedGraph:
    """A graph that keeps all rules, with the operators that serve it.

    Args:
        graph: as read.
        operators: one instance per node, by node name; built once, for checking and serving alike.
        executions: in the order in which they run.
        feature_schema: the columns that this party's feature source must deliver: the union of what the
            entry nodes need. May have no columns.
        warnings: what is odd but served.
    """

    graph: Graph
    operators: Mapping[str, Operator]
    executions: tuple[CheckedExecution, ...]
    feature_schema: Schema
    warnings: tuple[str, ...]


def check_graph(
    graph: Graph, operator_class: OperatorClass, options: Mapping[str, PluginConfig] | None = None
) -> CheckedGraph:
    """Check a graph and build its operators.

    Args:
        graph: as read.
        operator_class: finds an operator by its name.
        options: of operators, by their names; those of others are at their defaults.

    A graph without cycles and with one exit node has no unreachable nodes, neither as a whole nor inside an
    execution; there is no check of its own for them.

    Raises:
        GraphError: a rule is broken (code 7; wrong number of parents 3; a column missing or ambiguous 2;
            nodes outside executions 2; an attribute missing 2).
        PluginError: an operator is not installed (code 2), or breaks its contract.
    """
    classes = {node.name: _class_of(node, operator_class) for node in graph.nodes.values()}
    _check_nodes(graph, classes)
    exit_node = _check_shape(graph, classes)
    order = _topological_order(graph.nodes)
    options = options or {}
    built = {node.name: _build(classes[node.name], node, options.get(node.op)) for node in graph.nodes.values()}
    _check_edges(graph, built)
    home = _check_membership(graph)
    executions = tuple(_checked_execution(graph, execution, order, home) for execution in graph.executions)
    _check_executions(executions, classes, exit_node)
    features = _feature_schema((name, built[name].inputs[0]) for name in executions[0].entry_nodes)
    operators = {name: made.operator for name, made in built.items()}
    return CheckedGraph(graph, operators, executions, features, tuple(_warnings(graph, classes)))


# ------------------------------------------------------------------- the nodes
def _class_of(node: NodeSpec, operator_class: OperatorClass) -> type[Operator]:
    try:
        return operator_class(node.op)
    except SfsError as error:
        error.node = error.node or node.name
        raise


def _check_nodes(graph: Graph, classes: Mapping[str, type[Operator]]) -> None:
    for node in graph.nodes.values():
        definition = classes[node.name].definition
        wanted, given = len(definition.inputs), len(node.parents)
        if given and given != wanted and not definition.variable_inputs:
            raise GraphError(
                f"{node.op} takes {wanted} inputs, the node has {given} parents",
                code=ErrorCode.INVALID_ARGUMENT,
                node=node.name,
            )
        if not given and wanted != 1:
            raise GraphError(
                f"a node without parents gets the features, one table; {node.op} takes {wanted}", node=node.name
            )
        for parent in node.parents:
            if parent not in graph.nodes:
                raise GraphError(f"its parent {parent!r} does not exist", node=node.name)


def _check_shape(graph: Graph, classes: Mapping[str, type[Operator]]) -> str:
    """The name of the graph's one exit node."""
    if all(node.parents for node in graph.nodes.values()):
        raise GraphError("the graph has no entry: each of its nodes has a parent" if graph.nodes else "it has no nodes")
    parents = {parent for node in graph.nodes.values() for parent in node.parents}
    exits = [name for name in graph.nodes if name not in parents]
    if len(exits) != 1:
        raise GraphError(f"the graph needs one exit node, it has {len(exits)}: {_quoted(exits)}")
    if not classes[exits[0]].definition.returnable:
        raise GraphError(
            f"{graph.nodes[exits[0]].op} cannot end a graph",
            node=exits[0],
            hint="what callers get comes from an operator that says `returnable=True`",
        )
    return exits[0]


def _topological_order(nodes: Mapping[str, NodeSpec]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: node.parents for name, node in nodes.items()}).static_order())
    except CycleError as error:
        raise GraphError(f"nodes form a cycle: {_quoted(error.args[1])}") from None


@dataclass(frozen=True, slots=True)
class _Built:
    operator: Operator
    inputs: Sequence[Schema]
    output: Schema


def _build(cls: type[Operator], node: NodeSpec, config: PluginConfig | None) -> _Built:
    try:
        operator = cls(node) if config is None else cls(node, config)
        built = _Built(operator, operator.input_schemas(), operator.output_schema())
    except SfsError as error:
        error.node = error.node or node.name
        raise
    except (Exception, SystemExit) as error:  # a plugin's code may raise anything
        raise PluginError(
            f"{node.op}: its setup broke with {type(error).__name__}", node=node.name, hint="tell the plugin's author"
        ) from error
    needed = len(node.parents) or 1
    if len(built.inputs) != needed:
        raise PluginError(
            f"{node.op}: input_schemas() has {len(built.inputs)} entries, {needed} are needed", node=node.name
        )
    return built


# ------------------------------------------------------------------- the edges
def _check_edges(graph: Graph, built: Mapping[str, _Built]) -> None:
    for node in graph.nodes.values():
        for parent, wanted in zip(node.parents, built[node.name].inputs if node.parents else (), strict=True):
            _check_edge(parent, built[parent].output, node.name, wanted)


def _check_edge(parent: str, output: Schema, node: str, wanted: Schema) -> None:
    for name, type_ in zip(wanted.names, wanted.types, strict=True):
        found = output.names.count(name)
        if found != 1:
            raise GraphError(
                f"column {name!r} is {'missing' if not found else 'ambiguous'} in the output of node {parent!r}",
                code=ErrorCode.UNEXPECTED_ERROR,
                node=node,
            )
        given = output.types[output.index[name]]
        if given != type_:
            raise GraphError(f"column {name!r} is {given} in the output of node {parent!r}, not {type_}", node=node)


# -------------------------------------------------------------- the executions
def _check_membership(graph: Graph) -> dict[str, int]:
    """The index of each node's execution."""
    if not graph.executions:
        raise GraphError("the graph has no executions")
    home: dict[str, int] = {}
    for execution in graph.executions:
        where = f"execution {execution.index}"
        if not execution.nodes:
            raise GraphError("it has no nodes", where=where)
        for name in execution.nodes:
            if name not in graph.nodes:
                raise GraphError(f"its node {name!r} does not exist", where=where)
            if name in home:
                raise GraphError(f"its node {name!r} is listed in execution {home[name]} already", where=where)
            home[name] = execution.index
    missing = [name for name in graph.nodes if name not in home]
    if missing:
        raise GraphError(f"nodes are in no execution: {_quoted(missing)}", code=ErrorCode.UNEXPECTED_ERROR)
    return home


def _checked_execution(
    graph: Graph, execution: Execution, order: Sequence[str], home: Mapping[str, int]
) -> CheckedExecution:
    index = execution.index
    for name in execution.nodes:
        for parent in graph.nodes[name].parents:
            if home[parent] > index:
                raise GraphError(f"its parent {parent!r} runs later, in execution {home[parent]}", node=name)
        if not graph.nodes[name].parents and index:
            raise GraphError(f"it has no parents, but is in execution {index}, not in the first", node=name)
    inner = [node for node in graph.nodes.values() if home[node.name] == index]
    used_inside = {parent for node in inner for parent in node.parents}
    used_later = {parent for node in graph.nodes.values() if home[node.name] > index for parent in node.parents}
    outside = {parent: None for node in inner for parent in node.parents if home[parent] < index}
    return CheckedExecution(
        execution=execution,
        order=tuple(name for name in order if home[name] == index),
        entry_nodes=tuple(
            name
            for name in execution.nodes
            if not graph.nodes[name].parents or any(home[parent] < index for parent in graph.nodes[name].parents)
        ),
        exit_nodes=tuple(name for name in execution.nodes if name in used_later or name not in used_inside),
        outside_parents=tuple(outside),
    )


def _check_executions(
    executions: Sequence[CheckedExecution], classes: Mapping[str, type[Operator]], exit_node: str
) -> None:
    last = executions[-1]
    if exit_node not in last.execution.nodes:
        raise GraphError("it ends the graph, but is not in the last execution", node=exit_node)
    if len(executions) < 2:
        raise GraphError("a graph needs at least two executions")
    for before, after in pairwise(executions):
        if before.execution.dispatch == after.execution.dispatch:
            raise GraphError(
                f"it is dispatched as {after.execution.dispatch.wire_name}, like the execution before it",
                where=f"execution {after.execution.index}",
            )
    if executions[0].execution.dispatch is not Dispatch.ALL:
        raise GraphError("the first execution must be DP_ALL", where="execution 0")
    if last.execution.dispatch is Dispatch.ALL:
        raise GraphError("the last execution must not be DP_ALL", where=f"execution {last.execution.index}")
    for before, after in pairwise(executions):
        for name in after.entry_nodes if before.execution.dispatch is Dispatch.ALL else ():
            if not classes[name].definition.mergeable:
                raise GraphError(
                    f"{classes[name].definition.name} takes the table of one party, but gets one of each",
                    node=name,
                    hint="those of all parties go to an operator that says `mergeable=True`",
                )


def _feature_schema(needed: Iterable[tuple[str, Schema]]) -> Schema:
    """The union of the entry nodes' columns, in the order in which they are first needed."""
    union: dict[str, tuple[Any, str]] = {}
    for node, schema in needed:
        for name, type_ in zip(schema.names, schema.types, strict=True):
            known, first = union.setdefault(name, (type_, node))
            if known != type_:
                raise GraphError(f"feature {name!r} is {type_} here and {known} in node {first!r}", node=node)
    return Schema((name, type_) for name, (type_, _) in union.items())


# ----------------------------------------------------------------- the cluster
def check_cluster(checked: CheckedGraph, parties: Sequence[str]) -> None:
    """Check what depends on the parties that serve the model together; call it before the first prediction.

    Args:
        checked: this party's graph.
        parties: all of them, this one included.

    Raises:
        GraphError: a dispatch type cannot work, `party_num` is another number, or several parties' tables reach
            an operator that takes one.
    """
    count = len(parties)
    graph = checked.graph
    if graph.party_num not in (0, count - 1, count):  # the reference writes and compares one less
        raise GraphError(f"the model is made for {graph.party_num} parties, {count} are configured")
    for execution in graph.executions:
        where = f"execution {execution.index}"
        if execution.dispatch is Dispatch.UNKNOWN:
            raise GraphError("its dispatch type is not set", where=where)
        if execution.dispatch is Dispatch.PEER and count != 2:
            raise GraphError(f"DP_PEER needs exactly two parties, {count} are configured", where=where)
    if count > 1:
        _check_merging(checked)


def _check_merging(checked: CheckedGraph) -> None:
    several = {name for e in checked.executions if e.execution.dispatch is Dispatch.ALL for name in e.exit_nodes}
    for execution in checked.executions:
        for name in execution.entry_nodes:
            mergeable = checked.operators[name].definition.mergeable
            for parent in checked.graph.nodes[name].parents:
                if not mergeable and parent in several and parent in execution.outside_parents:
                    raise GraphError(
                        f"{checked.graph.nodes[name].op} takes one table, but gets one of each party "
                        f"from node {parent!r}",
                        node=name,
                    )


# -------------------------------------------------------------------- warnings
def _warnings(graph: Graph, classes: Mapping[str, type[Operator]]) -> Iterable[str]:
    if _is_newer(graph.version, GRAPH_VERSION):
        yield f"graph version {graph.version!r} is newer than {GRAPH_VERSION}, the newest one known here"
    for node in graph.nodes.values():
        definition = classes[node.name].definition
        if _is_newer(node.op_version, definition.version):
            yield (
                f"node {node.name!r}: {node.op} {node.op_version!r} is newer than {definition.version}, "
                "the installed version"
            )
        unknown = sorted(set(node.attributes) - {attribute.name for attribute in definition.attributes})
        if unknown:
            yield f"node {node.name!r}: {node.op} ignores its attributes {_quoted(unknown)}"


def _is_newer(version: str, known: str) -> bool:
    """Whether a version is later than a known one; text that is no version counts as later."""
    try:
        return bool(version) and Version(version) > Version(known)
    except InvalidVersion:
        return version != known


def _quoted(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
