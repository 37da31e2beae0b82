from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from acme_feature_source.source import JsonLinesConfig, JsonLinesSource

from sfs_core import ConfigError, FeatureContext, FeatureError, FeatureQuery, FeatureResult, Schema

LINES = '{"id": "a", "age": 41, "city": "Bonn"}\n{"id": "b", "age": 0.5, "city": "Rome", "more": []}\n'


@pytest.fixture
def source(tmp_path: Path):
    """The source over `rows.jsonl` in a folder of its own, not opened yet."""
    schema = Schema([("city", pa.utf8()), ("age", pa.float64())])
    with ThreadPoolExecutor(1) as pool:
        context = FeatureContext("svc", "alice", logging.getLogger("test"), tmp_path, schema, pool)
        yield JsonLinesSource(JsonLinesConfig(path="rows.jsonl"), context)


def test_rows_come_in_the_order_asked_for(source, tmp_path):
    (tmp_path / "rows.jsonl").write_text(LINES)
    source.open()
    result = source.fetch(FeatureQuery(["b", "a", "b"]))
    assert isinstance(result, FeatureResult)
    assert result.batch.to_arrow().to_pylist() == [
        {"city": "Rome", "age": 0.5},
        {"city": "Bonn", "age": 41.0},
        {"city": "Rome", "age": 0.5},
    ]


def test_unknown_ids_are_counted_and_not_told(source, tmp_path):
    (tmp_path / "rows.jsonl").write_text(LINES)
    source.open()
    with pytest.raises(FeatureError, match="1 of 2 ids are not in the file") as caught:
        source.fetch(FeatureQuery(["a", "secret"]))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "age": 1}', "rows.jsonl:1: the field 'city' is missing"),
        (LINES + LINES, "rows.jsonl:3: the field 'id' is no text, or repeats"),
        ('{"id": 7, "age": 1, "city": ""}', "rows.jsonl:1: the field 'id' is no text"),
        ("{", "rows.jsonl:1: not a JSON object"),
        ("[1]", "rows.jsonl:1: not a JSON object"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(source, tmp_path, text, message):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=message):
        source.open()


def test_a_missing_file_is_an_error(source):
    with pytest.raises(ConfigError, match="cannot be read: FileNotFoundError"):
        source.open()
