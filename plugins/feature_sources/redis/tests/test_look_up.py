"""Looking rows up in a real Redis: layouts, types, order, hostile ids."""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import math

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfs_core import ConfigError, ErrorCode, FeatureContext, FeatureError, FeatureQuery, Schema

X = Schema([("x", pa.float64())])
LAYOUTS = ["hash", "json", "msgpack", "arrow"]
MIXED = Schema([
    ("d", pa.float64()), ("f", pa.float32()), ("i", pa.int64()), ("s", pa.int8()), ("u", pa.uint64()),
    ("b", pa.bool_()), ("t", pa.utf8()), ("y", pa.binary()),
])  # fmt: skip
ROW = {
    "d": 0.1,
    "f": float(np.float32(0.1)),
    "i": -(2**63),
    "s": -128,
    "u": 2**64 - 1,
    "b": True,
    "t": "ü",
    "y": "ÿ".encode(),
}


def put(store, layout, key, schema, row):
    """Keep a row in the given layout."""
    if layout == "hash":
        texts = {
            name: value if isinstance(value, bytes) else str(value) for name, value in row.items() if value is not None
        }
        store.hset(key, mapping=texts)
    elif layout == "json":
        store.set(key, json.dumps({k: v.decode() if isinstance(v, bytes) else v for k, v in row.items()}))
    elif layout == "msgpack":
        store.set(key, msgspec.msgpack.encode(row))
    else:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema.arrow) as stream:
            stream.write_batch(pa.RecordBatch.from_pylist([row], schema=schema.arrow))
        store.set(key, sink.getvalue().to_pybytes())


async def rows(source, *ids):
    return (await source.fetch(FeatureQuery(list(ids)))).batch.to_arrow().to_pylist()


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_rows_come_in_query_order_and_repeat(make, store, layout):
    for i in range(4):
        put(store, layout, f"user:{i}", X, {"x": i / 2})
    source = make(X, layout=layout)
    for _ in range(2):
        assert await rows(source, "3", "0", "3", "1") == [{"x": 1.5}, {"x": 0.0}, {"x": 1.5}, {"x": 0.5}]
    assert await rows(source) == []
    with pytest.raises(FeatureError, match=r"2 of 4 ids have no row in Redis \(request rows 1, 3\)") as caught:
        await rows(source, "3", "secret", "1", "9")
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_each_type_arrives_exactly(make, store, layout):
    put(store, layout, "user:a", MIXED, ROW)
    assert await rows(make(MIXED, layout=layout), "a") == [ROW]


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_missing_values_are_refused_or_kept(make, store, layout):
    two = Schema([("x", pa.float64()), ("y", pa.float64())])
    put(store, layout, "user:a", two, {"x": 1.0, "y": 2.0})
    put(store, layout, "user:b", two, {"x": 3.0, "y": None})
    put(store, layout, "user:c", X, {"x": 4.0})
    for id_ in "bc":
        with pytest.raises(FeatureError, match="column 'y', row 1: there is no value") as caught:
            await rows(make(two, layout=layout), "a", id_)
        assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    kept = await rows(make(two, layout=layout, nulls="keep"), "c", "a", "b")
    assert kept == [{"x": 4.0, "y": None}, {"x": 1.0, "y": 2.0}, {"x": 3.0, "y": None}]


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_key_of_another_kind_is_refused_by_row(make, store, layout):
    put(store, layout, "user:a", X, {"x": 1.0})
    if layout == "hash":
        store.set("user:b", "{}")
    else:
        store.set("user:b", b"\xff\x00 nothing of the kind")
        store.hset("user:c", "x", "1")
        with pytest.raises(FeatureError, match="row 0: the key holds something else"):
            await rows(make(X, layout=layout), "c")
    with pytest.raises(FeatureError, match=r"row 1: (the|what the) key holds"):
        await rows(make(X, layout=layout), "a", "b")


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (pa.float64(), "1_0"), (pa.float64(), " 1"), (pa.float64(), ""), (pa.float64(), "1e999"), (pa.float64(), "x"),
        (pa.float32(), "1e300"), (pa.int8(), "128"), (pa.uint8(), "-1"), (pa.int64(), "1.0"), (pa.int64(), "9" * 20),
        (pa.bool_(), "yes"), (pa.utf8(), b"\xff"),
    ],
)  # fmt: skip
async def test_texts_that_do_not_fit_are_refused_by_place(make, store, type_, text):
    store.hset("user:a", "x", text)
    with pytest.raises(FeatureError, match=rf"column 'x', row 0: the value is no {type_}"):
        await rows(make(Schema([("x", type_)])), "a")


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.float64(), "1.5"), (pa.float64(), True), (pa.float64(), 2**53 + 1), (pa.float32(), 1e300), (pa.int8(), 128),
        (pa.int32(), 1.0), (pa.bool_(), 1), (pa.utf8(), 1), (pa.binary(), [1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["json", "msgpack"])
async def test_decoded_values_that_do_not_fit_are_refused_by_place(make, store, layout, type_, value):
    put(store, layout, "user:a", X, {"x": value})
    with pytest.raises(FeatureError, match=rf"column 'x', row 0: the value is no {type_}"):
        await rows(make(Schema([("x", type_)]), layout=layout), "a")


async def test_arrow_rows_may_differ_in_all_but_the_features(make, store):
    wide = Schema([("y", pa.utf8()), ("x", pa.float64())])
    for i in range(3):
        put(store, "arrow", f"user:{i}", X, {"x": float(i)})
        put(store, "arrow", f"user:w{i}", wide, {"x": float(-i), "y": "s" * i})
    whole = store.get("user:0")
    for cut in (8, 100, len(whole) - 100, len(whole) - 9):
        store.set("user:cut", whole[:cut])
        with pytest.raises(FeatureError, match="row 1: what the key holds is no Arrow IPC stream"):
            await rows(make(X, layout="arrow"), "0", "cut")
    source = make(X, layout="arrow")
    for _ in range(2):
        ids = ["0", "w1", "1", "2", "w2", "w0"]
        assert [row["x"] for row in await rows(source, *ids)] == [0, -1, 1, 2, -2, 0]


async def test_an_arrow_row_must_have_the_type_and_one_row(make, store):
    put(store, "arrow", "user:a", Schema([("x", pa.float32())]), {"x": 1.0})
    with pytest.raises(FeatureError, match="column 'x', row 0: float, double is needed"):
        await rows(make(X, layout="arrow"), "a")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, X.arrow) as stream:
        stream.write_batch(pa.RecordBatch.from_pylist([{"x": 1.0}, {"x": 2.0}], schema=X.arrow))
    store.set("user:a", sink.getvalue().to_pybytes())
    with pytest.raises(FeatureError, match="row 0: the Arrow stream holds 2 rows"):
        await rows(make(X, layout="arrow"), "a")


async def test_special_floats_pass(make, store):
    for i, text in enumerate(["nan", "inf", "-Infinity", "1e-3", "+5", ".5"]):
        store.hset(f"user:{i}", "x", text)
    batch = (await make(X).fetch(FeatureQuery(list("012345")))).batch.float64(0)
    assert math.isnan(batch[0])
    assert batch[1:].tolist() == [math.inf, -math.inf, 0.001, 5.0, 0.5]


async def test_fields_may_have_other_names(make, store):
    store.hset("user:a", mapping={"age": "7", "x": "1"})
    assert await rows(make(X, fields={"x": "age"}), "a") == [{"x": 7.0}]


@pytest.mark.parametrize(("others", "command"), [(0, "hgetall"), (1, "hgetall"), (50, "hmget")])
async def test_whole_hashes_are_read_where_most_of_their_fields_are_wanted(make, store, others, command):
    for key in ("user:a", "user:b"):
        store.hset(key, mapping={"x": "1"} | {f"other{i}": "2" for i in range(others)})
    source = make(X)
    await rows(source, "a", "b")
    store.config_resetstat()
    assert await rows(source, "a", "b") == [{"x": 1.0}] * 2
    assert store.info("commandstats")[f"cmdstat_{command}"]["calls"] == 2


async def test_hashes_that_grow_are_no_longer_read_whole(make, store):
    store.hset("user:a", "x", "1")
    source = make(X)
    for _ in range(2):
        await rows(source, "a")
    store.hset("user:a", mapping={f"other{i}": "2" for i in range(50)})
    await rows(source, "a")
    store.config_resetstat()
    assert await rows(source, "a") == [{"x": 1.0}]
    assert "cmdstat_hmget" in store.info("commandstats")


@pytest.mark.parametrize(
    "id_", ["*", "?", "a\r\nFLUSHALL\r\n", "{id}", "{0}", "%s", "", "\0", "\ud800", "ü", "a" * 10_000]
)
async def test_ids_are_opaque(make, store, id_):
    store.hset("user:a", "x", "1")
    source = make(X)
    with pytest.raises(FeatureError, match="1 of 2 ids have no row") as caught:
        await rows(source, "a", id_)
    assert len(id_) < 2 or id_ not in str(caught.value)
    store.hset(b"user:" + id_.encode("utf-8", "surrogatepass"), "x", "2")
    assert await rows(source, id_, "a") == [{"x": 2.0}, {"x": 1.0}]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.text(), min_size=1, unique=True), data=st.data())
def test_no_order_of_ids_shifts_a_row(make, store, keys, data):
    ids = data.draw(st.lists(st.sampled_from(keys), min_size=1))
    for i, key in enumerate(keys):
        store.hset(f"user:{key}".encode("utf-8", "surrogatepass"), "x", i)
    source = make(X)

    async def fetch():
        try:
            return await rows(source, *ids)
        finally:
            await asyncio.to_thread(source.close)

    assert asyncio.run(fetch()) == [{"x": float(keys.index(id_))} for id_ in ids]


async def test_equals_csv(make, store, tmp_path):
    from sfs_feature_csv.source import CsvConfig, CsvFeatureSource

    names = [f"x{i}" for i in range(30)]
    schema = Schema((name, pa.float64()) for name in names)
    generator = np.random.default_rng(4)
    table = {f"id{i}": row for i, row in enumerate(generator.normal(size=(1_000, 30)).tolist())}
    with (tmp_path / "f.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", *names], *([id_, *row] for id_, row in table.items())])
    context = FeatureContext("service", "alice", logging.getLogger("test"), tmp_path, schema, None)
    by_csv = CsvFeatureSource(CsvConfig(path="f.csv"), context)
    by_csv.open()
    ids = [f"id{i}" for i in generator.permutation(1_000)]
    expected = by_csv.fetch(FeatureQuery(ids)).batch.matrix()
    with store.pipeline(transaction=False) as pipeline:
        for layout in LAYOUTS:
            for id_, row in table.items():
                put(pipeline, layout, f"{layout}:{id_}", schema, dict(zip(names, row, strict=True)))
            pipeline.execute()
    for layout in LAYOUTS:
        fetched = await make(schema, layout=layout, key=layout + ":{id}", timeout=60).fetch(FeatureQuery(ids))
        assert np.array_equal(fetched.batch.matrix(), expected)


def test_a_feature_of_an_odd_type_is_refused(make):
    with pytest.raises(ConfigError, match="'x' is date32"):
        make(Schema([("x", pa.date32())]))
