"""Messages with many small tables: the same bytes and tables as node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import Batch, Schema, SfsError, TableBlock
from sfs_core.block import PartyBlocks
from sfs_core.codec.arrow_ipc import encode_batch
from sfs_core.codec.block_templates import BlockTemplates
from sfs_core.codec.execution import (
    ExecuteCall,
    ExecuteReply,
    call_from_message,
    call_to_message,
    reply_from_message,
    reply_to_message,
)
from sfs_core.proto import apis_pb2

FLOATS = Schema([("weight", pa.float64())])
BYTES = Schema([("select", pa.binary())])


def written_singly(nodes: Mapping[str, Sequence[Batch]]) -> bytes:
    message = apis_pb2.ExecuteResult()
    for name, tables in nodes.items():
        message.nodes.add(name=name).ios.add().datas.extend([encode_batch(table) for table in tables])
    return message.SerializeToString()


def block(rows: int, width: int, seed: int = 0) -> Batch:
    values = np.random.default_rng(seed).integers(0, 256, (rows, width), np.uint8)
    return Batch(BYTES, rows, [values])


def trees(count: int, rows: int = 2, seed: int = 0) -> dict[str, list[Batch]]:
    return {f"tree {i}": [block(rows, 2 + i % 3, seed + i)] for i in range(count)}


def blocks(nodes: Mapping[str, Sequence[Batch]]) -> PartyBlocks:
    """The same tables, as each party's block."""
    counts = {len(tables) for tables in nodes.values()}
    parties = [{name: tables[i] for name, tables in nodes.items()} for i in range(counts.pop())]
    found = PartyBlocks.of([TableBlock.of(tables) for tables in parties])
    assert found is not None
    return found


def same(found: Mapping[str, Sequence[Batch]], expected: Mapping[str, Sequence[Batch]]) -> bool:
    return {name: [table.to_arrow() for table in tables] for name, tables in found.items()} == {
        name: [table.to_arrow() for table in tables] for name, tables in expected.items()
    }


tables = st.one_of(
    st.builds(block, st.integers(0, 3), st.integers(0, 12), st.integers(0, 99)),
    st.builds(lambda values: Batch(FLOATS, len(values), [np.array(values, np.float64)]), st.lists(st.floats(0, 1))),
    st.builds(lambda values: Batch.from_rows(FLOATS, [(value,) for value in values]), st.lists(st.floats(0, 1))),
    st.builds(lambda value: Batch(BYTES, 1, [pa.array([value], pa.binary())]), st.none() | st.binary()),
    st.just(Batch(BYTES, 2, [np.arange(20, dtype=np.uint8).reshape(2, 10)[:, ::2]])),
    st.just(Batch(Schema(), 3, [])),
    st.just(Batch(Schema([("n", pa.int64())]), 2, [np.arange(2)])),
)


@given(st.dictionaries(st.text(max_size=5), st.lists(tables, min_size=1, max_size=3), max_size=8))
def test_messages_are_those_of_single_nodes(nodes):
    expected = written_singly(nodes)
    call = ExecuteCall("svc", "alice", 3, inputs=nodes)
    for _ in range(3):  # first made, then learnt, then known
        message = call_to_message(call)
        assert apis_pb2.ExecuteResult(nodes=message.task.nodes).SerializeToString() == expected
        if nodes:
            again = call_from_message(apis_pb2.ExecuteRequest.FromString(message.SerializeToString()))
            assert again.execution == 3
            assert same(again.inputs, nodes)


@given(st.integers(1, 12), st.integers(0, 20), st.integers(0, 99))
def test_replies(count, rows, seed):
    for step in range(3):
        nodes = trees(count, rows, seed + step)
        (block,) = blocks(nodes).blocks
        message = reply_to_message("svc", ExecuteReply(block, {"k": "v"}))
        assert message.result.SerializeToString() == written_singly(nodes)
        found = reply_from_message(message, 0)
        assert found.headers == {"k": "v"}
        assert same({n: [t] for n, t in found.outputs.items()}, nodes)
        if step and rows and count > 1:
            assert type(found.outputs) is TableBlock


@given(
    st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4), min_size=1, max_size=3),
    st.integers(0, 12),
    st.permutations([0, 1, 2, 3]),
)
def test_blocks_of_several_parties(widths, rows, order):
    for step in range(3):
        nodes = {f"tree {i}": [block(rows, of_party[i], step) for of_party in widths] for i in range(4)}
        first, *_ = blocks(nodes).blocks
        moved = {f"tree {i}": nodes[f"tree {i}"] for i in order}  # a party's tables may stand in another order
        tables = PartyBlocks.of([first, *blocks(moved).blocks[1:]])
        assert tables is not None
        message = call_to_message(ExecuteCall("svc", "alice", 1, inputs=tables))
        assert apis_pb2.ExecuteResult(nodes=message.task.nodes).SerializeToString() == written_singly(nodes)
        found = call_from_message(message)
        assert same(found.inputs, nodes)
        assert found.most_rows == rows
        assert type(found.inputs) is PartyBlocks or not (step and rows)


def test_a_known_message_is_read_without_arrow():
    templates = BlockTemplates()
    data = written_singly(trees(5))
    assert templates.read(data) is None
    templates.learn(data, trees(5))
    other = trees(5, seed=100)
    found = templates.read(written_singly(other))
    assert found is not None
    assert same(found, other)
    assert templates.read(written_singly(trees(6))) is None


@given(st.integers(0, 100_000), st.binary(min_size=1, max_size=4))
def test_damaged_messages_are_read_as_node_by_node(at, damage):
    data = bytearray(written_singly(trees(5)))
    reply_from_message(apis_pb2.ExecuteResponse(result=apis_pb2.ExecuteResult.FromString(bytes(data))), 0)
    at %= len(data)
    data[at : at + len(damage)] = damage[: len(data) - at]
    try:
        message = apis_pb2.ExecuteResult.FromString(bytes(data))
    except Exception:  # noqa: BLE001 - protobuf's error has no public name
        return
    singly = [read_singly(node) for node in message.nodes]
    try:
        found = reply_from_message(apis_pb2.ExecuteResponse(result=message), 0)
    except SfsError:
        assert None in singly
        return
    assert None not in singly
    assert same({n: [t] for n, t in found.outputs.items()}, dict(filter(None, singly)))


def read_singly(node: apis_pb2.NodeIo) -> tuple[str, list[Batch]] | None:
    try:
        reply = reply_from_message(apis_pb2.ExecuteResponse(result=apis_pb2.ExecuteResult(nodes=[node])), 0)
    except SfsError:
        return None
    return node.name, [reply.outputs[node.name]]


def test_templates_do_not_grow_with_what_peers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_core.codec.block_templates._MOST_BYTES", 20_000)
    templates = BlockTemplates()
    for rows in range(1, 60):
        templates.learn(written_singly(trees(5, rows)), trees(5, rows))
        assert templates.read(written_singly(trees(5, rows))) is not None
    assert 0 < sum(t.size for t in templates._by_shape.values() if t) <= 20_000
    nodes = trees(5)
    for size in range(1, 60):  # unknown fields behind the nodes
        templates.learn(written_singly(nodes) + b"\x7a" + bytes([size]) + bytes(size), nodes)
    assert len(templates._by_size) <= len(templates._by_shape)


def test_large_messages_are_written_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_core.codec.block_templates._LARGEST", 2000)
    assert BlockTemplates().write(blocks(trees(4))) is not None
    assert BlockTemplates().write(blocks(trees(10))) is None
    message = reply_to_message("svc", ExecuteReply(blocks(trees(10)).blocks[0]))
    assert message.result.SerializeToString() == written_singly(trees(10))
