"""Rows as Feast writes them: bytes made by feast 0.67's own functions."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError
from sfs_feature_redis.feast import feast_field, feast_key
from sfs_feature_redis.source import RedisConfig

from sfs_core import FeatureError, FeatureQuery, Schema

VIEW = {"project": "shop", "view": "driver_stats", "entity": "driver_id", "entity_type": "int64"}
KEYS = {
    (
        "driver_id",
        "int64",
        "1001",
    ): "0100000002000000090000006472697665725f69640400000008000000e90300000000000073686f70",
    ("driver_id", "int64", "-5"): "0100000002000000090000006472697665725f69640400000008000000fbffffffffffffff73686f70",
    ("driver_id", "int32", "7"): "0100000002000000090000006472697665725f696403000000040000000700000073686f70",
    ("customer", "string", "ü7"): "010000000200000008000000637573746f6d65720200000003000000c3bc3773686f70",
}
FIELDS = {
    "conv_rate": "fa731014", "trips": "426aa434", "vip": "18ed690f", "name": "afd7bc6a", "blob": "81ba7753",
    "small": "ec408013", "at": "3d9f6603", "none": "3f68e89b", "zero": "37667b85", "ü": "0048b26c",
}  # fmt: skip
VALUES = {
    "conv_rate": (pa.float64(), "299a9999999999b93f", 0.1), "zero": (pa.float64(), "290000000000000000", 0.0),
    "small": (pa.float32(), "35cdcccc3d", 0.10000000149011612),
    "trips": (pa.int64(), "2080808080808080808001", -(2**63)),
    "at": (pa.int64(), "4080e2cfaa06", 1_700_000_000), "vip": (pa.bool_(), "3801", True),
    "name": (pa.utf8(), "1202c3bc", "ü"), "blob": (pa.binary(), "0a0200ff", b"\0\xff"),
}  # fmt: skip
SCHEMA = Schema((name, type_) for name, (type_, *_) in VALUES.items())
ROW = {name: value for name, (*_, value) in VALUES.items()}
KEY = bytes.fromhex(KEYS["driver_id", "int64", "1001"])
TIME = ("_ts:driver_stats", bytes.fromhex("0880e2cfaa06"))


def mapping(**more: str) -> dict[bytes | str, bytes]:
    values = {name: data for name, (_, data, _) in VALUES.items()} | more
    return {bytes.fromhex(FIELDS[name]): bytes.fromhex(data) for name, data in values.items()} | dict([TIME])


@pytest.mark.parametrize(("entity", "type_", "id_"), KEYS)
def test_keys(entity, type_, id_):
    config = RedisConfig(url="redis://host", layout="feast", feast=VIEW | {"entity": entity, "entity_type": type_})
    assert feast_key(config.feast)(id_).hex() == KEYS[entity, type_, id_]


def test_fields():
    assert {name: feast_field("driver_stats", name).hex() for name in FIELDS} == FIELDS


@pytest.fixture
def make_on(make):
    return lambda schema=SCHEMA, **options: make(schema, **{"key": "", "layout": "feast", "feast": VIEW} | options)


async def rows(source, *ids):
    return (await source.fetch(FeatureQuery(list(ids)))).batch.to_arrow().to_pylist()


async def test_rows(make_on, store):
    store.hset(KEY, mapping=mapping())
    source = make_on()
    assert await rows(source, "1001", "1001") == [ROW, ROW]
    for absent in ("01001", "1002", "x", "", "9" * 19, "9" * 30, "\ud800", "\u0661"):
        with pytest.raises(FeatureError, match="1 of 2 ids have no row"):
            await rows(source, "1001", absent)
    store.hdel(KEY, TIME[0])  # other views' features may remain
    with pytest.raises(FeatureError, match="1 of 1 ids have no row"):
        await rows(source, "1001")


@pytest.mark.parametrize("null", ["", "980100"])
async def test_nulls(make_on, store, null):
    store.hset(KEY, mapping=mapping(trips=null))
    with pytest.raises(FeatureError, match="column 'trips', row 0: there is no value"):
        await rows(make_on(), "1001")
    assert await rows(make_on(nulls="keep"), "1001") == [ROW | {"trips": None}]


@pytest.mark.parametrize(
    "data",
    [
        "29",
        "2900",
        "7a120a10000000000000f03f0000000000000040",  # a list of doubles
        "1205c3bc",
        "1201ff",
        "20ffffffffffffffffffff01",
        "20ac0200",
        "3802",
        "ff",
        "1202c3bc",
        "3801",
    ],
)
async def test_values_that_do_not_fit_are_refused_by_place(make_on, store, data):
    store.hset(KEY, mapping=mapping(conv_rate=data))
    with pytest.raises(FeatureError, match="column 'conv_rate', row 0: the value is no double"):
        await rows(make_on(), "1001")


@pytest.mark.parametrize(
    "options",
    [{"key": "user:{id}"}, {"id_field": "id"}, {"layout": "hash"}, {"feast": None}, {"layout": "hash", "feast": None}],
)
def test_options_that_do_not_fit_together(options):
    with pytest.raises(ValidationError):
        RedisConfig(**{"url": "redis://host", "layout": "feast", "feast": VIEW} | options)
