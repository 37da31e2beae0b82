"""What parties learn from each other when a graph is run, in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator

from sfs_core.model.graph import Dispatch
from sfs_core.model.validation import CheckedExecution, CheckedGraph

__all__ = ["disclosures"]

_SHARED = (Dispatch.ALL, Dispatch.PEER, Dispatch.SPECIFIED)


def disclosures(checked: CheckedGraph) -> Iterator[str]:
    """One sentence for each kind of table that crosses a border between parties, in the graph's order.

    What a table tells is the operator's to say, see `Operator.discloses`.
    """
    for execution in checked.executions:
        if execution.execution.dispatch not in _SHARED:
            continue
        if execution.outside_parents:
            yield from _sentences(checked, execution, execution.outside_parents, "parties in execution {} are sent")
        yield from _sentences(checked, execution, execution.exit_nodes, "the party that is asked gets in execution {}")


def _sentences(checked: CheckedGraph, execution: CheckedExecution, nodes: tuple[str, ...], begin: str) -> Iterator[str]:
    for operator in dict.fromkeys(type(checked.operators[name]) for name in nodes):
        yield f"{begin.format(execution.execution.index)}: {operator.discloses} ({operator.definition.name})"
