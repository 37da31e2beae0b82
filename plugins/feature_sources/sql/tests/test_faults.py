"""Servers that die, hang or refuse, and options that do not fit: a coded error in time, no secrets, then recovery."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pyarrow as pa
import pytest
import sfs_feature_sql
from pydantic import ValidationError
from sfs_feature_sql.keys import Key, KeyColumn
from sfs_feature_sql.source import SqlConfig
from sfs_feature_sql.statement import table_statement
from sqlalchemy.dialects import mysql

from sfs_core import ConfigError, ErrorCode, FeatureQuery, Schema, SfsError

X = Schema([("x", pa.float64())])
ASKED = FeatureQuery(["a"])


@pytest.fixture
def table(postgres):
    postgres.execute("DROP TABLE IF EXISTS t", "CREATE TABLE t AS SELECT 'a'::text AS id, 1.5::float8 AS x")
    return {"table": "t", "key": "id"}


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_server_killed_and_back(make, postgres, table, driver):
    source = make(X, url=postgres.url(driver), **table)
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(SfsError) as caught:
                await source.fetch(ASKED)
            assert caught.value.code == ErrorCode.NETWORK_ERROR
        with pytest.raises(SfsError, match="cannot be reached"):
            await asyncio.to_thread(source.check)
    finally:
        postgres.start()
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_lost_connection_is_renewed_unnoticed(make, postgres, table, driver):
    source = make(X, url=postgres.url(driver), **table)
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_slow_statement_is_ended(make, postgres, driver):
    query = "SELECT id, 1.0::float8 AS x, pg_sleep(CASE id WHEN 'a' THEN 60 ELSE 0 END) FROM unnest(ARRAY[:ids]) id"
    query = query.replace("ARRAY[:ids]", "ARRAY['a', '']") + " WHERE id IN :ids"
    source = make(X, url=postgres.url(driver), query=query, key="id", statement_timeout=0.2)
    start = time.monotonic()
    with pytest.raises(SfsError, match="in time") as caught:
        await source.fetch(ASKED)
    assert caught.value.code == ErrorCode.FS_DEADLINE_EXCEEDED
    assert time.monotonic() - start < 30
    assert (await source.fetch(FeatureQuery([""]))).batch.rows() == [(1.0,)]


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
async def test_a_slow_sqlite_statement_is_ended(make, sqlite, driver):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'a' AS id, max(i) AS x FROM n"
    url = sqlite("CREATE TABLE t (id TEXT, x REAL)").replace("sqlite", driver)
    source = make(X, url=url, query=f"{endless} WHERE 'a' IN :ids", key="id", statement_timeout=0.2)
    with pytest.raises(SfsError, match="in time") as caught:
        await source.fetch(ASKED)
    assert caught.value.code == ErrorCode.FS_DEADLINE_EXCEEDED


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_wrong_password_is_not_told(make, postgres, table, driver):
    with pytest.raises(SfsError, match="refuses the account") as caught:
        make(X, url=postgres.url(driver, password="wrong:secret"), **table)
    assert caught.value.code == ErrorCode.FS_UNAUTHENTICATED
    assert "secret" not in str(caught.value) + repr(caught.value.__dict__)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_nothing_can_be_written(make, postgres, table, driver):
    query = "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone WHERE id IN :ids"
    with pytest.raises(SfsError, match="does not do"):
        make(X, url=postgres.url(driver), query=query, key="id")
    assert (await make(X, url=postgres.url(driver), **table).fetch(ASKED)).batch.rows() == [(1.5,)]


async def test_a_table_that_goes_is_an_error_without_contents(make, postgres, table):
    source = make(X, url=postgres.url("asyncpg"), **table)
    postgres.execute("DROP TABLE t")
    with pytest.raises(SfsError, match="42P01") as caught:
        await source.fetch(ASKED)
    assert caught.value.code == ErrorCode.FS_INTERNAL_ERROR


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "poeple", "key": "id"}, "did you mean 'people'"),
        ({"table": "people", "key": "idd"}, "no column 'idd'\n.*did you mean 'id'"),
        ({"table": "people", "key": "id", "columns": {"x": "agee"}}, "did you mean 'age'"),
        ({"table": "people", "key": "id", "columns": {"x": "age"}, "order_by": "att"}, "no column 'att'"),
        ({"table": "people", "key": "age", "columns": {"x": "age"}}, "key column 'age' is of type REAL"),
        ({"query": "SELECT id, age FROM people WHERE id IN :ids", "key": "id"}, "no column 'x'"),
        ({"query": "SELECT id, age AS x FROM people WHERE id IN :ids AND age > :y", "key": "id"}, "'y'"),
        ({"query": "SELEKT id FROM people WHERE id IN :ids", "key": "id"}, "syntax error"),
        ({"table": 'x"; DROP TABLE people; --', "key": "id"}, "no table"),
    ],
)
def test_names_that_are_not_there(make, sqlite, options, message):
    url = sqlite("CREATE TABLE people (id TEXT, age REAL)")
    with pytest.raises(SfsError, match=message) as caught:
        make(X, url=url, **options)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url of s3cret", "no SQLAlchemy URL"),
        ("martian://u:s3cret@h/d", "no SQLAlchemy dialect"),
        ("mysql+mysqldb://u:s3cret@h/d", "is not installed"),
        ("sqlite://", "names no SQLite file"),
        ("sqlite:///absent.db", "no such SQLite file"),
    ],
)
def test_urls_that_cannot_be_used(make, url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make(X, url=url, table="t", key="id")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"key": "id"},
        {"key": "id", "table": "t", "query": "SELECT :ids"},
        {"key": "id", "query": "SELECT 1"},
        {"key": "id", "query": "SELECT :ids", "order_by": "at"},
        {"key": ["a", "b"], "table": "t"},
        {"key": "id", "table": "t", "key_separator": ":"},
        {"key": "id", "table": "t", "key_types": ["text", "text"]},
        {"key": [], "table": "t"},
        {"key": "id", "table": "t", "statement_timeout": 0},
        {"key": "id", "table": "t", "tabel": "t"},
    ],
)
def test_options_that_do_not_fit_together(options):
    with pytest.raises(ValidationError) as caught:
        SqlConfig(url="sqlite:///s3cret.db", **options)
    assert "s3cret" not in str(SqlConfig(url="sqlite:///s3cret.db", table="t", key="id"))
    assert "s3cret" not in str(caught.value)


def test_close_needs_no_open_and_may_come_twice(make, sqlite):
    url = sqlite("CREATE TABLE t (id TEXT, x REAL)")
    for open_ in (False, True):
        source = make(X, url=url, table="t", key="id", open=open_)
        source.close()
        source.close()


def test_mysql_statements_by_compilation_only():
    """No MySQL server is to be had here: this checks what SQLAlchemy would send, not that a server takes it."""
    config = SqlConfig(
        url="mysql://", table="my`table", table_schema="shop", key=["land", "nr"], key_separator=":", order_by="at"
    )
    key = Key([KeyColumn("land", "text"), KeyColumn("nr", "integer")], ":")
    statement, names = table_statement(config, key, ["x", "y"], arrays=False, rounded=["y"])
    bound = statement.params(ids=[("de", 1), ("fr", 2)])
    text = " ".join(str(bound.compile(dialect=mysql.dialect(), compile_kwargs={"render_postcompile": True})).split())
    assert "FROM shop.`my``table` WHERE (land, nr) IN ((%s, %s), (%s, %s)) AND at IS NOT NULL" in text
    assert "rank() OVER (PARTITION BY land, nr ORDER BY at DESC) AS place" in text
    assert "x AS f0, y + 0e0 AS f1" in text
    assert names == ["k0", "k1", "f0", "f1"]


def test_the_declaration_is_light_and_says_what_leaves():
    (spec,) = sfs_feature_sql.sfs_feature_sources()
    assert (spec.name, spec.egress) == ("sql", "ids")
    script = "import sys, sfs_feature_sql; sfs_feature_sql.sfs_feature_sources(); sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
