"""A stream of answers that is cut or garbled on its way: a coded error in time, then recovery, never another row."""

from __future__ import annotations

import asyncio
import threading
import time

import pyarrow as pa
import pytest

from sfs_core import ErrorCode, FeatureQuery, Schema, SfsError
from tests.support.processes import wait_for
from tests.support.relay import FaultyRelay, garbage, half, half_and_gone, never

X = Schema([("x", pa.float64()), ("text", pa.utf8())])
IDS = [f"u{i}" for i in range(300)]
ROWS = [(float(i), "y" * 100) for i in range(300)]
CODES = {ErrorCode.NETWORK_ERROR, ErrorCode.FS_DEADLINE_EXCEEDED, ErrorCode.FS_INTERNAL_ERROR}


@pytest.fixture
def relay(postgres):
    made = FaultyRelay(postgres.port)
    yield made
    made.close()


@pytest.fixture
def make_behind_relay(make, postgres, relay):
    """Makes sources of one connection: it is the one that must come back."""
    rows = "SELECT 'u' || i AS id, i::float8 AS x, repeat('y', 100) AS text FROM generate_series(0, 299) AS i"
    postgres.execute("DROP TABLE IF EXISTS damaged", f"CREATE TABLE damaged AS {rows}")

    def make_source(driver, **options):
        url = postgres.url(driver).replace(f":{postgres.port}/", f":{relay.port}/")
        limits = {"connect_timeout": 0.3, "statement_timeout": 0.1, "pool_size": 1}
        made = make(X, open=False, url=url, table="damaged", key="id", **limits | options)
        wait_for(lambda: opens(made), "the source opens, however late a busy machine answers")
        return made

    return make_source


def opens(source):
    try:
        source.open()
    except SfsError:
        return False
    return True


async def outcome(source):
    """The code of the error, if any; rows are right in any case."""
    try:
        rows = (await source.fetch(FeatureQuery(IDS))).batch.rows()
    except SfsError as error:
        return error.code
    assert rows == ROWS
    return ErrorCode.OK


async def right_again(source):
    for _ in range(100):  # a machine under load may need more than such a limit
        code = await outcome(source)
        if code == ErrorCode.OK:
            return
        assert code in CODES
    raise AssertionError("no recovery")


@pytest.mark.parametrize(
    ("driver", "damage"),
    [*(("psycopg", each) for each in (garbage, half, half_and_gone, never)), ("asyncpg", garbage), ("asyncpg", half)],
)
async def test_damaged_answers(make_behind_relay, relay, driver, damage):
    source = make_behind_relay(driver)
    await right_again(source)
    relay.damage = damage
    begin = time.monotonic()
    assert await outcome(source) in CODES
    assert time.monotonic() - begin < 60
    relay.damage = None
    await right_again(source)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_messages_that_nobody_asked_for_never_shift_a_row(make_behind_relay, relay, driver):
    source = make_behind_relay(driver)
    no_columns, finished, ready = b"D\0\0\0\x06\0\0", b"C\0\0\0\x0dSELECT 1\0", b"Z\0\0\0\x05I"
    for extra in (no_columns, finished, ready):
        await right_again(source)
        relay.damage = lambda data, extra=extra: extra + data
        assert await outcome(source) in CODES | {ErrorCode.OK, ErrorCode.INVALID_ARGUMENT}
        relay.damage = None
    await right_again(source)


async def test_closing_frees_threads_that_wait_for_a_server_that_answers_no_more(make_behind_relay, relay, pool):
    source = make_behind_relay("psycopg", statement_timeout=3600)
    await right_again(source)
    asked = threading.Event()
    relay.damage = lambda data: asked.set() or b""
    left = asyncio.ensure_future(source.fetch(FeatureQuery(IDS)))
    assert await asyncio.to_thread(asked.wait, 60)
    left.cancel()
    await asyncio.wait([left])
    await asyncio.to_thread(source.close)
    everyone = threading.Barrier(4)
    for each in [pool.submit(everyone.wait, 60) for _ in range(everyone.parties)]:
        each.result(60)
