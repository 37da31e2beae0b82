"""Schema and Batch: the tables that flow between feature sources, operators and parties.

A batch keeps the form in which it was made and makes the other forms once, on demand:

* *rows*: a list of tuples of plain Python values, never None, each one that its column's type can hold: a float32
  column's values are exact float32 numbers. Fastest for a few rows.
* *matrix*: one float64 array, rows x columns.
* *columns*: per column a 1-D NumPy array (numbers and booleans without nulls), a 2-D uint8 array
  (binary values of one common width, rows x bytes) or a pyarrow Array (everything else).

The number of rows is always explicit: a table without columns still has rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, ClassVar, Final, cast, final
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sfs_core.errors import ErrorCode, FeatureError, GraphError, SfsError

__all__ = ["Batch", "Column", "Projector", "Row", "Schema"]

Row = tuple[Any, ...]
Column = Any  # np.ndarray | pa.Array: pyarrow carries no types
FloatMatrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

_FLOAT64: Final = pa.float64()
_BINARY: Final = pa.binary()
_EXACT_INTEGER: Final = 1 << 53
_NUMPY_TYPES: Final[dict[Any, type[np.generic]]] = {
    pa.bool_(): np.bool_,
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint8(): np.uint8,
    pa.uint16(): np.uint16,
    pa.uint32(): np.uint32,
    pa.uint64(): np.uint64,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}
_EXACT_TYPES: Final = frozenset(_NUMPY_TYPES) - {pa.bool_(), pa.int64(), pa.uint64()}
# Types whose values a row can hold as they are, with nothing but a type test to prove it.
_ROW_TYPES: Final[dict[Any, type]] = {_FLOAT64: float, pa.utf8(): str, pa.bool_(): bool, _BINARY: bytes}


@final
class Schema:
    """Ordered fields (name, Arrow type, nullable), equal by these and not by metadata.

    Schemas are interned: equal ones are the same object, so `is` compares them.
    """

    __slots__ = ("__weakref__", "all_exact", "all_float64", "arrow", "index", "names", "row_types", "types", "wide")

    names: tuple[str, ...]
    types: tuple[Any, ...]
    arrow: Any
    """The pyarrow schema, without metadata."""
    index: dict[str, int]
    """Position of each name; of the last field where a name repeats."""
    all_float64: bool
    all_exact: bool
    """Whether all columns are of numbers that float64 holds exactly: floats, and integers of up to 32 bits."""
    wide: tuple[int, ...]
    """Positions of the 64-bit integer columns, whose values float64 may not hold exactly."""
    row_types: tuple[type, ...] | None
    """Python types of a row's values, or None where rows must be converted by Arrow."""

    _known: ClassVar[WeakValueDictionary[Any, Schema]] = WeakValueDictionary()

    def __new__(cls, fields: Iterable[tuple[str, Any]] = ()) -> Schema:
        """The schema of nullable fields (name, Arrow type), as the reference creates them."""
        return cls.from_arrow(pa.schema([pa.field(name, type_) for name, type_ in fields]))

    @classmethod
    def from_arrow(cls, schema: Any) -> Schema:
        """The interned schema that equals a pyarrow one, metadata apart."""
        # Text stands for types: hashing a pyarrow type makes it anyway, and fails when the interpreter shuts down.
        key = tuple((field.name, str(field.type), field.nullable) for field in schema)
        known = cls._known.get(key)
        if known is not None:
            return known
        made = object.__new__(cls)
        made.names = tuple(field.name for field in schema)
        made.types = tuple(field.type for field in schema)
        made.arrow = pa.schema([pa.field(field.name, field.type, field.nullable) for field in schema])
        made.index = {name: i for i, name in enumerate(made.names)}
        made.all_float64 = bool(key) and all(type_ == _FLOAT64 for type_ in made.types)
        made.all_exact = bool(key) and all(type_ in _EXACT_TYPES for type_ in made.types)
        made.wide = tuple(i for i, type_ in enumerate(made.types) if type_ in (pa.int64(), pa.uint64()))
        plain = all(type_ in _ROW_TYPES for type_ in made.types)
        made.row_types = tuple(_ROW_TYPES[type_] for type_ in made.types) if plain else None
        return cls._known.setdefault(key, made)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Schema({', '.join(f'{n}: {t}' for n, t in zip(self.names, self.types, strict=True))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Schema.from_arrow, (self.arrow,)


@final
class Batch:
    """Named columns of equal length. Immutable by contract: nobody writes into what it hands out."""

    __slots__ = ("_columns", "_matrix", "_rows", "num_rows", "schema")

    def __init__(
        self,
        schema: Schema,
        num_rows: int,
        columns: Sequence[Column] | None = None,
        matrix: FloatMatrix | None = None,
        rows: Sequence[Row] | None = None,
    ) -> None:
        """Trusts its arguments: exactly one form, of `num_rows` rows and `schema`'s types. See the `from_*` makers."""
        self.schema = schema
        self.num_rows = num_rows
        self._columns = columns
        self._matrix = matrix
        self._rows = rows

    # ------------------------------------------------------------------ makers
    @classmethod
    def from_rows(cls, schema: Schema, rows: Sequence[Row]) -> Batch:
        """A batch of tuples of Python values in the schema's order.

        Values are checked against the schema. Rows that hold None, or a type that only Arrow can check
        (integers, float32, dates), become columns at once.

        Raises:
            FeatureError: a row has the wrong number of values, or a value does not fit its type
                (names column and row index, never the value).
        """
        width, types = len(schema), schema.row_types
        if types is not None and all(len(row) == width and tuple(map(type, row)) == types for row in rows):
            return cls(schema, len(rows), None, None, rows)
        for i, row in enumerate(rows):
            if len(row) != width:
                raise FeatureError(f"row {i} has {len(row)} values, the schema has {width} columns")
        values = zip(*rows, strict=True) if rows else [()] * width
        return cls(schema, len(rows), [_arrow_column(v, schema, i) for i, v in enumerate(values)] if width else [])

    @classmethod
    def from_matrix(cls, schema: Schema, matrix: FloatMatrix) -> Batch:
        """A batch of float64 columns from a float64 array of shape (rows, columns)."""
        if matrix.dtype != np.float64 or matrix.ndim != 2 or matrix.shape[1] != len(schema) or not schema.all_float64:
            raise FeatureError(f"a {matrix.dtype} array of shape {matrix.shape} is no matrix of {schema}")
        return cls(schema, len(matrix), None, matrix)

    @classmethod
    def from_columns(cls, schema: Schema, columns: Sequence[Column], num_rows: int) -> Batch:
        """A batch of NumPy or pyarrow columns in the schema's order; lengths and types are checked.

        Raises:
            FeatureError: a column's length or type is not the declared one.
        """
        if len(columns) != len(schema):
            raise FeatureError(f"{len(columns)} columns given, the schema has {len(schema)}")
        checked = [_declared(column, schema, i, num_rows) for i, column in enumerate(columns)]
        return cls(schema, num_rows, checked)

    @classmethod
    def from_arrow(cls, batch: Any) -> Batch:
        """A batch around a pyarrow RecordBatch (or a Table, which is combined); shares its memory."""
        if isinstance(batch, pa.Table):
            batch = pa.RecordBatch.from_struct_array(batch.to_struct_array().combine_chunks())
        return cls(Schema.from_arrow(batch.schema), batch.num_rows, batch.columns)

    # ------------------------------------------------------------------- forms
    @property
    def form(self) -> str:
        """The form this batch was made in: `rows`, `matrix` or `columns`."""
        if self._columns is not None:
            return "columns"
        return "rows" if self._rows is not None else "matrix"

    @property
    def has_rows(self) -> bool:
        """Whether the rows form is there already, so that `rows()` costs nothing."""
        return self._rows is not None

    def rows(self) -> Sequence[Row]:
        """All rows as tuples of Python values.

        Raises:
            FeatureError: a value is null (the rows form holds no None).
        """
        if self._rows is None:
            if self._matrix is not None:
                self._rows = [tuple(row) for row in self._matrix.tolist()]
            elif self._columns:
                lists = [_plain_values(c, self.schema.names[i]) for i, c in enumerate(self._columns)]
                self._rows = list(zip(*lists, strict=True))
            else:
                self._rows = [()] * self.num_rows
        return self._rows

    def matrix(self) -> FloatMatrix:
        """All columns as one float64 array of shape (rows, columns).

        Raises:
            FeatureError: a value is null (code 3), or a column is not of numbers.
            SfsError: an integer beyond 2**53 (code 2).
        """
        if self._matrix is None:
            if self._rows is not None and self.schema.all_exact:
                matrix = np.array(self._rows, np.float64) if self._rows else np.empty((0, len(self.schema)))
            else:
                matrix = np.empty((self.num_rows, len(self.schema)))
                for i in range(len(self.schema)):
                    matrix[:, i] = self.float64(i)
            self._matrix = matrix
        return self._matrix

    def column(self, i: int) -> Column:
        """Column `i` in whichever column form is at hand (NumPy or pyarrow)."""
        if self._columns is not None:
            return self._columns[i]
        if self._matrix is not None:
            return self._matrix[:, i]
        assert self._rows is not None
        values = [row[i] for row in self._rows]
        dtype = _NUMPY_TYPES.get(self.schema.types[i])
        return pa.array(values, self.schema.types[i]) if dtype is None else np.array(values, dtype)

    def float64(self, i: int) -> Vector:
        """Column `i` as float64 numbers.

        Raises:
            FeatureError: a value is null, or the column is not of numbers (code 3).
            SfsError: an integer beyond 2**53, which float64 cannot hold exactly (code 2).
        """
        if self._matrix is not None:
            return self._matrix[:, i]
        column, name = self.column(i), self.schema.names[i]
        if not isinstance(column, np.ndarray):
            column = _to_numpy(column, name)
        if column.dtype == np.float64 and column.ndim == 1:
            return cast(Vector, column)
        if column.dtype.kind not in "iufb" or column.ndim != 1:
            raise FeatureError(f"column {name!r} holds {self.schema.types[i]}, not numbers")
        if i in self.schema.wide and len(column):
            beyond = (column > _EXACT_INTEGER) | (column < -_EXACT_INTEGER)
            if beyond.any():
                raise SfsError(
                    f"column {name!r}, row {int(beyond.argmax())}: an integer beyond 2^53 is not exact as float64",
                    code=ErrorCode.UNEXPECTED_ERROR,
                )
        return cast(Vector, column.astype(np.float64))

    def arrow(self, i: int) -> Any:
        """Column `i` as a pyarrow Array of the declared type."""
        column = self.column(i)
        return _to_arrow(column, self.schema.types[i]) if isinstance(column, np.ndarray) else column

    def to_arrow(self) -> Any:
        """The whole batch as a pyarrow RecordBatch; keeps the row count where there are no columns."""
        if not len(self.schema):
            return pa.RecordBatch.from_struct_array(pa.array([{}] * self.num_rows, pa.struct([])))
        return pa.RecordBatch.from_arrays([self.arrow(i) for i in range(len(self.schema))], schema=self.schema.arrow)

    # ------------------------------------------------------------------ shaping
    def renamed(self, schema: Schema) -> Batch:
        """The same data under another schema of the same types (feature mapping)."""
        if schema.types != self.schema.types:
            raise FeatureError(f"{self.schema} cannot be renamed to {schema}")
        return Batch(schema, self.num_rows, self._columns, self._matrix, self._rows)

    def part(self, start: int, end: int) -> Batch:
        """The rows from `start` up to, not including, `end`; shares memory."""
        if self._rows is not None:
            return Batch(self.schema, end - start, None, None, self._rows[start:end])
        if self._matrix is not None:
            return Batch(self.schema, end - start, None, self._matrix[start:end])
        assert self._columns is not None
        return Batch(self.schema, end - start, [column[start:end] for column in self._columns])

    def take(self, order: Sequence[int]) -> Batch:
        """The rows at the given indices, in that order; indices may repeat."""
        if self._rows is not None:
            return Batch(self.schema, len(order), None, None, [self._rows[i] for i in order])
        picked = np.asarray(order, np.int64)
        if self._matrix is not None:
            return Batch(self.schema, len(order), None, self._matrix.take(picked, 0))
        assert self._columns is not None
        columns = [c.take(picked, 0) if isinstance(c, np.ndarray) else c.take(pa.array(picked)) for c in self._columns]
        return Batch(self.schema, len(order), columns)


class Projector:
    """Brings batches to a wanted schema: columns picked by name, extra ones dropped.

    Rule 2 of the reference's run-time table rules; a wanted schema without fields passes everything unchanged.
    How to reorder is remembered per incoming schema.
    """

    __slots__ = ("_known", "wanted")

    def __init__(self, wanted: Schema) -> None:
        self.wanted = wanted
        self._known: dict[Schema, tuple[tuple[int, ...], Any]] = {}

    def __call__(self, batch: Batch) -> Batch:
        """`batch` with exactly the wanted columns.

        Raises:
            GraphError: a column is missing or ambiguous (code 7), or of another type (code 2).
        """
        if batch.schema is self.wanted or not len(self.wanted):
            return batch
        known = self._known.get(batch.schema)
        if known is None:
            order = column_order(batch.schema, self.wanted)
            if len(self._known) >= 64:  # schemas come from peers too: do not grow for ever
                self._known.clear()
            known = self._known[batch.schema] = order, row_getter(order)
        order, pick = known
        if batch._rows is not None:
            return Batch(self.wanted, batch.num_rows, None, None, [pick(row) for row in batch._rows])
        if batch._matrix is not None:
            return Batch(self.wanted, batch.num_rows, None, batch._matrix.take(order, 1))
        assert batch._columns is not None
        return Batch(self.wanted, batch.num_rows, [batch._columns[i] for i in order])


def column_order(source: Schema, wanted: Schema) -> tuple[int, ...]:
    """Where in `source` each wanted column stands.

    Raises:
        GraphError: a column is missing or ambiguous (code 7), or of another type (code 2).
    """
    order = []
    for name, type_ in zip(wanted.names, wanted.types, strict=True):
        found = source.names.count(name)
        if found != 1:
            raise GraphError(f"column {name!r} is {'missing' if not found else 'ambiguous'} in the input table")
        at = source.index[name]
        if source.types[at] != type_:
            raise GraphError(
                f"column {name!r} is {source.types[at]} in the input table, {type_} is needed",
                code=ErrorCode.UNEXPECTED_ERROR,
            )
        order.append(at)
    return tuple(order)


def row_getter(order: Sequence[int]) -> Any:
    """A function that picks the given positions of a row, always as a tuple."""
    if len(order) == 1:
        only = order[0]
        return lambda row: (row[only],)
    return itemgetter(*order) if order else lambda _: ()


# ---------------------------------------------------------------------- columns
def _arrow_column(values: Sequence[Any], schema: Schema, i: int) -> Column:
    type_, name = schema.types[i], schema.names[i]
    try:
        column = pa.array(values, type_)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        raise FeatureError(f"column {name!r}, row {_first_unfit(values, type_)}: the value is no {type_}") from None
    return _numpy_if_plain(column)


def _first_unfit(values: Sequence[Any], type_: Any) -> int:
    for i, value in enumerate(values):
        try:
            pa.array([value], type_)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return i
    return 0


def _numpy_if_plain(column: Any) -> Column:
    if column.type in _NUMPY_TYPES and not column.null_count:
        return column.to_numpy(zero_copy_only=False)
    return column


def _declared(column: Column, schema: Schema, i: int, num_rows: int) -> Column:
    name, type_ = schema.names[i], schema.types[i]
    if len(column) != num_rows:
        raise FeatureError(f"column {name!r} has {len(column)} values, {num_rows} rows are expected")
    if isinstance(column, np.ndarray):
        fits = column.dtype == _NUMPY_TYPES.get(type_) if column.ndim == 1 else False
        fits = fits or (column.ndim == 2 and column.dtype == np.uint8 and type_ == _BINARY)
    else:
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        fits = column.type == type_
    if not fits:
        is_array = isinstance(column, np.ndarray)
        found = f"{column.dtype} with {column.ndim} dimension(s)" if is_array else str(column.type)
        raise FeatureError(f"column {name!r} is {found}, the schema says {type_}")
    return column


def _to_numpy(column: Any, name: str) -> Any:
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise FeatureError(
            f"column {name!r}, row {row}: null where a number is needed",
            hint="fill the value at the feature source, or let the model fill it (fillna) before this node",
        )
    if column.type not in _NUMPY_TYPES:
        raise FeatureError(f"column {name!r} holds {column.type}, not numbers")
    return column.to_numpy(zero_copy_only=False)


def _plain_values(column: Column, name: str) -> list[Any]:
    if isinstance(column, np.ndarray):
        if column.ndim == 2:
            return [row.tobytes() for row in column]
        return list(column.tolist())
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise FeatureError(f"column {name!r}, row {row}: null where a value is needed")
    return list(column.to_pylist())


def _to_arrow(column: npt.NDArray[Any], type_: Any) -> Any:
    if column.ndim == 1:
        return pa.array(column, type_)
    rows, width = column.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    data = pa.py_buffer(np.ascontiguousarray(column))
    return pa.Array.from_buffers(_BINARY, rows, [None, pa.py_buffer(offsets), data])
