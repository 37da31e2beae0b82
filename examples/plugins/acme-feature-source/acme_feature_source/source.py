"""Features from a file of JSON lines, held in memory."""

from __future__ import annotations

import json
from typing import Any

from sfs_core import Batch, ConfigError, FeatureError, FeatureQuery, FeatureResult, FeatureSource, PluginConfig


class JsonLinesConfig(PluginConfig):
    """Options of `jsonl`."""

    path: str
    """The file: one JSON object a line."""
    key: str = "id"
    """The field that holds a row's id; a text."""


class JsonLinesSource(FeatureSource):
    """Looks ids up in a file of JSON lines."""

    Config = JsonLinesConfig
    config: JsonLinesConfig
    blocking = False  # after `open`, everything is in memory

    def open(self) -> None:
        """Read the file, so that a bad one stops the server from starting."""
        path = self.context.resolve(self.config.path)
        self._rows: dict[str, tuple[Any, ...]] = {}
        try:
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    self._add(line, f"{path}:{number}")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None

    def _add(self, line: str, where: str) -> None:
        try:
            record = json.loads(line)
            row_id, row = record[self.config.key], tuple(record[name] for name in self.schema.names)
        except KeyError as missing:
            raise ConfigError(f"the field {missing} is missing", where=where) from None
        except (ValueError, TypeError):
            raise ConfigError("not a JSON object", where=where) from None
        if not isinstance(row_id, str) or row_id in self._rows:
            raise ConfigError(f"the field {self.config.key!r} is no text, or repeats an earlier line's", where=where)
        self._rows[row_id] = row

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids asked for, in their order."""
        rows = [self._rows[row_id] for row_id in query.ids if row_id in self._rows]
        missing = [row_id not in self._rows for row_id in query.ids]
        if any(missing) and not self.context.report_missing:
            raise FeatureError(f"{sum(missing)} of {len(missing)} ids are not in the file")
        return FeatureResult(Batch.from_rows(self.schema, rows), missing=missing if any(missing) else None)
