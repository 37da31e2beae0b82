"""A real MariaDB, where its programs are installed (Debian: mariadb-server-core)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pymysql
import pytest

from sfs_core import ConfigError, ErrorCode, FeatureError, FeatureQuery, Schema, SfsError
from tests.support.processes import free_ports

X = Schema([("x", pa.float64())])
PASSWORD = "pa:s/s"


class MariaDb:
    """A server of its own on loopback."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mariadbd")
        install = shutil.which("mariadb-install-db")
        if program is None or install is None:
            pytest.skip("MariaDB's programs mariadbd and mariadb-install-db are not there")
        (self.port,) = free_ports(1)
        places = ["--no-defaults", f"--basedir={Path(program).parents[1]}", f"--datadir={folder}", "--user=root"]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([install, *places, *options], check=True, capture_output=True)
        limits = ["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=8M", f"--socket={folder / 'socket'}"]
        self.process = subprocess.Popen(
            [program, *places, *limits, f"--port={self.port}"], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        assert any("ready for connections" in line for line in self.process.stderr)
        self.root = pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        account = f"'sfs'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"
        self.execute("CREATE DATABASE shop", "USE shop", f"GRANT ALL ON shop.* TO {account}")

    def execute(self, *statements: str) -> None:
        with self.root.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def url(self, driver: str, password: str = PASSWORD) -> str:
        quoted = password.replace(":", "%3A").replace("/", "%2F")
        return f"mysql+{driver}://sfs:{quoted}@127.0.0.1:{self.port}/shop"

    def stop(self) -> None:
        self.root.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory):
    server = MariaDb(tmp_path_factory.mktemp("mariadb"))
    yield server
    server.stop()


@pytest.fixture(params=["pymysql", "aiomysql"])
def driver(request):
    return request.param


@pytest.fixture
def make_on(make, mariadb, driver):
    return lambda schema=X, **options: make(schema, **{"url": mariadb.url(driver), "key": "id"} | options)


async def rows(source, *ids):
    return (await source.fetch(FeatureQuery(list(ids)))).batch.to_arrow().to_pylist()


async def test_rows_by_text(make_on, mariadb):
    mariadb.execute(
        "CREATE OR REPLACE TABLE people (id VARCHAR(20) PRIMARY KEY, x DOUBLE) COLLATE utf8mb4_general_ci",
        "INSERT INTO people VALUES ('a', 1), ('bb', 2), ('7', 1), ('a b', 3), ('%', 1), ('x''y', 4)",
    )
    source = make_on(table="people")
    assert await rows(source, "x'y", "bb", "a", "a b", "bb", "%") == [{"x": x} for x in (4.0, 2.0, 1.0, 3.0, 2.0, 1.0)]
    for absent in ("A", "a ", "07", "' OR ''='", "a'; DROP TABLE people; --", "%s", "\\", ":ids", "\0", "\ud800", "😀"):
        with pytest.raises(FeatureError, match="1 of 2 ids have no row"):
            await rows(source, "a", absent)
    shuffled = make_on(query="SELECT x, id FROM people WHERE id IN :ids ORDER BY rand()")
    assert await rows(shuffled, "bb", "a b", "a") == [{"x": 2.0}, {"x": 3.0}, {"x": 1.0}]


async def test_keys_of_other_types_and_the_latest_row(make_on, mariadb):
    mariadb.execute(
        "CREATE OR REPLACE TABLE keyed (u BIGINT UNSIGNED, c CHAR(8), land VARCHAR(2), nr INT, at INT, x DOUBLE)",
        "INSERT INTO keyed VALUES (18446744073709551615, 'abc', 'de', 7, 1, 1), (1, 'd', 'de', 7, 2, 2)",
    )
    assert await rows(make_on(table="keyed", key="u"), str(2**64 - 1)) == [{"x": 1.0}]
    assert await rows(make_on(table="keyed", key="c"), "abc") == [{"x": 1.0}]
    composite = {"table": "keyed", "key": ["land", "nr"], "key_separator": ":"}
    assert await rows(make_on(order_by="at", **composite), "de:7") == [{"x": 2.0}]
    with pytest.raises(FeatureError, match="several rows"):
        await rows(make_on(**composite), "de:7")


TYPES = {
    "d": (pa.float64(), "DOUBLE", 0.1), "n": (pa.float64(), "DECIMAL(9,2)", 2.5),
    "f": (pa.float32(), "FLOAT", 5592405.5), "wide": (pa.float64(), "FLOAT", 5592405.5),
    "s": (pa.int8(), "SMALLINT", -128),
    "u": (pa.uint64(), "BIGINT UNSIGNED", 2**64 - 1), "b": (pa.bool_(), "BOOL", True), "t": (pa.utf8(), "TEXT", "ü"),
    "y": (pa.binary(), "BLOB", b"\0\xff"), "i": (pa.int64(), "DECIMAL(10,0)", 3),
}  # fmt: skip


async def test_each_type_arrives_exactly(make_on, mariadb):
    mariadb.execute(
        f"CREATE OR REPLACE TABLE typed (id TEXT, {', '.join(f'{n} {t}' for n, (_, t, _) in TYPES.items())})"
    )
    with mariadb.root.cursor() as cursor:
        marks = ", ".join(["%s"] * (1 + len(TYPES)))
        cursor.execute(f"INSERT INTO typed VALUES ({marks})", ["a", *(value for *_, value in TYPES.values())])
    schema = Schema((name, type_) for name, (type_, *_) in TYPES.items())
    assert await rows(make_on(schema, table="typed"), "a") == [{name: value for name, (*_, value) in TYPES.items()}]
    with pytest.raises(ConfigError, match="'f' is a FLOAT, of which MySQL and MariaDB send six digits"):
        make_on(Schema([("f", pa.float32())]), query="SELECT id, f FROM typed WHERE id IN :ids")


async def test_faults(make_on, mariadb, driver):
    mariadb.execute("CREATE OR REPLACE TABLE t (id VARCHAR(9), x DOUBLE)", "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    slow = "SELECT id, x + SLEEP(IF(id = 'a', 60, 0)) AS x FROM t WHERE id IN :ids"
    source = make_on(query=slow, statement_timeout=0.2)
    with pytest.raises(SfsError, match="in time") as caught:
        await rows(source, "a")
    assert caught.value.code == ErrorCode.FS_DEADLINE_EXCEEDED
    assert await rows(source, "b") == [{"x": 2.0}]
    with mariadb.root.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'sfs'")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")
    assert await rows(source, "b") == [{"x": 2.0}]  # a lost connection is renewed unnoticed
    with pytest.raises(SfsError, match="READ ONLY"):
        make_on(query="INSERT INTO t SELECT id, x FROM t WHERE id IN :ids RETURNING id, x")
    with pytest.raises(SfsError, match="refuses the account") as caught:
        make_on(url=mariadb.url(driver, "wrong:secret"), table="t")
    assert caught.value.code == ErrorCode.FS_UNAUTHENTICATED
    assert "secret" not in str(caught.value)


async def test_more_ids_than_a_statement_takes(make_on, mariadb):
    ids = [str(i) for i in range(40_000)]
    mariadb.execute("CREATE OR REPLACE TABLE many (id VARCHAR(9) PRIMARY KEY, x DOUBLE)")
    with mariadb.root.cursor() as cursor:
        cursor.executemany("INSERT INTO many VALUES (%s, %s)", [(id_, float(id_)) for id_ in ids])
    source = make_on(table="many", statement_timeout=60)
    fetched = await source.fetch(FeatureQuery(ids[::-1]))
    assert fetched.batch.float64(0).tolist() == [float(id_) for id_ in ids[::-1]]
    await asyncio.to_thread(source.check)
