"""A compiled computation: calls of Arrow functions over numbered slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from sfs_core import Batch, Schema, SfsError

__all__ = ["Call", "Field", "Program"]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a table: its name, whether it may hold nulls, and the slot with its values."""

    name: str
    nullable: bool
    slot: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an Arrow function.

    Args:
        function: the `pyarrow.compute.Function`.
        options: its `FunctionOptions`, or None for the defaults.
        inputs: the slots of the arguments.
        output: the slot of the result.
        only_scalars: every argument is a constant, so the result is one value for all rows.
    """

    function: Any
    options: Any
    inputs: tuple[int, ...]
    output: int
    only_scalars: bool


class Program:
    """What a trace does to a table. Several threads may run one program at the same time.

    Args:
        schema: the input table's; its columns are the first slots.
        constants: per slot the Arrow scalar that it holds, or None.
        calls: in order.
        result: the columns of the resulting table.

    Attributes:
        width: number of input columns.
    """

    def __init__(
        self, schema: Schema, constants: Sequence[Any], calls: Sequence[Call], result: Sequence[Field]
    ) -> None:
        self.input_schema = schema
        self.constants = list(constants)
        self.calls = tuple(calls)
        self.result = tuple(result)
        self.width = len(schema)
        read = {slot for call in self.calls for slot in call.inputs if slot < self.width}
        self._read = tuple(sorted(read))
        self._passed = tuple(sorted({field.slot for field in self.result if field.slot < self.width} - read))

    @classmethod
    def identity(cls, schema: Schema) -> Program:
        """A program whose result is its input."""
        fields = [Field(field.name, field.nullable, slot) for slot, field in enumerate(schema.arrow)]
        return cls(schema, [None] * len(fields), [], fields)

    def then(self, second: Program, columns: Sequence[int]) -> Program:
        """One program for this one and a second one on its result.

        Args:
            second: what follows.
            columns: which column of the result each input column of `second` is.
        """
        moved = [self.result[column].slot for column in columns]
        moved += range(len(self.constants), len(self.constants) + len(second.constants) - second.width)
        calls = [replace(c, inputs=tuple(moved[i] for i in c.inputs), output=moved[c.output]) for c in second.calls]
        result = [replace(field, slot=moved[field.slot]) for field in second.result]
        constants = self.constants + second.constants[second.width :]
        return Program(self.input_schema, constants, [*self.calls, *calls], result)

    @cached_property
    def samples(self) -> Sequence[Any] | None:
        """Per slot the Arrow scalar that it holds in every row, or an empty array of its type.

        None where a call fails without rows, so that it always fails.
        """
        values = self.constants.copy()
        values[: self.width] = [pa.array([], type_) for type_ in self.input_schema.types]
        samples = values.copy()
        for call in self.calls:
            try:
                result = call.function.call([values[slot] for slot in call.inputs], call.options)
            except pa.ArrowException:
                return None
            samples[call.output] = result
            values[call.output] = pa.repeat(result, 0) if call.only_scalars else result
        return samples

    @cached_property
    def schema(self) -> Schema | None:
        """The resulting table's; None where a call always fails."""
        samples = self.samples
        if samples is None:
            return None
        return Schema.from_arrow(pa.schema([pa.field(f.name, samples[f.slot].type, f.nullable) for f in self.result]))

    def run(self, table: Batch) -> Batch:
        """The resulting table, in column form, with the schema that came out.

        Raises:
            SfsError: a call failed (code 2); names the function and, where the values are at fault, the row.
        """
        values = self.constants.copy()
        for slot in self._read:
            values[slot] = table.arrow(slot)
        for slot in self._passed:
            values[slot] = table.column(slot)
        for number, call in enumerate(self.calls):
            arguments = [values[slot] for slot in call.inputs]
            try:
                result = call.function.call(arguments, call.options)
            except pa.ArrowException as error:
                raise _failure(number, call, arguments, type(error).__name__, table.num_rows) from None
            values[call.output] = pa.repeat(result, table.num_rows) if call.only_scalars else result
        assert self.schema is not None
        return Batch(self.schema, table.num_rows, [values[field.slot] for field in self.result])


def _failure(number: int, call: Call, arguments: Sequence[Any], kind: str, num_rows: int) -> SfsError:
    """What went wrong, without Arrow's own message, which may quote values."""
    types = ", ".join(str(argument.type) for argument in arguments)
    row = _failing_row(call, arguments, num_rows)
    return SfsError(
        f"Arrow function {call.function.name!r} (call {number} of the trace) failed on ({types}): {kind}",
        where="" if row is None else f"row {row}",
        hint="the recorded computation cannot process these types" if row is None else "look at this row's features",
    )


def _failing_row(call: Call, arguments: Sequence[Any], num_rows: int) -> int | None:
    """The first row that the call cannot process; None where it fails even without rows."""

    def fails(start: int, stop: int) -> bool:
        part = [a.slice(start, stop - start) if isinstance(a, pa.Array) else a for a in arguments]
        try:
            call.function.call(part, call.options)
        except pa.ArrowException:
            return True
        return False

    if fails(0, 0):
        return None
    start, stop = 0, num_rows
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if fails(start, middle) else (middle, stop)
    return start
