"""What becomes of rows that a feature source does not have, and of values that are not in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sfs_core.batch import Batch, Schema
from sfs_core.errors import FeatureError
from sfs_core.sdk.feature_source import FeatureResult

__all__ = ["DefaultValues", "MissingPolicy", "leave_out", "missing_rows", "refuse", "repeated"]

MissingPolicy = Callable[[FeatureResult, bool], FeatureResult]
"""Takes what a source reported, and whether it keeps nulls for the model. Gives a result without missing rows, or one
with `missing` set and the other rows."""

_SHOWN: Final = 5


def missing_rows(missing: Sequence[bool]) -> FeatureError:
    """The error about rows that are not there; gives their number and places, not the ids."""
    places = [place for place, is_missing in enumerate(missing) if is_missing]
    shown = ", ".join(map(str, islice(places, _SHOWN))) + (", …" if len(places) > _SHOWN else "")
    return FeatureError(
        f"{len(places)} of {len(missing)} ids have no row at this party (their places in the query, from 0: {shown})"
    )


def refuse(result: FeatureResult, keeps_nulls: bool) -> FeatureResult:
    """The policy `error`.

    Raises:
        FeatureError: a row or a value is not there.
    """
    if result.missing is not None:
        raise missing_rows(result.missing)
    batch = result.batch
    for i in () if keeps_nulls else _columns_with_nulls(batch):
        raise FeatureError(
            f"column {batch.schema.names[i]!r}, row {_nulls(batch, i).index(True)}: there is no value",
            hint="fill it at the feature source, or see `features.missing`",
        )
    return result


def leave_out(result: FeatureResult, keeps_nulls: bool) -> FeatureResult:
    """The policy `per_row`: rows that lack a value are missing, too."""
    batch = result.batch
    columns = [] if keeps_nulls else _columns_with_nulls(batch)
    if not columns:
        return result
    incomplete = list(map(any, zip(*(_nulls(batch, i) for i in columns), strict=True)))
    given = iter(incomplete)
    missing = result.missing or [False] * batch.num_rows
    result.missing = [is_missing or next(given) for is_missing in missing]
    result.batch = batch.take([row for row, lacks in enumerate(incomplete) if not lacks])
    return result


class DefaultValues:
    """The policy `default`.

    Args:
        schema: the columns under their names in the model.
        defaults: a value, or None for a null, of each column.

    Raises:
        FeatureError: a value does not fit its column's type.
    """

    def __init__(self, schema: Schema, defaults: Mapping[str, Any]) -> None:
        arrays = [_default(name, type_, defaults[name]) for name, type_ in zip(schema.names, schema.types, strict=True)]
        self._row = Batch.from_arrow(pa.RecordBatch.from_arrays(arrays, schema=schema.arrow))

    def __call__(self, result: FeatureResult, keeps_nulls: bool) -> FeatureResult:
        """The rows found and, in the place of missing ones, rows of defaults; no nulls but those for the model."""
        columns = [] if keeps_nulls else _columns_with_nulls(result.batch)
        if columns:
            result.batch = self._filled(result.batch, set(columns))
        if result.missing is not None:
            found = result.batch.num_rows
            row = self._row.renamed(result.batch.schema)
            result.batch = _concatenated(result.batch, row).take(_places(result.missing, found))
            result.missing = None
        return result

    def _filled(self, batch: Batch, columns: set[int]) -> Batch:
        made = []
        for i in range(len(batch.schema)):
            column = batch.arrow(i)
            if i in columns:
                both = pa.concat_arrays([column, self._row.arrow(i)])
                picked = np.where(_nulls(batch, i), batch.num_rows, np.arange(batch.num_rows))
                column = both.take(pa.array(picked, pa.int64()))
            made.append(column)
        return Batch.from_columns(batch.schema, made, batch.num_rows)


def repeated(batch: Batch, missing: Sequence[bool]) -> Batch:
    """A row per id, with a row that is there in the place of each that is missing.

    Operators then compute on rows that they computed on anyway: nothing is learnt from what comes of it, and no
    made-up value can be one that a model refuses.
    """
    return batch.take(_places(missing, 0))


def _places(missing: Sequence[bool], instead: int) -> list[int]:
    """Where each id's row stands among those found; `instead` for the missing ones."""
    found = accumulate((not is_missing for is_missing in missing), initial=0)
    return [instead if is_missing else place for is_missing, place in zip(missing, found, strict=False)]


def _default(name: str, type_: Any, value: Any) -> Any:
    numbers = (int, float) if pa.types.is_floating(type_) else int if pa.types.is_integer(type_) else object
    fits = value is None or (isinstance(value, numbers) and isinstance(value, bool) == pa.types.is_boolean(type_))
    try:
        array = pa.array([value], type_)
        if fits and not (pa.types.is_float32(type_) and np.isinf(array[0].as_py() or 0) != np.isinf(value or 0)):
            return array
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        pass
    raise FeatureError(f"the default of feature {name!r} is no {type_}", where=name)


def _columns_with_nulls(batch: Batch) -> list[int]:
    """Only pyarrow columns can hold nulls."""
    if batch.form != "columns":
        return []
    columns = map(batch.column, range(len(batch.schema)))
    return [i for i, column in enumerate(columns) if not isinstance(column, np.ndarray) and column.null_count]


def _nulls(batch: Batch, i: int) -> list[bool]:
    nulls: list[bool] = batch.arrow(i).is_null().to_pylist()
    return nulls


def _concatenated(batch: Batch, more: Batch) -> Batch:
    table = pa.Table.from_batches([batch.to_arrow(), more.to_arrow()])
    return Batch.from_arrow(table) if len(batch.schema) else batch
