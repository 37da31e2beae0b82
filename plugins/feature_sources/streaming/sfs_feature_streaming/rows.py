"""Reading a CSV file block by block into exact types, with the line of whatever is wrong in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

import pyarrow as pa
import pyarrow.csv

from sfs_core import ConfigError, ErrorCode, FeatureError

__all__ = ["CsvRows", "read_header"]

# NaN is a value of a float column: models recognise it, and training data writes it so.
_NULLS: Final = tuple(text for text in pa.csv.ConvertOptions().null_values if text.lstrip("-").lower() != "nan")
# How Arrow's messages begin; what follows quotes the cell, which nobody may see.
_UNFIT_VALUE: Final = re.compile(r"In CSV column #(\d+): Row #(\d+): ")
_UNEVEN_ROW: Final = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+)")
_TOO_LONG: Final = ("straddling", "Empty CSV file or block")
_CHUNK: Final = 1 << 20


class CsvRows:
    """The rows of a CSV file (comma separated, double-quoted where needed, UTF-8 with or without a mark).

    Rows count from 0, without the header and without empty lines; lines count from 1.

    Args:
        path: the file.
        types: the columns to read, with their exact Arrow types.
        block_size: bytes to read at a time.
        keep_nulls: whether cells may be null.

    Raises:
        ConfigError: the file cannot be read (code 5 where there is none, else 10), or lacks a column.
        FeatureError: the file is empty, names a column twice, or has a quote that is never closed.
    """

    def __init__(self, path: Path, types: Mapping[str, Any], block_size: int, *, keep_nulls: bool = False) -> None:
        self._path = path
        self._types = types
        self._block_size = block_size
        self._keep_nulls = keep_nulls
        self._rows_read = 0
        self._failure: FeatureError | None = None
        with _opened(path) as file:
            self._header = _header_of(file, path, types)
            # Arrow takes a header without a line end for no header at all.
            self._ended = not any(line.strip("\r\n") for line in file)
        self._refuse_open_quote()
        self._reader: Any = None

    def read(self) -> Any:
        """The next block as a RecordBatch, or None at the end of the file.

        Raises:
            FeatureError: a row has too few or too many cells or is longer than a block, a cell is null and must not be,
                or does not fit its type; calls after an error raise it again.
        """
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return None
        try:
            if self._reader is None:
                self._reader = self._open()
            batch = self._reader.read_next_batch()
            if not self._keep_nulls:
                self._refuse_nulls(batch)
        except StopIteration:
            self._ended = True
            return None
        except FeatureError as error:
            self._failure = error
            raise
        except (pa.ArrowException, OSError) as error:
            self._failure = self._refusal_of(error)
            raise self._failure from None
        self._rows_read += batch.num_rows
        return batch

    # ------------------------------------------------------------------ reading
    def _open(self) -> Any:
        # One thread: only so do Arrow's messages say which row is wrong.
        return pa.csv.open_csv(
            self._path,
            pa.csv.ReadOptions(use_threads=False, block_size=self._block_size),
            pa.csv.ParseOptions(newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types=self._types, include_columns=list(self._types), null_values=_NULLS, check_utf8=True
            ),
        )

    def _refuse_open_quote(self) -> None:
        """Arrow would take all that follows an open quote for one value, and the rows in it would be gone."""
        with self._path.open("rb") as file:
            quotes = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(_CHUNK), b""))
        if quotes % 2 == 0:
            return
        line = 1
        try:
            with _opened(self._path) as text:
                for line, _ in _records(text, strict=True):  # noqa: B007 - read after the loop
                    pass
        except csv.Error:
            raise FeatureError(
                "a quote in the row after this one is not closed", where=f"{self._path}:{line}", hint='"" stands for "'
            ) from None

    def _refuse_nulls(self, batch: Any) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                row = self._rows_read + column.is_null().index(True).as_py()
                raise FeatureError(f"column {name!r} is null here", where=self._place(row), hint="fill the cell")

    # ----------------------------------------------------------------- locating
    def _refusal_of(self, error: Exception) -> FeatureError:
        text = str(error)
        if found := _UNFIT_VALUE.match(text):
            column, row = map(int, found.groups())
            name = self._header[column]
            return FeatureError(f"the value of column {name!r} is no {self._types[name]}", where=self._place(row - 2))
        if found := _UNEVEN_ROW.match(text):
            row, expected, got = map(int, found.groups())
            return FeatureError(f"the row has {got} cells, the header {expected}", where=self._place(row - 2))
        if any(sign in text for sign in _TOO_LONG):
            return FeatureError(
                f"a row is longer than block_size, {self._block_size} bytes",
                where=f"{self._path}",
                hint="set a larger block_size",
            )
        return FeatureError(f"the file cannot be read as CSV ({type(error).__name__})", where=f"{self._path}")

    def _place(self, row: int) -> str:
        """The file and the line in which a row begins (a quoted value may span lines)."""
        try:
            with _opened(self._path) as file:
                line, _ = next(islice(_records(file), row + 1, None))
        except (csv.Error, StopIteration):  # a cell beyond the limit of Python's reader, or the file has changed
            return f"{self._path} row {row + 1}"
        return f"{self._path}:{line}"


def read_header(path: Path, names: Collection[str]) -> list[str]:
    """The names of a file's columns, among them each of `names` once; reads no more than the first line.

    Raises:
        ConfigError: the file cannot be read (code 5 where there is none, else 10), or lacks a column.
        FeatureError: the file is empty, or names a column twice.
    """
    with _opened(path) as file:
        return _header_of(file, path, names)


def _header_of(file: TextIO, path: Path, names: Collection[str]) -> list[str]:
    try:
        header = next(filter(None, csv.reader(file)), None)
    except csv.Error:
        raise FeatureError("the first line is no header of a CSV file", where=f"{path}") from None
    if header is None:
        raise FeatureError("the file is empty; its first line must name the columns", where=f"{path}")
    for name in names:
        if name not in header:
            raise ConfigError(
                f"the file has no column {name!r}",
                where=f"{path}:1",
                hint="rename the column, or say its name here: `id_column` for ids, `mapping` for features",
            )
        if header.count(name) > 1:
            raise FeatureError(f"the header names column {name!r} {header.count(name)} times", where=f"{path}:1")
    return header


def _records(file: TextIO, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The line in which each record begins, and its cells; header first, empty lines left out."""
    reader = csv.reader(file, strict=strict)
    line = 1
    for cells in reader:
        if cells:
            yield line, cells
        line = reader.line_num + 1


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise ConfigError("not a file of features: a directory or a device", where=f"{path}")
        file = path.open(newline="", encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", code=ErrorCode.NOT_FOUND, where=f"{path}", hint="check `path`"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"the file cannot be read: {reason}", code=ErrorCode.IO_ERROR, where=f"{path}") from None
    with file:
        yield file
