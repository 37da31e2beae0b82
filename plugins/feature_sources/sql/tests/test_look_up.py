"""Looking rows up in SQLite files and a real PostgreSQL, with blocking and asynchronous drivers."""

from __future__ import annotations

import asyncio
import csv
import logging
from decimal import Decimal
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfs_core import ConfigError, ErrorCode, FeatureContext, FeatureError, FeatureQuery, Schema, SfsError

X = Schema([("x", pa.float64())])
DRIVERS = ["sqlite", "sqlite+aiosqlite", "postgresql+psycopg", "postgresql+asyncpg"]
HOSTILE = [
    "1 OR 1=1",
    "' OR ''='",
    "a'; DROP TABLE people; --",
    "%",
    "_",
    "\\",
    "{id}",
    ":ids",
    "\0",
    "\ud800",
    "",
    "\u0661",
]


async def rows(source, *ids):
    return (await source.fetch(FeatureQuery(list(ids)))).batch.to_arrow().to_pylist()


@pytest.fixture
def people(request, sqlite, postgres):
    """URL of a database, per driver, with the table people(id, x) that maps each text to its length."""
    texts = [(text, float(len(text))) for text in ("a", "bb", "A", "7", "07", "a b", "%", "ü", "x'y")]
    definition = "CREATE TABLE people (id VARCHAR(20) PRIMARY KEY, x DOUBLE PRECISION)"
    if request.param.startswith("sqlite"):
        return sqlite(definition, rows={"people": texts}).replace("sqlite", request.param)
    postgres.execute("DROP TABLE IF EXISTS people", definition)
    postgres.copy("people", texts)
    return postgres.url(request.param.partition("+")[2])


on_all_drivers = pytest.mark.parametrize("people", DRIVERS, indirect=True)


@on_all_drivers
async def test_rows_come_in_query_order_and_repeat(make, people):
    source = make(X, url=people, table="people", key="id")
    expected = [{"x": x} for x in (2.0, 1.0, 3.0, 2.0, 1.0, 1.0)]
    assert await rows(source, "bb", "a", "a b", "bb", "A", "%") == expected
    assert await rows(source) == []
    await asyncio.to_thread(source.check)
    await asyncio.to_thread(source.close)
    with pytest.raises(SfsError) as caught:
        await rows(source, "a")
    assert caught.value.code == ErrorCode.NOT_READY


@on_all_drivers
async def test_ids_are_data_whatever_they_hold(make, people):
    source = make(X, url=people, table="people", key="id")
    for hostile in HOSTILE:
        if hostile == "%":
            continue
        with pytest.raises(FeatureError, match=r"1 of 2 ids have no row in the database \(request rows 1\)") as caught:
            await rows(source, "a", hostile)
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT
        assert not hostile.strip("a _%\0") or hostile not in str(caught.value)
    assert await rows(source, "x'y", "%") == [{"x": 3.0}, {"x": 1.0}]


@on_all_drivers
async def test_a_query_gives_the_rows_too(make, people):
    query = "SELECT x * 2 AS double, id, 1 AS other FROM people WHERE id IN :ids"
    source = make(Schema([("twice", pa.float64())]), url=people, query=query, key="id", columns={"twice": "double"})
    assert await rows(source, "bb", "a", "bb") == [{"twice": 4.0}, {"twice": 2.0}, {"twice": 4.0}]


async def test_a_postgres_query_may_take_an_array(make, postgres):
    query = "SELECT n AS id, n / 2.0::float8 AS x FROM generate_series(1, 9) n WHERE n = ANY(:ids)"
    for driver in ("psycopg", "asyncpg"):
        source = make(X, url=postgres.url(driver), query=query, key="id", key_types="integer")
        assert await rows(source, "3", "1") == [{"x": 1.5}, {"x": 0.5}]


async def test_columns_of_a_star_may_move(make, postgres):
    postgres.execute(
        "DROP TABLE IF EXISTS moving", "CREATE TABLE moving AS SELECT 'a' AS id, 1.5::float8 x, 2.5::float8 y"
    )
    source = make(X, url=postgres.url("psycopg"), query="SELECT * FROM moving WHERE id IN :ids", key="id")
    assert await rows(source, "a") == [{"x": 1.5}]
    postgres.execute("DROP TABLE moving", "CREATE TABLE moving AS SELECT 2.5::float8 y, 1.5::float8 x, 'a' AS id")
    assert await rows(source, "a") == [{"x": 1.5}]


@pytest.mark.parametrize("driver", ["sqlite", "psycopg", "asyncpg"])
async def test_integer_keys_match_by_their_text(make, sqlite, postgres, driver):
    statements = [
        "CREATE TABLE numbers (id INTEGER PRIMARY KEY, x DOUBLE PRECISION)",
        "INSERT INTO numbers VALUES (7, 0.5)",
    ]
    if driver == "sqlite":
        url = sqlite(*statements)
    else:
        postgres.execute("DROP TABLE IF EXISTS numbers", *statements)
        url = postgres.url(driver)
    source = make(X, url=url, table="numbers", key="id")
    assert await rows(source, "7", "7") == [{"x": 0.5}] * 2
    for absent in ("07", "7.0", "+7", " 7", "seven", "", "9" * 19, "9" * 40, "7_0", "\u0667"):
        with pytest.raises(FeatureError, match="1 of 1 ids have no row"):
            await rows(source, absent)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_uuid_and_padded_keys(make, postgres, driver):
    key = str(UUID(int=5))
    postgres.execute(
        "DROP TABLE IF EXISTS keyed",
        "CREATE TABLE keyed (u UUID, c CHAR(8), x FLOAT8)",
        f"INSERT INTO keyed VALUES ('{key}', 'abc', 1)",
    )
    assert await rows(make(X, url=postgres.url(driver), table="keyed", key="u"), key) == [{"x": 1.0}]
    assert await rows(make(X, url=postgres.url(driver), table="keyed", key="c"), "abc") == [{"x": 1.0}]
    with pytest.raises(FeatureError, match="no row"):
        await rows(make(X, url=postgres.url(driver), table="keyed", key="u"), key.replace("-", ""))


@pytest.mark.parametrize("driver", ["sqlite", "psycopg", "asyncpg"])
async def test_composite_keys_and_the_latest_row(make, sqlite, postgres, driver):
    definition = "CREATE TABLE history (land VARCHAR(2), nr INTEGER, at INTEGER, x DOUBLE PRECISION)"
    values = [
        ("de", 7, 1, 1.0),
        ("de", 7, 3, 3.0),
        ("de", 7, 2, 2.0),
        ("fr", 7, None, 9.0),
        ("fr", 7, 1, 4.0),
        ("at", 1, 5, 5.0),
    ]
    values += [("it", 1, 5, 1.0), ("it", 1, 5, 2.0)]
    if driver == "sqlite":
        url = sqlite(definition, rows={"history": values})
    else:
        postgres.execute("DROP TABLE IF EXISTS history", definition)
        postgres.copy("history", values)
        url = postgres.url(driver)
    options = {"url": url, "table": "history", "key": ["land", "nr"], "key_separator": ":"}
    latest = make(X, order_by="at", **options)
    assert await rows(latest, "fr:7", "de:7", "at:1") == [{"x": 4.0}, {"x": 3.0}, {"x": 5.0}]
    with pytest.raises(FeatureError, match=r"1 of 2 ids have several rows .*rows 1"):
        await rows(latest, "de:7", "it:1")
    for absent in ("de", "de:7:1", ":", "de:07", "xx:7"):
        with pytest.raises(FeatureError, match="no row"):
            await rows(latest, absent)
    with pytest.raises(FeatureError, match=r"1 of 2 ids have several rows .*rows 1"):
        await rows(make(X, **options), "at:1", "de:7")


async def test_a_key_that_only_the_database_finds_equal_is_another(make, sqlite):
    url = sqlite("CREATE TABLE t (id TEXT COLLATE NOCASE, x REAL)", rows={"t": [("a", 1.0), ("A", 2.0), ("b", 3.0)]})
    source = make(X, url=url, table="t", key="id")
    assert await rows(source, "A", "a") == [{"x": 2.0}, {"x": 1.0}]
    with pytest.raises(FeatureError, match="no row"):
        await rows(source, "B")


async def test_more_ids_than_a_statement_takes(make, sqlite):
    url = sqlite(
        "CREATE TABLE t (id TEXT PRIMARY KEY, x REAL)", rows={"t": [(str(i), float(i)) for i in range(40_000)]}
    )
    ids = [str(i) for i in reversed(range(40_000))]
    fetched = await make(X, url=url, table="t", key="id").fetch(FeatureQuery(ids))
    assert fetched.batch.float64(0).tolist() == [float(id_) for id_ in ids]


async def test_nulls_are_refused_or_kept(make, sqlite):
    url = sqlite("CREATE TABLE t (id TEXT, x REAL)", rows={"t": [("a", 1.0), ("b", None)]})
    with pytest.raises(FeatureError, match="column 'x', row 1: NULL") as caught:
        await rows(make(X, url=url, table="t", key="id"), "a", "b", "b")
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert await rows(make(X, url=url, table="t", key="id", nulls="keep"), "b", "a") == [{"x": None}, {"x": 1.0}]


TYPES = {
    "f8": (pa.float64(), "FLOAT8", 0.1), "n8": (pa.float64(), "NUMERIC", Decimal("2.5")),
    "i8": (pa.float64(), "INT8", 2**53),
    "f4": (pa.float32(), "REAL", 0.1), "s": (pa.int8(), "SMALLINT", -128), "u": (pa.uint64(), "NUMERIC", 2**64 - 1),
    "b": (pa.bool_(), "BOOL", True), "b1": (pa.bool_(), "INT", 1), "t": (pa.utf8(), "TEXT", "ü"),
    "y": (pa.binary(), "BYTEA", b"\0\xff"), "yt": (pa.binary(), "TEXT", "ü"), "i": (pa.int64(), "NUMERIC", Decimal(3)),
}  # fmt: skip


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_each_type_arrives_exactly(make, postgres, driver):
    columns = ", ".join(f"{name} {sql}" for name, (_, sql, _) in TYPES.items())
    postgres.execute("DROP TABLE IF EXISTS typed", f"CREATE TABLE typed (id TEXT, {columns})")
    postgres.copy("typed", [("a", *(value for *_, value in TYPES.values()))])
    schema = Schema((name, type_) for name, (type_, *_) in TYPES.items())
    (row,) = await rows(make(schema, url=postgres.url(driver), table="typed", key="id"), "a")
    expected = {name: value for name, (*_, value) in TYPES.items()}
    assert row == expected | {"f4": float(np.float32(0.1)), "yt": "ü".encode(), "i": 3}


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.float64(), 2**53 + 1), (pa.float64(), "1.5"), (pa.float32(), 1e300), (pa.int8(), 128), (pa.uint8(), -1),
        (pa.int32(), 1.0), (pa.bool_(), 2), (pa.utf8(), 1), (pa.utf8(), b"a"), (pa.binary(), 1),
    ],
)  # fmt: skip
async def test_values_that_do_not_fit_are_refused_by_place(make, sqlite, type_, value):
    url = sqlite("CREATE TABLE t (id TEXT, x)", rows={"t": [("a", value)]})
    with pytest.raises(FeatureError, match=rf"column 'x', row 0: .* no {type_}") as caught:
        await rows(make(Schema([("x", type_)]), url=url, table="t", key="id"), "a")
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_order_of_ids_or_rows_shifts_a_row(make, tmp_path_factory, data):
    import sqlite3

    keys = data.draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, unique=True))
    ids = data.draw(st.lists(st.sampled_from(keys), min_size=1))
    path = tmp_path_factory.mktemp("shuffled") / "f.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (y REAL, x REAL, id TEXT)")
        connection.executemany("INSERT INTO t VALUES (-1.0, ?, ?)", [(float(i), key) for i, key in enumerate(keys)])
    connection.close()
    shuffled = {"query": "SELECT x, id FROM t WHERE id IN :ids ORDER BY random()"}
    options = data.draw(st.sampled_from([{"table": "t"}, shuffled]))
    source = make(X, url=f"sqlite:///{path}", key="id", **options)
    assert asyncio.run(rows(source, *ids)) == [{"x": float(keys.index(id_))} for id_ in ids]
    source.close()


async def test_equals_csv(make, postgres, sqlite, pool, tmp_path):
    from sfs_feature_csv.source import CsvConfig, CsvFeatureSource

    names = [f"x{i}" for i in range(30)]
    schema = Schema((name, pa.float64()) for name in names)
    generator = np.random.default_rng(4)
    values = [(f"id{i}", *row) for i, row in enumerate(generator.normal(size=(2_000, 30)).tolist())]
    with (tmp_path / "f.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", *names], *values])
    context = FeatureContext("service", "alice", logging.getLogger("test"), tmp_path, schema, pool)
    by_csv = CsvFeatureSource(CsvConfig(path="f.csv"), context)
    by_csv.open()
    ids = [f"id{i}" for i in generator.permutation(2_000)]
    expected = by_csv.fetch(FeatureQuery(ids)).batch.matrix()
    definition = f"CREATE TABLE wide (id TEXT PRIMARY KEY, {', '.join(f'{name} DOUBLE PRECISION' for name in names)})"
    postgres.execute("DROP TABLE IF EXISTS wide", definition)
    postgres.copy("wide", values)
    for url in (sqlite(definition, rows={"wide": values}), postgres.url("psycopg"), postgres.url("asyncpg")):
        fetched = await make(schema, url=url, table="wide", key="id").fetch(FeatureQuery(ids))
        assert np.array_equal(fetched.batch.matrix(), expected)


def test_a_feature_of_an_odd_type_is_refused(make, sqlite):
    with pytest.raises(ConfigError, match="'x' is date32"):
        make(Schema([("x", pa.date32())]), url=sqlite("CREATE TABLE t (id TEXT, x)"), table="t", key="id")
