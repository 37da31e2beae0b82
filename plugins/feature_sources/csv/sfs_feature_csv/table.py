"""Reading a CSV file into columns of exact types, with the line of whatever is wrong."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.csv

from sfs_core import FeatureError, Schema

__all__ = ["NullPolicy", "read_table"]

NullPolicy = Literal["error", "keep"]

# Arrow's spellings of null without those that are floating-point values here: NaN is a value of a float column.
_NULLS: Final = (
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "1.#IND",
    "1.#QNAN",
    "N/A",
    "NA",
    "NULL",
    "n/a",
    "null",
)
_NOT_READ_DIRECTLY: Final = (pa.large_string(), pa.large_binary())
_SHOWN_LINES: Final = 5


def read_table(path: Path, id_column: str, schema: Schema, nulls: NullPolicy) -> tuple[dict[str, int], list[Any]]:
    """The file's ids with their row numbers, and the columns of `schema` as pyarrow arrays.

    Raises:
        FeatureError: the file or a column is missing, a value does not fit its type, is null against the policy, or
            an id occurs twice. Names file, line and column, never a value.
    """
    _check_header(path, id_column, schema)
    table = _parse(path, id_column, schema)
    columns = [table.column(name).combine_chunks() for name in schema.names]
    if nulls == "error":
        for name, column in zip(schema.names, columns, strict=True):
            if column.null_count:
                row = column.is_null().index(True).as_py()
                raise _error(
                    path,
                    f"column {name!r} is empty or null",
                    row,
                    "fill it, or let nulls reach the model with nulls: keep",
                )
    ids = table.column(id_column).to_pylist()
    index = {id_: row for row, id_ in enumerate(ids)}
    if len(index) < len(ids):
        raise _duplicates(path, id_column, ids)
    return index, columns


def _check_header(path: Path, id_column: str, schema: Schema) -> None:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), None)
    except OSError as error:
        raise FeatureError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    except (UnicodeDecodeError, csv.Error):
        raise FeatureError(f"{path}:1 is no CSV header in UTF-8") from None
    if not header:
        raise FeatureError(f"{path} is empty, a header is expected in its first line")
    counts = Counter(header)
    for name in (id_column, *schema.names):
        if counts[name] != 1:
            problem = "is missing" if not counts[name] else "stands twice in the header"
            hint = "name the column of ids with id_column" if name == id_column else "map it: features: {mapping: …}"
            raise FeatureError(f"{path}:1 column {name!r} {problem}", hint=hint)
    if id_column in schema.index:
        raise FeatureError(f"{path}: the model has a feature {id_column!r}, which is the column of ids")


def _parse(path: Path, id_column: str, schema: Schema) -> Any:
    types = {id_column: pa.utf8()} | {
        name: _read_type(type_) for name, type_ in zip(schema.names, schema.types, strict=True)
    }
    try:
        table = pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=list(_NULLS), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, OSError):
        raise _unfit(path, types) from None
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if type_ in _NOT_READ_DIRECTLY:
            at = table.column_names.index(name)
            table = table.set_column(at, name, table.column(name).cast(type_))
    return table


def _read_type(type_: Any) -> Any:
    return {pa.large_string(): pa.utf8(), pa.large_binary(): pa.binary()}.get(type_, type_)


def _unfit(path: Path, types: dict[str, Any]) -> FeatureError:
    """What is wrong with a file that Arrow refused; read again, slowly, only to find the place."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader)
        for row, cells in enumerate(reader):
            if cells and len(cells) != len(header):
                return _error(path, f"{len(cells)} cells, the header has {len(header)}", row)
            for name, cell in zip(header, cells, strict=False):
                if name in types and not _fits(cell, types[name]):
                    return _error(path, f"column {name!r} holds something that is no {types[name]}", row)
    return FeatureError(f"{path} is no CSV file in UTF-8")


def _fits(cell: str, type_: Any) -> bool:
    if pa.types.is_string(type_) or pa.types.is_binary(type_):
        return "\ufffd" not in cell
    convert = pa.csv.ConvertOptions(column_types={"x": type_}, null_values=list(_NULLS))
    quoted = cell.replace('"', '""')
    try:
        pa.csv.read_csv(pa.BufferReader(f'x,y\n"{quoted}",1\n'.encode()), convert_options=convert)
    except pa.ArrowException:
        return False
    return True


def _duplicates(path: Path, id_column: str, ids: Sequence[str]) -> FeatureError:
    counts = Counter(ids)
    rows = islice((row for row, id_ in enumerate(ids) if counts[id_] > 1), _SHOWN_LINES)
    lines = ", ".join(str(line) for line in _lines(path, list(rows)))
    more = sum(count for count in counts.values() if count > 1) - _SHOWN_LINES
    return FeatureError(
        f"{path}: column {id_column!r} holds ids twice, in lines {lines}{f' and {more} more' if more > 0 else ''}",
        hint="an id may stand for one row only",
    )


def _error(path: Path, problem: str, row: int, hint: str = "") -> FeatureError:
    return FeatureError(f"{path}:{_lines(path, [row])[0]} {problem}", hint=hint)


def _lines(path: Path, rows: Sequence[int]) -> list[int]:
    """The file lines in which rows end; rows may span lines, and empty lines are none."""
    wanted, lines, row = set(rows), [], -1
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        next(reader)
        for cells in reader:
            row += bool(cells)
            if cells and row in wanted:
                lines.append(reader.line_num)
                if len(lines) == len(wanted):
                    break
    return lines
