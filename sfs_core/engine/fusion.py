"""Which offers of operators to compute several nodes at once are taken, and in what order an execution then runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from sfs_core.errors import PluginError, SfsError
from sfs_core.sdk.operator import ExecutionView, Fusion, Operator

__all__ = ["choose_fusions", "run_order"]


def choose_fusions(operators: Mapping[str, Operator], outputs: Sequence[str]) -> list[Fusion]:
    """The fusions to use for an execution's operators (parents before children); none share a node.

    Raises:
        PluginError: an operator's `fuse` failed.
    """
    view = ExecutionView(operators, tuple(outputs))
    chosen: list[Fusion] = []
    taken: set[str] = set()
    classes: list[type[Operator]] = list(dict.fromkeys(type(operator) for operator in operators.values()))
    for cls in classes:
        for fusion in _offers(cls, view):
            if taken.isdisjoint(fusion.nodes) and _is_complete(fusion, operators, outputs):
                try:
                    run_order(operators, [*chosen, fusion])
                except CycleError:  # something outside must run between its nodes
                    continue
                chosen.append(fusion)
                taken.update(fusion.nodes)
    return chosen


def _offers(cls: type[Operator], view: ExecutionView) -> list[Fusion]:
    try:
        return list(cls.fuse(view))
    except SfsError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{cls.definition.name}: fuse failed ({type(error).__name__})") from error


def _is_complete(fusion: Fusion, operators: Mapping[str, Operator], outputs: Sequence[str]) -> bool:
    """Whether it takes every table that its nodes need and returns every one that others need."""
    inside = set(fusion.nodes)
    if not inside or not inside <= operators.keys():
        return False
    if len(fusion.schemas) != len(fusion.parents) or len(set(fusion.outputs)) != len(fusion.outputs):
        return False
    needed = {p for n in inside for p in operators[n].node.parents or (None,) if p not in inside}
    used = {p for name, op in operators.items() if name not in inside for p in op.node.parents} | set(outputs)
    if needed != set(fusion.parents) or not inside & used <= set(fusion.outputs) <= inside:
        return False
    if fusion.by_party and not (fusion.mergeable and operators.keys().isdisjoint(needed) and None not in needed):
        return False
    layout = fusion.layout
    if layout is None:
        return True
    schemas = tuple(operators[name].output_schema() for name in fusion.outputs)
    return (layout.names, layout.schemas) == (fusion.outputs, schemas)


def run_order(operators: Mapping[str, Operator], fusions: Sequence[Fusion]) -> list[str | Fusion]:
    """Nodes and fusions, each behind everything that it needs.

    Raises:
        CycleError: two of them need each other.
    """
    part_of: dict[str, int | str] = {name: i for i, fusion in enumerate(fusions) for name in fusion.nodes}
    needs: dict[int | str, set[int | str]] = {}
    for name, operator in operators.items():
        part = part_of.get(name, name)
        inside = (part_of.get(parent, parent) for parent in operator.node.parents if parent in operators)
        needs.setdefault(part, set()).update(other for other in inside if other != part)
    return [fusions[part] if isinstance(part, int) else part for part in TopologicalSorter(needs).static_order()]
