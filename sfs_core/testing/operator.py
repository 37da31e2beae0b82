"""The contract of operators."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np
import pyarrow as pa
import pytest

from sfs_core.batch import Batch, Row, Schema
from sfs_core.errors import GraphError, SfsError
from sfs_core.host.registry import Kind
from sfs_core.sdk.operator import AttributeValue, Cluster, ComputeContext, Operator
from sfs_core.server.extensions import extensions_of
from sfs_core.testing.contract import installed
from sfs_core.testing.making import PARTY, assert_fused_equals_single, assert_same_rows, make_operator, plain_rows
from sfs_core.testing.source import OptionsCase, OptionsContract, assert_is_ours
from sfs_core.testing.watching import Connections, voluntary_waits

__all__ = ["OperatorCase", "OperatorContract", "PackedTable"]

_OTHER_VERSION: Final = "contract-other-version"

Table = Sequence[Row]
Form = Callable[[Schema, Table], Batch]
Inputs = list[Any]  # per parent a Batch, or for a mergeable operator a list of them


@dataclass(frozen=True, kw_only=True)
class PackedTable:
    """A table that does not hold its rows as rows of plain values: an encrypted one, for instance.

    Args:
        rows: what it stands for, as tuples of plain values.
        pack: makes the table of an input schema and such rows: those above, fewer of them, or several times the same.
    """

    rows: Table
    pack: Form


@dataclass(frozen=True, kw_only=True)
class OperatorCase(OptionsCase):
    """An operator in a node, and what it should compute.

    Args:
        attributes: the node's, as plain values.
        inputs: per parent (one entry for an entry node) a table of at least two rows, as tuples in the order of
            `input_schemas()`, or as a `PackedTable`; for a mergeable operator a list of such tables, one per party, of
            as many parties as it can merge, at least two.
        expected: the output's rows.
        unpack: the rows that an output stands for, where it cannot be compared as it is because it is encrypted or
            random; given the operator and its output. It may raise what tells that the output is none.
        parents: the node's parents.
        takes_nulls: whether a null is a value to it; otherwise it must refuse nulls.
        takes_no_rows: whether it computes with tables without rows; otherwise it must refuse them.
        parties: the numbers of parties that a mergeable operator works with.
        many: how many rows are many: fewer where a row takes long.
        context: who computes for whom.
        cluster: what `prepare` is given.
        execution: operators of an execution, parents before children, in which this operator's class fuses nodes;
            without it, three nodes like the case's side by side are tried.
        execution_inputs: tables for nodes outside the `execution`, by name ("" for the features), where they are
            others than in `inputs`.
    """

    attributes: Mapping[str, Any]
    inputs: Sequence[Any]
    expected: Table
    parents: tuple[str, ...] = ()
    takes_nulls: bool = False
    takes_no_rows: bool = True
    parties: tuple[int, ...] = (2, 3)
    many: int = 200
    unpack: Callable[[Any, Batch], Table] | None = None
    context: ComputeContext = field(default_factory=lambda: ComputeContext(PARTY, PARTY))
    cluster: Cluster = field(default_factory=lambda: Cluster(PARTY, (PARTY, "bob"), {}, b""))
    execution: Sequence[Operator] = ()
    execution_inputs: Mapping[str, Any] = field(default_factory=dict)


class OperatorContract(OptionsContract):
    """Rules that every operator keeps; a subclass defines the fixture `case`, an `OperatorCase`."""

    contract_kind: ClassVar[Kind] = "operator"
    contract_title: ClassVar[str] = "operator"

    # ----------------------------------------------------------------------------------- using an operator
    def make(
        self,
        case: OperatorCase,
        changes: Mapping[str, Any] | None = None,
        name: str = "node",
        version: str | None = None,
    ) -> Operator:
        """The case's operator, prepared; with other attributes where there are changes."""
        cls = installed().operator(case.component)
        attributes = {key: value for key, value in {**case.attributes, **(changes or {})}.items() if value is not None}
        operator = make_operator(cls, attributes, case.parents, name=name, version=version, options=case.options)
        operator.prepare(case.cluster)
        return operator

    def inputs(
        self, case: OperatorCase, operator: Operator, count: int | None = None, form: Form | None = None
    ) -> Inputs:
        """The case's tables, or `count` rows of each, which begin again where there are fewer; in some form."""
        schemas = operator.input_schemas()
        assert len(schemas) == len(case.inputs), f"{len(schemas)} input schemas for {len(case.inputs)} inputs"
        make = partial(_made, form=form or _columns, count=count)
        if operator.definition.mergeable:
            return [[make(s, table) for table in tables] for s, tables in zip(schemas, case.inputs, strict=True)]
        return [make(schema, table) for schema, table in zip(schemas, case.inputs, strict=True)]

    def _rows(self, case: OperatorCase, operator: Operator, inputs: Inputs) -> Table:
        return _unpacked(case, operator, operator.compute(case.context, *inputs))

    # ---------------------------------------------------------------------------- rules: what it says of itself
    def test_it_is_described(self, case: OperatorCase) -> None:
        """`sfs plugins explain` shows what it does, and what each attribute means."""
        definition = installed().operator(case.component).definition
        assert definition.description, "its class has no docstring"
        assert definition.version, "it has no version"
        for attribute in definition.attributes:
            assert attribute.description, f"attribute {attribute.name!r} has no description"

    def test_mandatory_attributes_are_needed(self, case: OperatorCase) -> None:
        """A node without one is refused when the model is loaded."""
        for attribute in installed().operator(case.component).definition.attributes:
            if attribute.name in case.attributes and not _is_optional(attribute.default):
                with pytest.raises(GraphError, match=attribute.name):
                    self.make(case, {attribute.name: None})

    def test_attributes_of_another_type_are_refused(self, case: OperatorCase) -> None:
        """A list of numbers is no text."""
        for attribute in installed().operator(case.component).definition.attributes:
            wrong = AttributeValue("s", "7") if attribute.case != "s" else AttributeValue("i64s", [7])
            with pytest.raises(GraphError, match=attribute.name):
                self.make(case, {attribute.name: wrong})

    def test_another_version_is_served_unless_it_says_otherwise(self, case: OperatorCase) -> None:
        """With `exact_version`, a node of another version is refused; without, versions make no difference."""
        if installed().operator(case.component).definition.exact_version:
            with pytest.raises(GraphError):
                self.make(case, version=_OTHER_VERSION)
        else:
            self.make(case, version=_OTHER_VERSION)

    def test_extensions_are_named_after_the_plugin(self, case: OperatorCase) -> None:
        """What it announces to the other parties has names of the form `plugin/extension`, the same every time."""
        operator = self.make(case)
        announced = extensions_of([operator])
        assert extensions_of([operator]) == announced, "it announces other extensions when it is asked again"

    # --------------------------------------------------------------------------------- rules: what it computes
    def test_the_output_is_as_expected(self, case: OperatorCase) -> None:
        """The case's rows give the case's results."""
        operator = self.make(case)
        _assert_close(self._rows(case, operator, self.inputs(case, operator)), case.expected)

    def test_the_output_has_the_declared_schema(self, case: OperatorCase) -> None:
        """The very schema that `output_schema` gives, whatever the number of rows."""
        operator = self.make(case)
        for count in (1, case.many):
            output = operator.compute(case.context, *self.inputs(case, operator, count))
            if len(operator.output_schema()):
                assert output.schema is operator.output_schema()
            output.to_arrow().validate(full=True)

    def test_no_rows_give_no_rows(self, case: OperatorCase) -> None:
        """An empty table is computed with, or refused by an operator whose case says so."""
        if case.takes_no_rows:
            self._assert_rows(case, 0)
        else:
            operator = self.make(case)
            error = _error(operator, case.context, self.inputs(case, operator, 0))
            assert error is not None, "the case says that it refuses tables without rows"
            assert_is_ours(error)

    def test_one_row_gives_one_row(self, case: OperatorCase) -> None:
        """A single row has the result that it has among others."""
        self._assert_rows(case, 1)

    def test_many_rows_give_as_many_rows(self, case: OperatorCase) -> None:
        """A row's result does not depend on how many others there are."""
        self._assert_rows(case, case.many)

    def _assert_rows(self, case: OperatorCase, count: int) -> None:
        operator = self.make(case)
        rows = self._rows(case, operator, self.inputs(case, operator, count))
        assert len(rows) == count
        _assert_close(rows, _cycled(case.expected, count))

    def test_all_forms_of_a_batch_agree(self, case: OperatorCase) -> None:
        """Rows, one matrix, NumPy columns and Arrow columns hold the same values."""
        if _all_packed(case.inputs):
            pytest.skip("its inputs are packed, which is a form of its own")
        for count in (1, 2, case.many):
            operator = self.make(case)
            found = {
                name: self._rows(case, operator, self.inputs(case, operator, count, form))
                for name, form in _FORMS.items()
            }
            for name, rows in found.items():
                assert _are_close(rows, found["columns"]), f"{name}: {rows[:5]}\ncolumns: {found['columns'][:5]}"

    def test_equal_inputs_give_equal_outputs(self, case: OperatorCase) -> None:
        """Again, and by another instance."""
        one, other = self.make(case), self.make(case)
        first, *others = [self._rows(case, each, self.inputs(case, each)) for each in (one, one, other)]
        for rows in others:
            assert_same_rows(rows, first)

    def test_its_inputs_stay_as_they_are(self, case: OperatorCase) -> None:
        """Tables belong to others, too: nobody writes into them."""
        operator = self.make(case)
        inputs = self.inputs(case, operator)
        before = copy.deepcopy([plain_rows(batch) for batch in _flat(inputs)])
        operator.compute(case.context, *inputs)
        for batch, rows in zip(_flat(inputs), before, strict=True):
            assert_same_rows(plain_rows(batch), rows)

    def test_threads_do_not_disturb_each_other(self, case: OperatorCase) -> None:
        """One instance serves all requests."""
        operator = self.make(case)
        one, many = [self.inputs(case, operator, count) for count in (1, case.many)]
        expected = [self._rows(case, operator, inputs) for inputs in (one, many)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda inputs: self._rows(case, operator, inputs), [one, many] * 8))
        for rows, alone in zip(results, expected * 8, strict=True):
            assert_same_rows(rows, alone)

    def test_row_wise_outputs_follow_from_the_row(self, case: OperatorCase) -> None:
        """With `row_wise`, a row gives the same output whoever asks and each time: servers may remember that."""
        operator = self.make(case)
        if not operator.row_wise:
            pytest.skip("it does not say that it works row by row")
        inputs = self.inputs(case, operator)
        first, *others = [
            plain_rows(operator.compute(ComputeContext(case.context.party, requester), *inputs))
            for requester in (*case.cluster.parties, *case.cluster.parties)
        ]
        for rows in others:
            assert_same_rows(rows, first)

    def test_it_touches_memory_only(self, case: OperatorCase) -> None:
        """It reaches out to nobody, and unless it is `heavy` it is called on the event loop, where it may not wait."""
        operator = self.make(case)
        inputs = self.inputs(case, operator, 1)
        with Connections() as connections:
            waits = voluntary_waits(lambda: operator.compute(case.context, *inputs), 1 if operator.heavy else 20)
        assert not connections.seen, "compute reaches out to others"
        assert operator.heavy or not waits, f"compute waits {waits} time(s) or more; set `heavy = True`"

    # ------------------------------------------------------------------------------- rules: what it refuses
    def test_nulls_are_refused_or_computed(self, case: OperatorCase) -> None:
        """A null where a value is needed is an error; it is not zero."""
        operator = self.make(case)
        for inputs in _with_a_null(self.inputs(case, operator)):
            error = _error(operator, case.context, inputs)
            assert error is None or isinstance(error, SfsError), f"{type(error).__name__} came out; raise an SfsError"
            assert case.takes_nulls or error, "a null was computed with as if it were a value"
            assert not (case.takes_nulls and error), f"the case says that it takes nulls: {error}"

    def test_odd_numbers_are_computed_or_refused(self, case: OperatorCase) -> None:
        """NaN, infinities and large numbers reach a server: there is a result or an SfsError, and no crash."""
        operator = self.make(case)
        for odd in (math.nan, math.inf, -math.inf, 1e308, -0.0):
            if error := _error(operator, case.context, self.inputs(case, operator, form=_all_odd(odd))):
                assert_is_ours(error)

    # ------------------------------------------------------------------------------ rules: parties and fusion
    def test_it_merges_the_tables_of_parties(self, case: OperatorCase) -> None:
        """A mergeable operator takes the tables of two parties, and of three."""
        operator = self.make(case)
        if not operator.definition.mergeable:
            pytest.skip("it is not mergeable")
        inputs = self.inputs(case, operator)
        for parties in case.parties:
            some = [[tables[i % len(tables)] for i in range(parties)] for tables in inputs]
            assert len(self._rows(case, operator, some)) == len(case.expected)

    def test_fused_nodes_compute_what_single_ones_do(self, case: OperatorCase) -> None:
        """Whether nodes are fused, nobody can tell from tables or errors."""
        cls = installed().operator(case.component)
        if cls.fuse.__func__ is Operator.fuse.__func__:  # type: ignore[attr-defined]
            pytest.skip("it fuses nothing")
        operators = case.execution or [self.make(case, name=f"node{i}") for i in range(3)]
        fused: set[Any] = set()
        outputs = [o.node.name for o in operators if not any(o.node.name in p.node.parents for p in operators)]
        packed = _all_packed([*case.inputs, *case.execution_inputs.values()])
        for form in [_columns] if packed else _FORMS.values():
            for count in (0, 1, 2, case.many):
                features, tables = self._execution_inputs(case, operators, form, count)
                fused.update(
                    assert_fused_equals_single(
                        operators, outputs, features, tables, context=case.context, unpack=partial(_unpacked, case)
                    )
                )
        assert fused, "nothing was fused: give the case an `execution` in which it fuses"

    def _execution_inputs(
        self, case: OperatorCase, operators: Sequence[Operator], form: Form, count: int
    ) -> tuple[Batch | None, dict[str, list[Batch]]]:
        """The case's tables, as the features and the outside tables that operators ask for."""
        inside = {operator.node.name for operator in operators}
        features, tables = None, {}
        for operator in operators:
            schemas, parents = operator.input_schemas(), operator.node.parents or (None,)
            for i, (parent, schema) in enumerate(zip(parents, schemas, strict=True)):
                table = case.execution_inputs.get(parent or "", case.inputs[min(i, len(case.inputs) - 1)])
                own = list(table) if operator.definition.mergeable else [table]
                made = [_made(schema, each, form, count) for each in own] if parent not in inside else []
                if parent is None:
                    features = made[0]
                elif parent not in inside:
                    tables[parent] = made
        return features, tables


# ---------------------------------------------------------------------------------------------- making tables
def _by_rows(schema: Schema, rows: Table) -> Batch:
    return Batch.from_rows(schema, rows)


def _columns(schema: Schema, rows: Table) -> Batch:
    """NumPy columns where they can be, else Arrow's; also for types whose rows are kept as they are."""
    return Batch.from_arrow(_arrow(schema, rows).to_arrow()) if not len(schema) else _numpy(_arrow(schema, rows))


def _arrow(schema: Schema, rows: Table) -> Batch:
    values = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, type_) for column, type_ in zip(values, schema.types, strict=True)]
    return Batch.from_columns(schema, arrays, len(rows))


def _numpy(batch: Batch) -> Batch:
    plain = (pa.types.is_integer, pa.types.is_float32, pa.types.is_float64, pa.types.is_boolean)
    columns = [
        np.array(column)  # may be written to, so that it shows who does
        if any(is_plain(column.type) for is_plain in plain) and not column.null_count
        else column
        for column in map(batch.arrow, range(len(batch.schema)))
    ]
    return Batch.from_columns(batch.schema, columns, batch.num_rows)


def _matrix(schema: Schema, rows: Table) -> Batch:
    if not schema.all_float64:
        return _columns(schema, rows)
    return Batch.from_matrix(schema, np.array(rows, np.float64).reshape(len(rows), len(schema)))


_FORMS: Final = {"columns": _columns, "rows": _by_rows, "matrix": _matrix, "arrow": _arrow}


def _made(schema: Schema, table: Table | PackedTable, form: Form, count: int | None) -> Batch:
    """A table of a case, in a form of rows; a packed one has a form of its own."""
    rows, make = (table.rows, table.pack) if isinstance(table, PackedTable) else (table, form)
    return make(schema, rows if count is None else _cycled(rows, count))


def _cycled(rows: Table, count: int) -> list[Row]:
    return [rows[i % len(rows)] for i in range(count)]


def _flat(inputs: Inputs) -> list[Batch]:
    return [batch for each in inputs for batch in (each if isinstance(each, list) else [each])]


def _all_packed(inputs: Sequence[Any]) -> bool:
    """Whether no table has rows of plain values: each input is a table, or a list with one of each party."""
    tables = [each if isinstance(each, list) and isinstance(each[0], PackedTable) else [each] for each in inputs]
    return all(isinstance(table, PackedTable) for of_parent in tables for table in of_parent)


def _unpacked(case: OperatorCase, operator: Operator, output: Batch) -> Table:
    """The rows that an output stands for."""
    return plain_rows(output) if case.unpack is None else case.unpack(operator, output)


def _with_a_null(inputs: Inputs) -> Iterator[Inputs]:
    """The inputs, with a null in the last row of one column in turn."""
    for parent, tables in enumerate(inputs):
        table = tables[-1] if isinstance(tables, list) else tables
        for column in range(len(table.schema)):
            arrays = [table.arrow(i) for i in range(len(table.schema))]
            values = arrays[column].to_pylist()
            arrays[column] = pa.array([*values[:-1], None], arrays[column].type)
            broken = Batch.from_columns(table.schema, arrays, table.num_rows)
            changed: Any = [*tables[:-1], broken] if isinstance(tables, list) else broken
            yield [*inputs[:parent], changed, *inputs[parent + 1 :]]


def _all_odd(odd: float) -> Form:
    """Makes tables with this number wherever a float64 stands."""

    def make(schema: Schema, rows: Table) -> Batch:
        floats = [type_ == pa.float64() for type_ in schema.types]
        changed = [tuple(odd if is_float else v for v, is_float in zip(row, floats, strict=True)) for row in rows]
        return _columns(schema, changed)

    return make


def _error(operator: Operator, context: ComputeContext, inputs: Inputs) -> Exception | None:
    """What the operator raises, or None."""
    try:
        with np.errstate(all="ignore"):  # as servers have it
            operator.compute(context, *inputs)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


def _is_optional(default: Any) -> bool:
    return repr(default) != "required"


def _assert_close(found: Table, expected: Table) -> None:
    assert _are_close(found, expected), f"{list(found[:5])}\nis not {list(expected[:5])}"


def _are_close(found: Table, expected: Table) -> bool:
    """Equal, floats to 1e-9: sums may be taken in another order."""
    if len(found) != len(expected):
        return False
    pairs = [pair for rows in zip(found, expected, strict=True) for pair in zip(*rows, strict=True)]
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in pairs
    )
