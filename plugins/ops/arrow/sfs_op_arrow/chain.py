"""Chains of ARROW_PROCESSING nodes as one function over rows, for small batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sfs_core import Batch, ComputeContext, ExecutionView, Fusion, Operator, Projector

from .replay import Program
from .rows import RowProgram

__all__ = ["Link", "fused_chains"]


@dataclass(frozen=True, slots=True)
class Link:
    """A node that may be fused, and what it does; its output is as declared."""

    operator: Operator
    program: Program


def fused_chains(execution: ExecutionView, links: Mapping[str, Link]) -> list[Fusion]:
    """A fusion for each chain of two or more links in which only the next node needs a node's table."""
    needed = Counter(parent for operator in execution.operators.values() for parent in operator.node.parents)
    needed.update(execution.outputs)
    chains: dict[str, list[Link]] = {}  # by their last node
    for name, link in links.items():
        (parent,) = link.operator.node.parents or ("",)
        follows = parent in chains and needed[parent] == 1 and _columns(chains[parent][-1], link) is not None
        chains[name] = [*chains.pop(parent), link] if follows else [link]
    fusions = [_fusion(chain) for chain in chains.values() if len(chain) > 1]
    return [fusion for fusion in fusions if fusion is not None]


def _columns(link: Link, follower: Link) -> list[int] | None:
    """Which columns of a link's table its follower takes; None where they are not clear."""
    schema, wanted = link.program.schema, follower.program.input_schema
    if schema is None:
        return None
    columns = [schema.index.get(name, -1) for name in wanted.names]
    found = [(schema.names.count(name), schema.types[at]) for name, at in zip(wanted.names, columns, strict=True)]
    return columns if found == [(1, type_) for type_ in wanted.types] else None


def _fusion(chain: Sequence[Link]) -> Fusion | None:
    program = chain[0].program
    for link, follower in pairwise(chain):
        columns = _columns(link, follower)
        assert columns is not None
        program = program.then(follower.program, columns)
    by_rows = RowProgram.of(program)
    if by_rows is None:
        return None
    steps = [(Projector(link.program.input_schema), link.operator) for link in chain]

    def compute(context: ComputeContext, table: Batch) -> tuple[Batch]:
        result = by_rows.run(table)
        if result is None:  # one by one: an error gives the node
            result = table
            for project, operator in steps:
                result = operator.compute(context, project(result))
        return (result,)

    return Fusion(
        nodes=tuple(link.operator.node.name for link in chain),
        parents=chain[0].operator.node.parents or (None,),
        schemas=(program.input_schema,),
        outputs=(chain[-1].operator.node.name,),
        compute=compute,
    )
