"""Two parties whose features come from a real PostgreSQL, and from SQLite."""

from __future__ import annotations

import sqlite3

import pytest

from tests.support.same_scores import columns_of, two_parties

IDS, COLUMNS = columns_of()


def rows_of(party):
    return zip(IDS, *COLUMNS[party].values(), strict=True)


def in_postgres(postgres, _):
    for party, columns in COLUMNS.items():
        types = ", ".join(f"{name} double precision" for name in columns)
        postgres.execute(f"DROP TABLE IF EXISTS {party}", f"CREATE TABLE {party} (id text PRIMARY KEY, {types})")
        postgres.copy(party, list(rows_of(party)))
    return lambda party: {"url": postgres.url("asyncpg"), "table": party}


def in_sqlite(_, folder):
    with sqlite3.connect(folder / "features.db") as connection:
        for party, columns in COLUMNS.items():
            connection.execute(f"CREATE TABLE {party} (id TEXT PRIMARY KEY, {' REAL, '.join(columns)} REAL)")
            marks = ", ".join("?" * (1 + len(columns)))
            connection.executemany(f"INSERT INTO {party} VALUES ({marks})", rows_of(party))
    connection.close()
    return lambda party: {"url": f"sqlite:///{folder / 'features.db'}", "table": party}


@pytest.mark.parametrize("fill", [in_postgres, in_sqlite])
def test_scores_are_those_of_csv(fill, postgres, tmp_path):
    options = fill(postgres, tmp_path)
    features = {
        party: {"source": {"name": "sql", "key": "id", "statement_timeout": 60, **options(party)}} for party in COLUMNS
    }
    with two_parties(tmp_path, IDS, COLUMNS, features.__getitem__) as parties:
        parties.assert_same_scores()
