"""A stream of answers that is cut or garbled on its way: a coded error in time, then recovery, never another row."""

from __future__ import annotations

import asyncio
import time

import pyarrow as pa
import pytest

from sfs_core import ErrorCode, FeatureQuery, Schema, SfsError
from tests.support.processes import wait_for
from tests.support.relay import FaultyRelay, garbage, half, half_and_gone, never

X = Schema([("x", pa.float64()), ("y", pa.float64())])
IDS = [str(i) for i in range(300)]
ROWS = [(float(i), -1.0) for i in range(300)]
ANSWERS = {
    "hash": [b"*2\r\n$1\r\n7\r\n$1\r\n7\r\n", b"*1\r\n$1\r\n7\r\n", b":7\r\n", b"$2\r\n77\r\n"],
    "json": [b'$15\r\n{"x": 7, "y":7}\r\n', b"*1\r\n$1\r\n7\r\n", b":7\r\n", b"$-1\r\n"],
}
"""What an answer to another command may look like."""
CODES = {ErrorCode.NETWORK_ERROR, ErrorCode.FS_DEADLINE_EXCEEDED, ErrorCode.FS_INTERNAL_ERROR}


@pytest.fixture
def relay(server):
    made = FaultyRelay(server.port)
    yield made
    made.close()


@pytest.fixture(params=["hash", "json"])
def source(request, make, store, relay):
    with store.pipeline(transaction=False) as pipeline:
        for id_, (x, y) in zip(IDS, ROWS, strict=True):
            if request.param == "hash":
                pipeline.hset(f"user:{id_}", mapping={"x": x, "y": y})
            else:
                pipeline.set(f"user:{id_}", f'{{"x": {x}, "y": {y}}}')
        pipeline.execute()
    url = f"redis://127.0.0.1:{relay.port}/0"
    made = make(X, open=False, url=url, layout=request.param, pool_size=2, connect_timeout=0.3, timeout=0.1)
    wait_for(lambda: opens(made), "the source opens, however late a busy machine answers")
    return made


def opens(source):
    try:
        source.open()
    except SfsError:
        return False
    return True


async def outcome(source, damaged):
    """The error, if any; rows are right in any case."""
    begin = time.monotonic()
    try:
        rows = (await source.fetch(FeatureQuery(IDS))).batch.rows()
    except SfsError as raised:
        error = raised
    else:
        assert rows == ROWS, damaged
        return None
    assert error.code in CODES, damaged
    assert time.monotonic() - begin < 60
    return error


async def right_again(source):
    for _ in range(100):  # connections out of step are given up one by one; a machine under load may be late
        if await outcome(source, "afterwards") is None:
            return
    raise AssertionError("no recovery")


@pytest.mark.parametrize("damage", [garbage, half, half_and_gone, never])
async def test_damaged_answers(source, relay, damage):
    await right_again(source)
    relay.damage = damage
    for _ in range(2):
        assert await outcome(source, damage.__name__) is not None
    relay.damage = None
    await right_again(source)


async def test_answers_that_nobody_asked_for_never_shift_a_row(source, relay):
    for extra in ANSWERS[source.config.layout]:
        for damage in (lambda data, extra=extra: extra + data, lambda data, extra=extra: data + extra):
            await right_again(source)
            relay.damage = damage
            for _ in range(2):
                await outcome(source, extra)
            relay.damage = None
            await right_again(source)


async def test_an_answer_of_another_kind_in_a_rows_place(source, relay):
    first = {
        "hash": b"%2\r\n$1\r\nx\r\n$3\r\n0.0\r\n$1\r\ny\r\n$4\r\n-1.0\r\n",
        "json": b'$21\r\n{"x": 0.0, "y": -1.0}\r\n',
    }[source.config.layout]
    await right_again(source)
    for other in ANSWERS[source.config.layout][1:3]:
        relay.damage = lambda data, other=other: data.replace(first, other, 1)
        with pytest.raises(SfsError, match="what Redis answers"):
            await source.fetch(FeatureQuery(IDS))
    relay.damage = None
    await right_again(source)


async def test_callers_that_leave_shift_no_row(source, relay):
    """Their answers are still under way, and must not become the next caller's."""
    await right_again(source)
    for i in range(30):
        left = asyncio.ensure_future(source.fetch(FeatureQuery(IDS[::-1])))
        for _ in range(1 + i % 10):
            await asyncio.sleep(0)
        left.cancel()
        (result, _) = await asyncio.gather(source.fetch(FeatureQuery(IDS)), left, return_exceptions=True)
        assert isinstance(result, SfsError) or result.batch.rows() == ROWS
    await right_again(source)
