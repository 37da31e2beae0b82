"""A CSV file read into columns of exact types, with the line of whatever is wrong in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import pyarrow as pa
import pyarrow.csv

from sfs_core import ConfigError, ErrorCode, FeatureError

__all__ = ["CsvFile", "require_columns"]

_BLOCK_BYTES: Final = 8 << 20
"""Arrow reads block by block and refuses a row that is longer than one."""
_NULLS: Final = tuple(pa.csv.ConvertOptions().null_values)
# NaN is a value of a float column: models recognise it, and training data writes it so.
_FLOAT_NULLS: Final = tuple(text for text in _NULLS if text.lstrip("-").lower() != "nan")
# How Arrow's messages begin; what follows quotes the cell, which nobody may see.
_UNFIT_VALUE: Final = re.compile(r"In CSV column #(\d+): Row #(\d+): ")
_UNEVEN_ROW: Final = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+)")


class CsvFile:
    """A CSV file, held as bytes: comma separated, double-quoted where needed, UTF-8 with or without a mark.

    Rows count from 0, without the header and without empty lines; lines count from 1.

    Raises:
        ConfigError: the file cannot be read (code 5 where there is none).
        FeatureError: it has no header, or a quote that is never closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            content = file.read()
        # Arrow takes a header without a line end for no header at all.
        self._content = content if content.endswith((b"\n", b"\r")) else content + b"\n"
        self._header = _header_of(_text(BytesIO(self._content)), path)
        self._refuse_open_quote()

    def columns(self, types: Mapping[str, Any]) -> dict[str, Any]:
        """The named columns as pyarrow arrays of the given types; all of them are as long as the file has rows.

        An empty cell, or one that spells null (NA, null, …), is a null except in columns of text and bytes. So is NaN
        where integers or booleans are wanted; in columns of floats it is a value.

        Raises:
            ConfigError: a column is not there.
            FeatureError: a column's name stands twice in the header, a row has too few or too many cells, a value does
                not fit its type.
        """
        _require(types, self._header, self.path)
        floats = {name: type_ for name, type_ in types.items() if pa.types.is_floating(type_)}
        others = {name: type_ for name, type_ in types.items() if name not in floats}
        return {**self._parse(floats, _FLOAT_NULLS), **self._parse(others, _NULLS)}

    def refusal(self, problem: str, row: int, hint: str = "") -> FeatureError:
        """An error about a row, with its line."""
        return FeatureError(problem, where=self._place(row), hint=hint)

    def lines(self, rows: Collection[int]) -> dict[int, int]:
        """The lines in which the given rows begin (a quoted value may span lines).

        Rows behind a cell of more than 128 KiB, the limit of Python's reader, are left out.
        """
        wanted, found = set(rows), {}
        with suppress(csv.Error):
            for row, (line, _) in enumerate(islice(self._records(), 1, None)):
                if row in wanted:
                    found[row] = line
                    if len(found) == len(wanted):
                        break
        return found

    # ------------------------------------------------------------------ reading
    def _refuse_open_quote(self) -> None:
        """Arrow would take all that follows an open quote for one value, and the rows in it would be gone."""
        if self._content.count(b'"') % 2 == 0:
            return
        line = 1
        try:
            for line, _ in self._records(strict=True):  # noqa: B007 - read after the loop
                pass
        except csv.Error:
            raise FeatureError(
                "a quote in the row after this one is not closed", where=f"{self.path}:{line}", hint='"" stands for "'
            ) from None

    def _parse(self, types: Mapping[str, Any], null_values: Collection[str]) -> dict[str, Any]:
        if not types:
            return {}
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(self._content),
                # One thread: as fast as two, and only so do Arrow's messages say which row is wrong.
                pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                pa.csv.ParseOptions(newlines_in_values=True),
                pa.csv.ConvertOptions(
                    column_types=types, include_columns=list(types), null_values=list(null_values), check_utf8=True
                ),
            )
            return {name: table.column(name).combine_chunks() for name in types}
        except pa.ArrowException as error:
            raise self._refusal_of(error, types) from None

    def _refusal_of(self, error: Exception, types: Mapping[str, Any]) -> FeatureError:
        text = str(error)
        if found := _UNFIT_VALUE.match(text):
            column, row = map(int, found.groups())
            name = self._header[column]
            return self.refusal(f"the value of column {name!r} is no {types[name]}", row - 2)
        if found := _UNEVEN_ROW.match(text):
            row, expected, got = map(int, found.groups())
            return self.refusal(f"the row has {got} cells, the header {expected}", row - 2)
        if "straddling" in text:
            return FeatureError(
                f"a row is longer than {_BLOCK_BYTES >> 20} MiB", where=f"{self.path}", hint="is a quote missing?"
            )
        return FeatureError(f"the file cannot be read as CSV ({type(error).__name__})", where=f"{self.path}")

    # ----------------------------------------------------------------- locating
    def _place(self, row: int) -> str:
        line = self.lines([row]).get(row)
        return f"{self.path} row {row + 1}" if line is None else f"{self.path}:{line}"

    def _records(self, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        return _records_of(_text(BytesIO(self._content)), strict=strict)


def require_columns(path: Path, names: Collection[str]) -> None:
    """See that a file is there and has columns of these names, without reading more than its header.

    Raises:
        ConfigError: the file cannot be read (code 5 where there is none), or a column is not there.
        FeatureError: the file has no header, or a column's name stands there twice.
    """
    with _opened(path) as file, _text(file) as text:
        header = _header_of(text, path)
    _require(names, header, path)


def _require(names: Collection[str], header: Sequence[str], path: Path) -> None:
    for name in names:
        found = header.count(name)
        where = f"{path}:1"
        if not found:
            raise ConfigError(
                f"the file has no column {name!r}",
                where=where,
                hint="rename the column, or say its name here: `id_column` for ids, `mapping` for features",
            )
        if found > 1:
            raise FeatureError(f"the header names column {name!r} {found} times", where=where)


def _text(file: BinaryIO) -> TextIO:
    return TextIOWrapper(file, "utf-8-sig", "replace", newline="")


def _header_of(file: TextIO, path: Path) -> list[str]:
    try:
        return next(cells for _, cells in _records_of(file))
    except StopIteration:
        problem = "the file is empty; its first line must name the columns"
    except csv.Error:
        problem = "the first line is no header: a name is longer than 128 KiB"
    raise FeatureError(problem, where=f"{path}")


def _records_of(file: TextIO, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The line in which each record begins, and its cells; header first, empty lines left out."""
    reader = csv.reader(file, strict=strict)
    line = 1
    for cells in reader:
        if cells:
            yield line, cells
        line = reader.line_num + 1


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise ConfigError("not a file of features: a directory or a device", where=f"{path}")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", code=ErrorCode.NOT_FOUND, where=f"{path}", hint="check `path`"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the file cannot be read: {error.strerror or type(error).__name__}",
            code=ErrorCode.IO_ERROR,
            where=f"{path}",
        ) from None
