"""Made-up values of all types."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest
import sfs_feature_mock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sfs_feature_mock.source import MockConfig, MockFeatureSource

from sfs_core import DATA_TYPES, FeatureContext, FeatureError, FeatureQuery, Schema

ALL = Schema([(name, type_) for name, type_ in DATA_TYPES.items()] + [("long", pa.large_utf8())])
INTEGERS = [name for name, type_ in DATA_TYPES.items() if pa.types.is_integer(type_)]
FRACTIONS = ["DT_FLOAT", "DT_DOUBLE"]


def made(schema=ALL, **options):
    context = FeatureContext("svc", "alice", logging.getLogger("test"), Path(), schema, None)
    source = MockFeatureSource(MockConfig(**options), context)
    source.open()
    return source


def table(source, rows):
    batch = source.fetch(FeatureQuery(["id"] * rows)).batch
    assert batch.num_rows == rows
    assert batch.to_arrow().schema.equals(source.schema.arrow)
    return batch.to_arrow().to_pydict()


def test_declares_one_source():
    (spec,) = sfs_feature_mock.sfs_feature_sources()
    assert (spec.name, spec.factory) == ("mock", "sfs_feature_mock.source:MockFeatureSource")


def test_fixed_values_are_one():
    columns = table(made(), 2)
    assert columns.pop("DT_BOOL") == [True, True]
    assert columns.pop("DT_BINARY") == [b"1", b"1"]
    assert columns.pop("DT_STRING") == columns.pop("long") == ["1", "1"]
    assert sorted(columns) == sorted(INTEGERS + FRACTIONS)
    assert all(values == [1, 1] for values in columns.values())


@given(rows=st.integers(0, 300), seed=st.integers(0, 2**64))
def test_random_values_are_within_their_ranges(rows, seed):
    columns = table(made(type="random", seed=seed), rows)
    assert all(0 <= value <= 99 for name in INTEGERS for value in columns[name])
    assert {float(value) for value in columns["DT_DOUBLE"]} <= {k / 50 for k in range(100)}
    assert {round(value * 50, 4) for value in columns["DT_FLOAT"]} <= set(range(100))
    assert set(columns["DT_BOOL"]) <= {True, False}
    assert set(columns["DT_STRING"]) | set(columns["long"]) <= {str(k) for k in range(100)}
    assert set(columns["DT_BINARY"]) <= {str(k).encode() for k in range(100)}


def test_random_values_use_their_whole_range():
    columns = table(made(type="random"), 3000)
    assert {name: len(set(columns[name])) for name in columns} == {
        name: 2 if name == "DT_BOOL" else 100 for name in columns
    }


def test_the_same_seed_and_requests_give_the_same_values():
    one, other, third = made(type="random", seed=7), made(type="random", seed=7), made(type="random", seed=8)
    first, second = table(one, 20), table(one, 20)
    assert [first, second] == [table(other, 20), table(other, 20)]
    assert first != second
    assert first != table(third, 20)


@pytest.mark.parametrize("type_", ["fixed", "random"])
def test_a_schema_without_columns_gives_rows_without_columns(type_):
    source = made(Schema(), type=type_)
    batch = source.fetch(FeatureQuery(["a", "b", "a"])).batch
    assert (batch.num_rows, len(batch.schema)) == (3, 0)


def test_bulk_scoring_can_draw_any_number_of_rows():
    assert made().row_count == -1


@pytest.mark.parametrize("type_", [pa.float16(), pa.date32()], ids=str)
def test_a_type_without_values_is_an_error(type_):
    with pytest.raises(FeatureError, match="column 'x'"):
        table(made(Schema([("x", type_)])), 1)


@pytest.mark.parametrize("options", [{"type": "zero"}, {"seed": -1}, {"seed": 0.5}, {"path": "x"}])
def test_options_that_are_none(options):
    with pytest.raises(ValidationError):
        MockConfig(**options)
