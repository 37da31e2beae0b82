"""A plan: one execution of a graph, compiled at load into positional calls over slots."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sfs_core.batch import Batch, Projector, Schema
from sfs_core.block import BlockLayout, PartyBlocks, TableBlock
from sfs_core.engine.fusion import choose_fusions, run_order
from sfs_core.errors import ErrorCode, GraphError, PluginError, SfsError
from sfs_core.model.validation import CheckedExecution
from sfs_core.sdk.operator import ComputeContext, Fusion, Operator

__all__ = ["Plan"]

Tables = Mapping[str, Sequence[Batch]]
Argument = Callable[["_Run"], Any]

_MOST_LAYOUTS: Final = 64


@dataclass(slots=True)
class _Run:
    """The state of one run: what came in, and the outputs so far by slot."""

    features: Batch | None
    tables: Tables
    slots: list[Any]
    block: TableBlock | None = None  # all that the execution returns, where one step computes it


@dataclass(frozen=True, slots=True)
class _Step:
    """One node, or several fused ones: where its arguments come from, what computes them, and what must come out."""

    nodes: tuple[str, ...]
    arguments: tuple[Argument, ...]
    compute: Callable[..., Any]
    outputs: tuple[tuple[int, Schema], ...]  # slot and schema of each
    singles: tuple[_Step, ...] = ()  # of a fusion: its nodes, for when it gives up
    layout: BlockLayout | None = None  # of a fusion that returns a block
    is_last: bool = False  # whether its outputs are those of the execution

    def run(self, context: ComputeContext, run: _Run) -> None:
        """Fill the slots of the outputs."""
        try:
            result = self._computed(context, run)
        except SfsError as error:
            if not self.singles:
                error.node = error.node or self.nodes[0]
                raise
            result = None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            raise _failed(self, error) from error
        if not self.singles:
            result = (result,)
        elif result is None:  # each node says itself what it refuses
            for step in self.singles:
                step.run(context, run)
            return
        elif self.layout is not None:
            self._keep_block(result, run)
            return
        elif not isinstance(result, Sequence) or len(result) != len(self.outputs):
            raise _wrong_output(self, f"{type(result).__name__}, not {len(self.outputs)} tables")
        for (slot, schema), output in zip(self.outputs, result, strict=True):
            if type(output) is not Batch or output.schema is not schema:
                _check_output(output, schema, self)
            run.slots[slot] = output

    def _keep_block(self, block: Any, run: _Run) -> None:
        if type(block) is not TableBlock or block.layout is not self.layout:
            raise _wrong_output(self, f"{type(block).__name__}, not a TableBlock of the layout that it declares")
        if self.is_last:
            run.block = block
            return
        for (slot, _), table in zip(self.outputs, block.values(), strict=True):
            run.slots[slot] = table

    def _computed(self, context: ComputeContext, run: _Run) -> Any:
        arguments = [argument(run) for argument in self.arguments]
        if len(arguments) > 1:
            _check_rows(arguments)
        return self.compute(context, *arguments)


class Plan:
    """One execution, ready to run.

    Attributes:
        index: the execution's index in the graph.
        outputs: the exit nodes, whose tables the execution returns.
        outside: nodes of earlier executions whose tables it needs.
        heavy: whether an operator asks to be kept off the event loop.
        fused: the nodes of each fusion in use.
    """

    def __init__(self, execution: CheckedExecution, operators: Mapping[str, Operator], *, fuse: bool = True) -> None:
        self.index = execution.execution.index
        self.outputs = execution.exit_nodes
        self.outside = execution.outside_parents
        self.heavy = any(operators[name].heavy for name in execution.order)
        own = {name: operators[name] for name in execution.order}
        fusions = choose_fusions(own, self.outputs) if fuse else []
        self.fused = tuple(fusion.nodes for fusion in fusions)
        slots = {name: i for i, name in enumerate(execution.order)}
        self._slots = len(slots)
        self._steps = [
            _node_step(own[part], slots) if isinstance(part, str) else _fused_step(part, own, slots, self.outputs)
            for part in run_order(own, fusions)
        ]
        self._output_slots = [(name, slots[name]) for name in self.outputs]

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The nodes of each step, in the order in which they run; several where they are fused."""
        return tuple(step.nodes for step in self._steps)

    def observe(self, watch: Callable[[str], Callable[[float, float], None]]) -> None:
        """Have told how long each step of every run takes.

        Args:
            watch: gives, by a step's first node, what is called after it: with seconds, and `time.perf_counter()`.
        """
        self._steps = [replace(step, compute=_timed(step.compute, watch(step.nodes[0]))) for step in self._steps]

    def run(self, context: ComputeContext, features: Batch | None, tables: Tables) -> Mapping[str, Batch]:
        """The exit nodes' tables; a `TableBlock` where one fusion computes them all as such.

        Args:
            context: who computes for whom.
            features: the feature table, for an execution with entry nodes of the graph.
            tables: per node in `outside`, one table per party that ran it, requester first.

        Raises:
            GraphError: row counts, numbers of tables or schemas do not fit (code 7, 2 for a wrong type).
            SfsError: an operator refused its input, or failed (code 2).
        """
        run = _Run(features, tables, [None] * self._slots)
        for step in self._steps:
            step.run(context, run)
        return run.block or {name: run.slots[slot] for name, slot in self._output_slots}


def _timed(compute: Callable[..., Any], tell: Callable[[float, float], None]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        begin = time.perf_counter()
        try:
            return compute(*arguments)
        finally:
            now = time.perf_counter()
            tell(now - begin, now)

    return timed


def _node_step(operator: Operator, slots: Mapping[str, int]) -> _Step:
    node = operator.node
    mergeable = operator.definition.mergeable
    wanted = zip(node.parents or (None,), operator.input_schemas(), strict=True)
    arguments = [_argument(parent, slots, schema, mergeable) for parent, schema in wanted]
    output = slots[node.name], operator.output_schema()
    return _Step((node.name,), tuple(arguments), operator.compute, (output,))


def _fused_step(
    fusion: Fusion, operators: Mapping[str, Operator], slots: Mapping[str, int], exits: Sequence[str]
) -> _Step:
    if fusion.by_party:
        arguments = [_by_party(fusion)]
    else:
        wanted = zip(fusion.parents, fusion.schemas, strict=True)
        arguments = [_argument(parent, slots, schema, fusion.mergeable) for parent, schema in wanted]
    outputs = tuple((slots[name], operators[name].output_schema()) for name in fusion.outputs)
    singles = tuple(_node_step(operator, slots) for name, operator in operators.items() if name in fusion.nodes)
    is_last = set(fusion.outputs) == set(exits)
    return _Step(fusion.nodes, tuple(arguments), fusion.compute, outputs, singles, fusion.layout, is_last)


def _argument(parent: str | None, slots: Mapping[str, int], wanted: Schema, mergeable: bool) -> Argument:
    project = Projector(wanted)
    if parent is None:
        if mergeable:
            return lambda run: [project(_features_of(run))]
        return lambda run: project(_features_of(run))
    slot = slots.get(parent)
    if slot is not None:
        if mergeable:
            return lambda run: [project(run.slots[slot])]
        return lambda run: project(run.slots[slot])
    if mergeable:
        return lambda run: _of_all_parties(run.tables[parent], wanted, project)
    return lambda run: project(_only(run.tables[parent], parent))


def _by_party(fusion: Fusion) -> Argument:
    """The tables of all parents, by party; as blocks where they came so."""
    wanted = {parent: schema for parent, schema in zip(fusion.parents, fusion.schemas, strict=True) if parent}
    arguments = [_argument(parent, {}, schema, mergeable=True) for parent, schema in wanted.items()]
    known: dict[BlockLayout, bool] = {}

    def fits(layout: BlockLayout) -> bool:
        if layout not in known:
            if len(known) >= _MOST_LAYOUTS:  # layouts come from peers too: do not grow for ever
                known.clear()
            schemas = dict(zip(layout.names, layout.schemas, strict=True))
            known[layout] = all(schemas.get(parent) is schema for parent, schema in wanted.items())
        return known[layout]

    def tables_by_party(run: _Run) -> Sequence[Mapping[str, Batch]]:
        if type(run.tables) is PartyBlocks and all(fits(block.layout) for block in run.tables.blocks):
            return run.tables.blocks
        tables = [argument(run) for argument in arguments]
        if len({len(of_node) for of_node in tables}) > 1:
            raise GraphError("the parents' numbers of tables differ")
        _check_rows(tables)
        return [dict(zip(wanted, of_party, strict=True)) for of_party in zip(*tables, strict=True)]

    return tables_by_party


def _features_of(run: _Run) -> Batch:
    if run.features is None:
        raise GraphError("features are needed, none were given")
    return run.features


def _only(tables: Sequence[Batch], parent: str) -> Batch:
    if len(tables) != 1:
        raise GraphError(f"{len(tables)} tables of node {parent!r}, exactly one is expected")
    return tables[0]


def _of_all_parties(tables: Sequence[Batch], wanted: Schema, project: Projector) -> Sequence[Batch]:
    rows = tables[0].num_rows
    for table in tables:  # an ensemble has hundreds of such tables: nothing is called where they fit
        if table.schema is not wanted or table.num_rows != rows:
            break
    else:
        return tables
    tables = [project(table) for table in tables]
    if any(table.num_rows != rows for table in tables):
        raise GraphError(f"the parties' tables differ in rows: {', '.join(str(t.num_rows) for t in tables)}")
    return tables


def _check_rows(arguments: list[Any]) -> None:
    rows = {(argument if type(argument) is Batch else argument[0]).num_rows for argument in arguments}
    if len(rows) > 1:
        raise GraphError(f"the input tables differ in rows: {', '.join(map(str, sorted(rows)))}")


def _check_output(output: Any, schema: Schema, step: _Step) -> None:
    if not isinstance(output, Batch):
        raise _wrong_output(step, f"{type(output).__name__}, not a Batch")
    if len(schema):
        raise _wrong_output(step, f"{output.schema}, it declares {schema}", ErrorCode.LOGIC_ERROR)


def _wrong_output(step: _Step, what: str, code: ErrorCode = ErrorCode.UNEXPECTED_ERROR) -> PluginError:
    return PluginError(f"the operator returned {what}", code=code, node=_where(step))


def _where(step: _Step) -> str:
    return ", ".join(step.nodes[:3])


def _failed(step: _Step, error: BaseException) -> SfsError:
    # The exception's own text may quote values: only its kind and place go on.
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return SfsError(
        f"the operator failed ({type(error).__name__})",
        code=ErrorCode.UNEXPECTED_ERROR,
        node=_where(step),
        detail=f"{type(error).__name__}{place}",
    )
