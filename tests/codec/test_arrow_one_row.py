"""Streams of tables of one row against pyarrow: the same bytes out, the same tables in, damage found as it finds it."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import Batch, Schema, SfsError
from sfs_core.codec.arrow_ipc import decode_batch, encode_batch
from sfs_core.codec.arrow_one_row import OneRowStreams

SCHEMA = Schema([("select", pa.binary()), ("share", pa.binary()), ("party", pa.utf8())])


def pyarrow_bytes(batch: Batch) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema.arrow) as writer:
        writer.write_batch(batch.to_arrow())
    return sink.getvalue()


def tables() -> st.SearchStrategy[Batch]:
    binary, text = st.tuples(st.just(pa.binary()), st.binary(max_size=70)), st.tuples(st.just(pa.utf8()), st.text())
    columns = st.lists(st.tuples(st.text(max_size=12), st.booleans(), binary | text), min_size=1, max_size=18)
    return columns.map(made)


def made(columns: list[tuple[str, bool, tuple[Any, Any]]]) -> Batch:
    schema = Schema.from_arrow(pa.schema([pa.field(name, type_, null) for name, null, (type_, _) in columns]))
    return Batch.from_rows(schema, [tuple(value for _, _, (_, value) in columns)])


@given(tables())
def test_streams_are_pyarrow_s(batch: Batch) -> None:
    data = pyarrow_bytes(batch)
    for _ in range(2):  # the second time without pyarrow
        assert encode_batch(batch) == data
        again = decode_batch(data)
        assert (again.schema, list(again.rows())) == (batch.schema, list(batch.rows()))


def streams() -> OneRowStreams:
    """That have seen the schema."""
    learned, first = OneRowStreams(pyarrow_bytes), Batch.from_rows(SCHEMA, [(b"1", b"2", "3")])
    learned.learn(pyarrow_bytes(first), first)
    return learned


def test_what_is_learned_is_the_schema_not_the_values() -> None:
    batch = Batch.from_rows(SCHEMA, [(b"x" * 99, b"", "alice")])
    data = pyarrow_bytes(batch)
    assert OneRowStreams(pyarrow_bytes).read(data) is None
    found = streams().read(data)
    assert found is not None
    assert list(found.rows()) == [(b"x" * 99, b"", "alice")]


@pytest.mark.parametrize(
    "batch",
    [
        Batch.from_rows(SCHEMA, [(b"1", b"2", "3")] * 2),
        Batch.from_rows(Schema([("x", pa.binary())]), [(b"1",)]),
        Batch.from_rows(Schema([("x", pa.binary()), ("y", pa.float64())]), [(b"1", 0.5)]),
        Batch.from_columns(SCHEMA, [pa.array([b"1"]), pa.array([None], pa.binary()), pa.array(["3"])], 1),
    ],
    ids=["two rows", "one column", "numbers", "null"],
)
def test_other_tables_go_through_pyarrow(batch: Batch) -> None:
    assert streams().write(batch) is None
    assert streams().read(pyarrow_bytes(batch)) is None
    assert encode_batch(batch) == pyarrow_bytes(batch)
    assert decode_batch(pyarrow_bytes(batch)).to_arrow().equals(batch.to_arrow())


def test_damaged_streams_read_as_pyarrow_reads_them(dice: random.Random) -> None:
    learned = streams()
    data = pyarrow_bytes(Batch.from_rows(SCHEMA, [(b"abc", b"x" * 16, "\N{SNOWMAN}")]))
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(dice.randrange(1, 3)):
            damaged[dice.randrange(len(data))] = dice.choice([0, 1, 8, 127, 255, dice.randrange(256)])
        if dice.random() < 0.2:
            del damaged[dice.randrange(len(damaged)) :]
        found = learned.read(bytes(damaged))
        if found is not None:
            assert pyarrow_bytes(found) == damaged
        with suppress(SfsError):
            decode_batch(bytes(damaged)).rows()
