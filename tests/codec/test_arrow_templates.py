"""Template streams against pyarrow: the same bytes out, the same tables in."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfs_core import Batch, Schema, SfsError
from sfs_core.codec.arrow_ipc import decode_batch, encode_batch
from sfs_core.codec.arrow_templates import StreamTemplates

names = st.text(max_size=12)
nullable = st.booleans()


def _schema(name: str, type_: object, nullable: bool) -> Schema:
    return Schema.from_arrow(pa.schema([pa.field(name, type_, nullable)]))


def _pyarrow_bytes(batch: Batch) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema.arrow) as writer:
        writer.write_batch(batch.to_arrow())
    return sink.getvalue()


def _pyarrow_values(data: bytes) -> list[object]:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all().column(0).to_pylist()


floats = st.builds(
    lambda name, null, values: Batch(_schema(name, pa.float64(), null), len(values), [np.array(values, np.float64)]),
    names,
    nullable,
    st.lists(st.floats(), max_size=40),
)
blocks = st.builds(
    lambda name, null, rows, width, seed: Batch(
        _schema(name, pa.binary(), null),
        rows,
        [np.random.default_rng(seed).integers(0, 256, (rows, width), np.uint8)],
    ),
    names,
    nullable,
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(0, 1000),
)


@given(st.lists(st.one_of(floats, blocks), min_size=1, max_size=6))
def test_streams_are_pyarrow_s(batches: list[Batch]) -> None:
    for batch in [*batches, *batches]:  # the second time from templates
        data = encode_batch(batch)
        assert data == _pyarrow_bytes(batch)
        again = decode_batch(data)
        assert (again.schema, again.num_rows) == (batch.schema, batch.num_rows)
        assert encode_batch(again) == data
        assert again.to_arrow().equals(batch.to_arrow()) or np.isnan(batch.float64(0)).any()


def test_forms_write_the_same_stream() -> None:
    schema = _schema("y", pa.float64(), True)
    expected = _pyarrow_bytes(Batch(schema, 2, [np.array([0.5, -1.0])]))
    matrix = Batch.from_matrix(schema, np.array([[0.5], [-1.0]]))
    sliced = Batch(schema, 2, [np.array([0.5, 9.0, -1.0])[::2]])
    for batch in (matrix, sliced, Batch.from_rows(schema, [(0.5,), (-1.0,)])):
        assert encode_batch(batch) == expected


def test_what_has_no_template_goes_through_pyarrow() -> None:
    templates = StreamTemplates(_pyarrow_bytes)
    for batch in (
        Batch.from_rows(_schema("y", pa.float64(), True), [(1.0,), (None,)]),
        Batch.from_rows(_schema("y", pa.utf8(), True), [("a",)]),
        Batch.from_rows(_schema("y", pa.binary(), True), [(b"a",), (b"bc",)]),
        Batch(Schema(), 2, []),
        Batch(_schema("y", pa.float64(), True), 0, [np.zeros(0)]),
    ):
        assert templates.write(batch) is None
        assert decode_batch(encode_batch(batch)).to_arrow().equals(batch.to_arrow())


@example(b"\0\4", 39)  # makes it big-endian
@given(st.binary(min_size=1, max_size=40), st.integers(0, 1000))
def test_damaged_streams_are_read_as_pyarrow_reads_them(damage: bytes, at: int) -> None:
    batch = Batch(_schema("partial_y", pa.float64(), True), 3, [np.array([1.0, 2.0, 3.0])])
    data = bytearray(encode_batch(batch))
    decode_batch(bytes(data))
    start = at % len(data)
    data[start : start + len(damage)] = damage[: len(data) - start]
    try:
        found = decode_batch(bytes(data))
    except SfsError:
        return
    assert found.column(0) is not None
    if found.schema is batch.schema and found.num_rows == 3 and not found.arrow(0).null_count:
        assert repr(found.arrow(0).to_pylist()) == repr(_pyarrow_values(bytes(data)))


def test_templates_do_not_grow_with_what_peers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_core.codec.arrow_templates._MOST_TEMPLATES", 10)
    templates = StreamTemplates(_pyarrow_bytes)
    schema = _schema("y", pa.float64(), True)
    for rows in range(1, 40):
        batch = Batch(schema, rows, [np.arange(rows, dtype=np.float64)])
        data = _pyarrow_bytes(batch)
        templates.learn(data, batch)
        assert templates.read(data) is not None
    assert len(templates._known) <= 10
    assert len(templates._beginnings) <= 10
    for i in range(20):
        batch = Batch(_schema(f"{i:02}", pa.float64(), True), 1, [np.zeros(1)])
        templates.learn(_pyarrow_bytes(batch), batch)
    assert all(len(beginnings) <= 8 for beginnings in templates._known.values())
