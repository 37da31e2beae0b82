"""Making graphs in Python."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import numpy as np

from sfs_core.errors import ErrorCode, GraphError
from sfs_core.host.registry import Registry
from sfs_core.model.graph import GRAPH_VERSION, Dispatch, Execution, Graph, HeKeys
from sfs_core.model.validation import OperatorClass, check_graph
from sfs_core.sdk.operator import Attribute, AttributeValue, Definition, NodeSpec, Operator

__all__ = ["GraphBuilder"]

_INTEGER_BITS: Final = {"i32": 32, "i64": 64}
_LARGEST_FLOAT32: Final = float(np.finfo(np.float32).max)


class GraphBuilder:
    """Builds one party's graph, execution by execution; the first one is dispatched to all parties.

        graph = (
            GraphBuilder()
            .add_node("dot", "DOT_PRODUCT", feature_names=["age"], feature_weights=[0.5], ...)
            .begin_execution(Dispatch.ANYONE)
            .add_node("merge", "MERGE_Y", parents=["dot"], ...)
            .build()
        )

    Args:
        operator_class: finds an operator by its name; absent: among the plugins that are installed.
    """

    def __init__(self, operator_class: OperatorClass | None = None) -> None:
        self._operator_class = operator_class or Registry.discover().operator
        self._classes: dict[str, type[Operator]] = {}
        self._nodes: dict[str, NodeSpec] = {}
        self._executions: list[tuple[Dispatch, bool, list[str]]] = [(Dispatch.ALL, False, [])]

    def add_node(self, name: str, op: str | type[Operator], /, parents: Sequence[str] = (), **attributes: Any) -> Self:
        """Add a node to the execution begun last.

        Args:
            name: unique in the graph; other parties see it.
            op: the operator's name or class.
            parents: names of the nodes that it takes its inputs from, in the order of the operator's inputs.
            attributes: values of the operator's attributes; NumPy numbers and arrays are fine.

        Raises:
            GraphError: the name is taken, the operator has no such attribute, or a value is not of its type.
        """
        if name in self._nodes:
            raise GraphError("the graph has a node of this name already", node=name)
        cls = self._operator_class(op) if isinstance(op, str) else op
        values = {key: _checked_attribute(cls.definition, key, value, name) for key, value in attributes.items()}
        self._classes[cls.definition.name] = cls
        self._nodes[name] = NodeSpec(name, cls.definition.name, cls.definition.version, tuple(parents), values)
        self._executions[-1][2].append(name)
        return self

    def begin_execution(self, dispatch: Dispatch, *, specific: bool = False) -> Self:
        """Nodes added from now on form a new execution.

        Args:
            dispatch: which parties run it.
            specific: with `Dispatch.SPECIFIED`: whether the party of this graph does.
        """
        self._executions.append((dispatch, specific, []))
        return self

    def build(self, he: HeKeys | None = None) -> Graph:
        """The graph, checked by all rules.

        Raises:
            GraphError: it breaks one.
        """
        executions = tuple(
            Execution(index, tuple(nodes), dispatch, specific)
            for index, (dispatch, specific, nodes) in enumerate(self._executions)
        )
        graph = Graph(GRAPH_VERSION, dict(self._nodes), executions, he)
        check_graph(graph, self._classes.__getitem__)
        return graph


def _checked_attribute(definition: Definition, name: str, value: Any, node: str) -> AttributeValue:
    known = {attribute.name: attribute for attribute in definition.attributes}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise GraphError(
            f"{definition.name} has no attribute {name!r}",
            code=ErrorCode.INVALID_ARGUMENT,
            node=node,
            hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}",
        )
    attribute = known[name]
    try:
        return AttributeValue(attribute.case, _converted(attribute, value))
    except (TypeError, ValueError) as error:
        raise GraphError(f"attribute {name!r}: {error}", code=ErrorCode.INVALID_ARGUMENT, node=node) from None


def _converted(attribute: Attribute, value: Any) -> Any:
    if not attribute.is_list:
        return _scalar(attribute.case, value)
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"a list is needed, not {type(value).__name__}")
    items = []
    for index, item in enumerate(value):
        try:
            items.append(_scalar(attribute.case[:-1], item))
        except (TypeError, ValueError) as error:
            raise type(error)(f"item {index}: {error}") from None
    return items


def _scalar(case: str, value: Any) -> Any:
    if case in ("d", "f"):
        return _float(case, value)
    if case in _INTEGER_BITS:
        return _integer(_INTEGER_BITS[case], value)
    if case == "b":
        return bool(_typed(value, (bool, np.bool_), "a bool"))
    if case == "s":
        return str(_typed(value, str, "a str"))
    return bytes(_typed(value, bytes, "bytes"))


def _float(case: str, value: Any) -> float:
    number = float(_typed(value, numbers.Real, "a number", but=(bool, np.bool_)))
    if case == "d" or not np.isfinite(number):
        return number
    if abs(number) > _LARGEST_FLOAT32:
        raise ValueError("the number is too large for float32")
    return float(np.float32(number))


def _integer(bits: int, value: Any) -> int:
    number = int(_typed(value, numbers.Integral, "an int", but=(bool, np.bool_)))
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f"the number does not fit into {bits} bits")
    return number


def _typed(value: Any, wanted: Any, words: str, but: Any = ()) -> Any:
    if not isinstance(value, wanted) or isinstance(value, but):
        raise TypeError(f"{words} is needed, not {type(value).__name__}")
    return value
