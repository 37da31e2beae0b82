"""Operators, contexts and plans for tests, made from plain values."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sfs_core.batch import Batch, Schema
from sfs_core.block import PartyBlocks, TableBlock
from sfs_core.codec.arrow_ipc import decode_batch, encode_batch
from sfs_core.engine.plan import Plan
from sfs_core.errors import SfsError
from sfs_core.model.graph import Dispatch, Execution
from sfs_core.model.validation import CheckedExecution
from sfs_core.sdk.context import FeatureContext, PluginContext
from sfs_core.sdk.operator import AttributeValue, ComputeContext, NodeSpec, Operator

__all__ = ["assert_fused_equals_single", "feature_context", "make_operator", "plugin_context"]

SERVICE, PARTY = "contract-service", "alice"
AnyOperator = TypeVar("AnyOperator", bound=Operator)


def make_operator(
    cls: type[AnyOperator],
    attributes: Mapping[str, Any] | None = None,
    parents: Sequence[str] = (),
    *,
    name: str = "node",
    version: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> AnyOperator:
    """The operator of a node, as a model that is loaded would make it.

    Args:
        cls: the operator's class.
        attributes: plain values by name; an `AttributeValue` where another type than the declared one is wanted.
        parents: names of the nodes that it takes its inputs from.
        name: of the node.
        version: the node's `op_version`; None: the operator's own.
        options: of the operator's `Config`; None: all at their defaults.

    Raises:
        GraphError: the operator refuses the node.
        pydantic.ValidationError: the options are wrong.
        KeyError: it has no such attribute.
    """
    definition = cls.definition
    cases = {attribute.name: attribute.case for attribute in definition.attributes}
    values = {
        key: value if isinstance(value, AttributeValue) else AttributeValue(cases[key], value)
        for key, value in (attributes or {}).items()
    }
    op_version = definition.version if version is None else version
    config = None if options is None else cls.Config(**options)
    return cls(NodeSpec(name, definition.name, op_version, tuple(parents), values), config)


def plugin_context(base_directory: Path | None = None, *, party: str = PARTY) -> PluginContext:
    """The context of a model source; paths are relative to `base_directory`, else to the working directory."""
    return PluginContext(SERVICE, party, logging.getLogger(f"sfs.test.{party}"), base_directory or Path())


def feature_context(
    schema: Schema,
    base_directory: Path | None = None,
    *,
    executor: Executor | None = None,
    party: str = PARTY,
    report_missing: bool = False,
) -> FeatureContext:
    """The context of a feature source that is to deliver `schema`.

    Args:
        schema: the columns to deliver.
        base_directory: what relative paths are relative to; None: the working directory.
        executor: the pool for blocking code; None: one of its own, whose threads end with the process.
        party: the party's id.
        report_missing: whether rows that are not there are to be reported instead of raised.
    """
    pool, logger = executor or ThreadPoolExecutor(4), logging.getLogger(f"sfs.test.{party}")
    return FeatureContext(SERVICE, party, logger, base_directory or Path(), schema, pool, report_missing)


def assert_fused_equals_single(
    operators: Sequence[Operator],
    outputs: Sequence[str],
    features: Batch | None = None,
    tables: Mapping[str, Sequence[Batch]] | None = None,
    *,
    context: ComputeContext | None = None,
    unpack: Callable[[Operator, Batch], object] | None = None,
) -> tuple[tuple[str, ...], ...]:
    """Run an execution with its fusions and node by node, and see that nobody could tell which it was.

    Tables that may come as blocks are given so, too.

    Args:
        operators: of the execution's nodes, parents before children.
        outputs: the nodes whose tables leave the execution.
        features: the feature table, for nodes without parents.
        tables: by name, the tables of nodes outside the execution: one per party that ran it, requester first.
        context: who computes for whom; None: a party for itself.
        unpack: what an output stands for, where it cannot be compared as it is; given its operator and the output.

    Returns:
        The nodes of each fusion that was used; empty where nothing was fused.
    """
    nodes = {operator.node.name: operator for operator in operators}
    names, outside = tuple(nodes), tuple(tables or ())
    checked = CheckedExecution(Execution(0, names, Dispatch.ALL), names, names, tuple(outputs), outside)
    fused, single = Plan(checked, nodes), Plan(checked, nodes, fuse=False)
    context = context or ComputeContext(PARTY, PARTY)

    def outcome(plan: Plan, given: Mapping[str, Sequence[Batch]]) -> object:
        """What the plan returns, or its error as readers see it."""
        try:
            results = plan.run(context, features, given)
        except SfsError as error:
            return type(error), error.code, error.node, error.message
        return {
            name: (table.schema, plain_rows(table) if unpack is None else unpack(nodes[name], table))
            for name, table in results.items()
        }

    wanted = outcome(single, tables or {})
    for form in _forms(tables or {}):
        found = outcome(fused, form)
        if found != wanted:
            raise AssertionError(f"fused: {found}\none by one: {wanted}")
    return fused.fused


def _forms(tables: Mapping[str, Sequence[Batch]]) -> Iterator[Mapping[str, Sequence[Batch]]]:
    """The tables as they are, and as blocks if they are of one width each."""
    yield tables
    if len({len(of_node) for of_node in tables.values()}) == 1:
        parties = [dict(zip(tables, party, strict=True)) for party in zip(*tables.values(), strict=True)]
        blocks = PartyBlocks.of([TableBlock.of(_binary_arrays(party)) for party in parties])
        if blocks is not None:
            yield blocks


def _binary_arrays(tables: Mapping[str, Batch]) -> Mapping[str, Batch]:
    """The tables, those with one binary column of one width with this as an array."""
    return {name: decode_batch(encode_batch(table)) for name, table in tables.items()}


def plain_rows(batch: Batch) -> list[tuple[Any, ...]]:
    """The rows as tuples of Python values, None for a null; NaN equals itself, as text."""
    columns = [batch.arrow(i).to_pylist() for i in range(len(batch.schema))]
    rows = list(zip(*columns, strict=True)) if columns else [()] * batch.num_rows
    return [tuple("NaN" if _is_nan(value) else value for value in row) for row in rows]


def assert_same_rows(found: Sequence[object], expected: Sequence[object]) -> None:
    """Fail with the first row that differs.

    An `assert` of tables would have pytest tell line by line how they differ, where it is verbose and in CI: for
    hundreds of rows that takes it minutes.
    """
    for index, (row, other) in enumerate(zip(found, expected, strict=False)):
        if row != other:
            raise AssertionError(f"row {index} is {row}, and should be {other}")
    if len(found) != len(expected):
        raise AssertionError(f"there are {len(found)} rows, and should be {len(expected)}")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
