"""The mock feature source: values of the right types and no meaning."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from sfs_core import Batch, FeatureContext, FeatureQuery, FeatureResult, FeatureSource, PluginConfig

__all__ = ["MockConfig", "MockFeatureSource"]


class MockConfig(PluginConfig):
    """Options of the mock feature source."""

    type: Literal["fixed", "random"] = "fixed"
    """`fixed`: every value is 1 (true, "1"). `random`: integers and texts from 0 to 99, fractions k/50, booleans."""
    seed: int = Field(default=0, ge=0)
    """Where random values begin: the same seed and the same requests give the same values."""


class MockFeatureSource(FeatureSource):
    """Made-up features for any ids."""

    Config = MockConfig
    blocking = False

    config: MockConfig

    def __init__(self, config: PluginConfig, context: FeatureContext) -> None:
        super().__init__(config, context)
        self._random = np.random.default_rng(self.config.seed)

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """One made-up row per id."""
        rows = len(query.ids)
        make = _fixed if self.config.type == "fixed" else self._drawn
        return FeatureResult(Batch.from_columns(self.schema, [make(rows, type_) for type_ in self.schema.types], rows))

    def _drawn(self, rows: int, type_: Any) -> Any:
        numbers = self._random.integers(0, 100, rows)
        if pa.types.is_boolean(type_):
            return numbers % 2 == 1
        return _converted(numbers / 50 if pa.types.is_floating(type_) else numbers, type_)


def _fixed(rows: int, type_: Any) -> Any:
    if pa.types.is_boolean(type_):
        return np.ones(rows, np.bool_)
    return _converted(np.ones(rows, np.int64), type_)


def _converted(numbers: Any, type_: Any) -> Any:
    """Numbers as a column of a type; texts and bytes hold them in decimal."""
    if pa.types.is_primitive(type_):
        return numbers.astype(type_.to_pandas_dtype())
    return pa.array(numbers).cast(pa.utf8()).cast(type_)
