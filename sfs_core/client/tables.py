"""Tables in and out: pandas DataFrames (pandas is no dependency) and Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any, TypeVar

from sfs_core.client.results import Prediction
from sfs_core.errors import RequestError

__all__ = ["Table", "scored_table", "table_columns"]

Table = TypeVar("Table", bound=Sized)


def table_columns(table: Any, names: Iterable[str]) -> dict[str, Any]:
    """Some columns of a table, each of which can be sliced by row.

    Raises:
        RequestError: it is no table, or a column is not there.
    """
    known = list(table.columns) if _is_frame(table) else _arrow(table).schema.names
    if missing := [name for name in names if name not in known]:
        raise RequestError(f"the table has no column {missing[0]!r}", hint=f"it has {', '.join(map(str, known))}")
    return {name: table[name].array if _is_frame(table) else table.column(name) for name in names}


def scored_table(table: Any, prediction: Prediction | None) -> Any:
    """The table with a column per score behind its own; as it is where it has no rows.

    Raises:
        RequestError: a score has the name of a column.
    """
    if prediction is None:
        return table
    known = list(table.columns) if _is_frame(table) else table.schema.names
    if twice := [name for name in prediction.names if name in known]:
        raise RequestError(f"the table has a column {twice[0]!r} already, which is a score's name")
    if _is_frame(table):
        return table.assign(**{name: prediction.scores[:, i] for i, name in enumerate(prediction.names)})
    scores = prediction.to_arrow()
    for name in prediction.names:
        column = scores[name] if hasattr(table, "to_batches") else scores[name].combine_chunks()
        table = table.append_column(name, column)
    return table


def _is_frame(table: Any) -> bool:
    return hasattr(table, "iloc") and hasattr(table, "assign")


def _arrow(table: Any) -> Any:
    if not hasattr(table, "schema") or not hasattr(table, "append_column"):
        raise RequestError(f"a pandas DataFrame or an Arrow table is expected, not {type(table).__name__}")
    return table
