"""A compiled computation: calls of Arrow functions over numbered slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    def __init__(
        self, schema: Schema, constants: Sequence[Any], calls: Sequence[Call], result: Sequence[Field]
    ) -> None:
        self._input_types = schema.types
        self._constants = list(constants)
        self._calls = tuple(calls)
        self._result = tuple(result)
        width = len(schema)
        read = {slot for call in self._calls for slot in call.inputs if slot < width}
        self._read = tuple(sorted(read))
        self._passed = tuple(sorted({field.slot for field in self._result if field.slot < width} - read))
        self._schema: Schema | None = None

    def run(self, table: Batch) -> Batch:
        """The resulting table, in column form, with the schema that came out.

        Raises:
            SfsError: a call failed (code 2); names the function and, where the values are at fault, the row.
        """
        values = self._constants.copy()
        for slot in self._read:
            values[slot] = table.arrow(slot)
        for slot in self._passed:
            values[slot] = table.column(slot)
        for number, call in enumerate(self._calls):
            arguments = [values[slot] for slot in call.inputs]
            try:
                result = call.function.call(arguments, call.options)
            except pa.ArrowException as error:
                raise _failure(number, call, arguments, type(error).__name__, table.num_rows) from None
            values[call.output] = pa.repeat(result, table.num_rows) if call.only_scalars else result
        if self._schema is None:  # the types follow from the input's, so they are the same in every run
            self._schema = self._result_schema(values)
        return Batch(self._schema, table.num_rows, [values[field.slot] for field in self._result])

    def _result_schema(self, values: Sequence[Any]) -> Schema:
        types = [
            self._input_types[field.slot] if field.slot < len(self._input_types) else values[field.slot].type
            for field in self._result
        ]
        fields = [pa.field(f.name, type_, f.nullable) for f, type_ in zip(self._result, types, strict=True)]
        return Schema.from_arrow(pa.schema(fields))


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
