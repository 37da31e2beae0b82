"""Answers in another order, surplus ones, ones too few: never another id's row."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core import ErrorCode, FeatureError, FeatureQuery, Schema, SfsError
from tests.support.relay import FaultyRelay

from .test_look_up import LAYOUTS, put

X = Schema([("x", pa.float64()), ("y", pa.float64())])
WITH_ID = Schema([("x", pa.float64()), ("y", pa.float64()), ("id", pa.utf8())])
IDS = list("abcdefgh")
ROWS = [(float(i), -1.0) for i in range(len(IDS))]
STRAYS = {
    "hash": [b"*3\r\n$1\r\n7\r\n$1\r\n7\r\n$1\r\n7\r\n", b"*2\r\n$1\r\n7\r\n$1\r\n7\r\n", b"$-1\r\n"],
    "json": [b'$27\r\n{"x": 7, "y": 7, "id": "7"}\r\n', b"$-1\r\n"],
}


def values(data: bytes) -> list[bytes]:
    """The answers that bytes consist of; ValueError where one is not whole yet."""
    found, at = [], 0
    while at < len(data):
        end = value_end(data, at)
        found.append(data[at:end])
        at = end
    return found


def value_end(data: bytes, at: int) -> int:
    end = data.index(b"\r\n", at) + 2
    kind, count = data[at : at + 1], data[at + 1 : end - 2]
    if kind == b"$" and int(count) >= 0:
        end += int(count) + 2
    elif kind in b"*%":
        for _ in range(int(count) * (2 if kind == b"%" else 1)):
            end = value_end(data, end)
    if end > len(data):
        raise ValueError
    return end


class Rearranging:
    """Has answers come as `order` says: indices into the right answers, and beyond these into others."""

    def __init__(self, others: list[bytes]) -> None:
        self.order: list[int] | None = None
        self._others = others
        self._waiting = b""

    def __call__(self, data: bytes) -> bytes:
        if self.order is None:
            return data
        self._waiting += data
        try:
            right = values(self._waiting)
        except ValueError:
            return b""
        if len(right) < len(IDS):  # of a new connection's greetings
            data, self._waiting = self._waiting, b""
            return data
        self._waiting = b""
        *right, mark = right
        pool = [*right, mark, *self._others]
        return b"".join(pool[i] for i in self.order)


@pytest.fixture(params=["hash", "json"])
def layout(request):
    return request.param


@pytest.fixture
def relay(server, layout):
    made = FaultyRelay(server.port)
    made.damage = Rearranging(STRAYS[layout])
    yield made
    made.close()


def fill(store, layout, schema=WITH_ID):
    for id_, (x, y) in zip(IDS, ROWS, strict=True):
        put(store, layout, f"user:{id_}", schema, {"x": x, "y": y, "id": id_})


def orders(layout, id_field):
    """Of the right answers and others; none too few, for which a source would wait."""
    others = st.integers(0, len(IDS) + len(STRAYS[layout]))
    if id_field:
        whole = st.permutations(range(len(IDS))).map(lambda rows: [*rows, len(IDS)])
        return st.one_of(whole, st.lists(others, min_size=len(IDS) + 1, max_size=len(IDS) + 4))
    others = others.filter(lambda i: i != len(IDS))  # nobody answers another batch's mark
    surplus = st.lists(st.tuples(st.integers(0, len(IDS) + 1), others), max_size=3)
    return surplus.map(with_surplus)


def with_surplus(surplus):
    order = list(range(len(IDS) + 1))
    for at, index in surplus:
        order.insert(at, index)
    return order


async def rows_or_error(source):
    (found,) = await asyncio.gather(source.fetch(FeatureQuery(IDS)), return_exceptions=True)
    if isinstance(found, SfsError):
        assert found.code in {ErrorCode.FS_INTERNAL_ERROR, ErrorCode.INVALID_ARGUMENT}
        return found
    return found.batch.rows()


@pytest.mark.parametrize("id_field", ["", "id"])
def test_no_rearrangement_gives_another_row(make, store, relay, layout, id_field):
    """With ids in rows none at all; without, none that has more answers than commands."""
    fill(store, layout)
    source = make(X, url=f"redis://127.0.0.1:{relay.port}/0", layout=layout, id_field=id_field, timeout=60)
    right = list(range(len(IDS) + 1))
    with asyncio.Runner() as runner:

        @settings(max_examples=40)
        @given(order=orders(layout, id_field))
        def rearranged(order):
            relay.damage.order = None
            while isinstance(found := runner.run(rows_or_error(source)), SfsError):
                pass  # surplus answers of the example before are found now at the latest
            assert found == ROWS
            relay.damage.order = order
            found = runner.run(rows_or_error(source))
            assert isinstance(found, SfsError) or (found == ROWS and order[: len(right)] == right)

        try:
            rearranged()
        finally:
            runner.run(asyncio.to_thread(source.close))


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_row_under_another_ids_key(make, store, layout):
    fill(store, layout)
    source = make(X, layout=layout, id_field="id")
    assert (await source.fetch(FeatureQuery(["b", "a", "b"]))).batch.rows() == [(1.0, -1.0), (0.0, -1.0), (1.0, -1.0)]
    put(store, layout, "user:a", WITH_ID, {"x": 9.0, "y": 9.0, "id": "b"})
    with pytest.raises(SfsError, match=r"row 1: the field 'id' .* does not hold the id") as caught:
        await source.fetch(FeatureQuery(["b", "a"]))
    assert caught.value.code == ErrorCode.FS_INTERNAL_ERROR
    store.delete("user:a")
    put(store, layout, "user:a", X, {"x": 9.0, "y": 9.0})
    with pytest.raises(FeatureError, match="row 0: there is no field 'id'") as caught:
        await source.fetch(FeatureQuery(["a"]))
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    with pytest.raises(FeatureError, match="1 of 2 ids have no row"):
        await source.fetch(FeatureQuery(["a", "none"]))


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_ids_in_rows_may_be_integers_and_features_too(make, store, layout):
    schema = Schema([("number", pa.int64()), ("x", pa.float64())])
    for number in (7, 8):
        put(store, layout, f"user:{number}", schema, {"number": number, "x": 0.5 * number})
    source = make(schema, layout=layout, id_field="number")
    assert (await source.fetch(FeatureQuery(["8", "7"]))).batch.to_arrow().to_pylist() == [
        {"number": 8, "x": 4.0},
        {"number": 7, "x": 3.5},
    ]
    store.rename("user:7", "user:07")
    with pytest.raises(SfsError, match="does not hold the id"):
        await source.fetch(FeatureQuery(["07"]))
    alone = make(Schema(), layout=layout, id_field="number")
    assert (await alone.fetch(FeatureQuery(["8", "8"]))).batch.num_rows == 2
