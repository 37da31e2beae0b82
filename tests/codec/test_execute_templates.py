"""Calls and answers without protobuf: the same bytes and records as with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import Batch, Schema, SfsError, TableBlock
from sfs_core.codec.entries import TRACE_ENTRIES
from sfs_core.codec.execute_templates import CallTemplates, ReplyTemplates
from sfs_core.codec.execution import (
    ExecuteCall,
    ExecuteReply,
    call_from_message,
    call_to_message,
    reply_from_message,
    reply_to_message,
)
from sfs_core.errors import ErrorCode
from sfs_core.proto import apis_pb2

FLOATS = Schema([("y", pa.float64())])
BYTES = Schema([("select", pa.binary())])
TEXTS = st.text(max_size=12)


def call_of(digits: int, ids: list[str], context: str = "", **other: Any) -> ExecuteCall:
    values = f"{digits:032x}", f"{digits % 2**64:016x}", "1"
    return ExecuteCall(
        "service", "alice", 0, dict(zip(TRACE_ENTRIES, values, strict=True)), ids=ids, context=context, **other
    )


def read_call(data: bytes) -> ExecuteCall | None:
    """As protobuf reads it; None where it is refused."""
    try:
        return call_from_message(apis_pb2.ExecuteRequest.FromString(data))
    except (DecodeError, SfsError):
        return None


def learnt(*messages: bytes) -> CallTemplates:
    templates = CallTemplates()
    for data in messages:
        templates.learn(data, call_from_message(apis_pb2.ExecuteRequest.FromString(data)))
    return templates


def written(call: ExecuteCall) -> bytes:
    return call_to_message(call).SerializeToString()


@st.composite
def changed(draw: st.DrawFn, data: bytes) -> bytes:
    """A message that is cut off, or has other bytes in a few places."""
    bytes_ = bytearray(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(data)), st.integers(0, 255)), max_size=3)):
        bytes_[place : place + draw(st.integers(0, 1))] = bytes([byte])
    return bytes(bytes_)


KNOWN_CALLS = [
    written(call_of(1, ["a"], model="m" * 16)),
    written(call_of(1, ["a"], per_row=True)),
    written(call_of(1, ["a"])),
]


# ------------------------------------------------------------------------ calls
@given(
    st.integers(0, 2**128 - 1),
    st.lists(TEXTS, min_size=1, max_size=200),
    TEXTS,
    st.booleans(),
    st.sampled_from(["", "m" * 16]),
)
def test_calls_like_one_that_is_known_are_read_as_by_protobuf(
    digits: int, ids: list[str], context: str, per_row: bool, model: str
) -> None:
    call = call_of(digits, ids, context, per_row=per_row, model=model)
    templates = learnt(written(call_of(1, ["a"], per_row=per_row, model=model)))
    assert templates.read(written(call)) == call


@given(st.data())
def test_damaged_calls_are_read_as_by_protobuf_or_left_to_it(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(KNOWN_CALLS).flatmap(changed))
    found = learnt(*KNOWN_CALLS).read(message)
    assert found is None or found == read_call(message)


@given(st.permutations(["header", "requester_id", "service_spec", "session_id", "feature_source"]), st.data())
def test_calls_whose_fields_come_in_any_order(order: list[str], data: st.DataObject) -> None:
    whole = call_to_message(call_of(1, ["a"], "context"))
    whole.session_id = "session"
    parts = []
    for name in order:
        part = apis_pb2.ExecuteRequest.FromString(whole.SerializeToString())
        for other in order:
            if other != name:
                part.ClearField(other)
        parts.append(part.SerializeToString())
    message = b"".join(parts)
    templates = learnt(message)
    assert (templates.read(message) is not None) == (order[-1] == "feature_source")
    damaged: bytes = data.draw(changed(message))
    found = templates.read(damaged)
    assert found is None or found == read_call(damaged)


def test_calls_of_other_kinds_are_left_to_protobuf() -> None:
    known = call_of(1, ["a"])
    own_entry = ExecuteCall("service", "alice", headers={**known.headers, "own": "1"}, ids=["a"])
    tables = ExecuteCall("service", "alice", 1, known.headers, inputs={"n": [Batch(FLOATS, 1, [np.ones(1)])]})
    others = [own_entry, tables, ExecuteCall("service", "alice", ids=["a"])]
    templates = learnt(*map(written, others))
    assert [templates.read(written(call)) for call in [*others, known]] == [None] * 4
    templates = learnt(written(known))
    alike = [
        ExecuteCall("service", "bob", 0, known.headers, ids=["a"]),
        ExecuteCall("other", "alice", 0, known.headers, ids=["a"]),
    ]
    assert [templates.read(written(call)) for call in [*others, *alike, call_of(1, ["a"], model="x")]] == [None] * 6


def test_a_large_call_is_not_learnt_from_but_read_like_a_small_one() -> None:
    large = written(call_of(1, ["a" * 100] * 1000))
    assert learnt(large).read(large) is None
    assert learnt(KNOWN_CALLS[2]).read(large) == read_call(large)


def test_a_call_whose_source_comes_in_two_parts_is_left_to_protobuf() -> None:
    first = apis_pb2.ExecuteRequest(feature_source={"fs_param": {"query_context": "context"}}).SerializeToString()
    call = call_of(1, ["a"], "context")
    data = first + written(call)
    assert read_call(data) == call
    assert learnt(data).read(data) is None


def test_a_call_that_repeats_its_trace_elsewhere_is_read_as_by_protobuf() -> None:
    call = call_of(1, ["a"])
    entry = apis_pb2.Header(data={"X-B3-Sampled": "1"}).SerializeToString()
    session = apis_pb2.ExecuteRequest(session_id=entry.decode()).SerializeToString()
    requester = apis_pb2.ExecuteRequest(requester_id=entry.decode()).SerializeToString()
    own = b"\x12\x05alice"
    for message in (
        session + written(call),
        written(call).replace(own, requester),
        requester + written(call).replace(own, b""),
    ):
        templates = learnt(message)
        for other in (message, message.replace(entry, entry[:-1] + b"0", 1), message.replace(entry, entry[:-1] + b"0")):
            assert templates.read(other) in (None, read_call(other))


def test_calls_that_are_all_different_are_remembered_no_more() -> None:
    templates = CallTemplates()
    calls = [ExecuteCall(f"service {i}", "alice", 0, call_of(1, []).headers, ids=["a"]) for i in range(40)]
    for call in calls:
        templates.learn(written(call), call)
    assert sum(templates.read(written(call)) is not None for call in calls) <= 16


# ----------------------------------------------------------------------- answers
def answer(values: list[float], form: str = "columns", node: str = "node") -> ExecuteReply:
    column = np.array(values, np.float64)
    forms: dict[str, Any] = {
        "columns": {"columns": [column]},
        "rows": {"rows": [(value,) for value in values]},
        "matrix": {"matrix": column.reshape(-1, 1)},
    }
    return ExecuteReply({node: Batch(FLOATS, len(values), **forms[form])})


def block(count: int, rows: int, seed: int) -> ExecuteReply:
    random = np.random.default_rng(seed)
    tables = {f"tree {i}": Batch(BYTES, rows, [random.integers(0, 256, (rows, 2), np.uint8)]) for i in range(count)}
    found = TableBlock.of(tables)
    assert found is not None
    return ExecuteReply(found)


def as_bytes(reply: ExecuteReply) -> tuple[Any, ...]:
    tables = {name: (table.schema, table.to_arrow().serialize().to_pybytes()) for name, table in reply.outputs.items()}
    return tables, dict(reply.headers), reply.missing


def read_reply(data: bytes) -> ExecuteReply | None:
    try:
        message = apis_pb2.ExecuteResponse.FromString(data)
        return reply_from_message(message, 0) if message.status.code == ErrorCode.OK else None
    except (DecodeError, SfsError):
        return None


def expecting(*replies: ExecuteReply) -> ReplyTemplates:
    templates = ReplyTemplates()
    for reply in replies:
        templates.expect("service", reply)
    return templates


@given(st.lists(st.floats(), min_size=1, max_size=50), st.sampled_from(["columns", "rows", "matrix"]), TEXTS)
def test_answers_are_written_and_read_as_by_protobuf(values: list[float], form: str, node: str) -> None:
    reply = answer(values, form, node)
    message = reply_to_message("service", reply).SerializeToString()
    assert ReplyTemplates().write("service", reply) == message
    assert ReplyTemplates().read(message) is None
    found = expecting(answer([0.0] * len(values), node=node)).read(message)
    assert found is not None
    assert as_bytes(found) == as_bytes(reply)


@given(st.integers(2, 20), st.integers(1, 5), st.integers(0, 2**32))
def test_blocks_are_written_and_read_as_by_protobuf(count: int, rows: int, seed: int) -> None:
    reply = block(count, rows, seed)
    message = reply_to_message("service", reply).SerializeToString()
    assert ReplyTemplates().write("service", reply) == message
    read_reply(message)  # from which the tables' places are known
    found = expecting(reply).read(message)
    assert found is not None
    assert as_bytes(found) == as_bytes(reply)


@given(st.data())
def test_damaged_answers_are_read_as_by_protobuf_or_left_to_it(data: st.DataObject) -> None:
    replies = [answer([1.0]), answer([1.0, 2.0]), block(3, 2, 1)]
    messages = [reply_to_message("service", reply).SerializeToString() for reply in replies]
    for message in messages:
        read_reply(message)
    message = data.draw(st.sampled_from(messages).flatmap(changed))
    found = expecting(*replies).read(message)
    if found is not None:
        expected = read_reply(message)
        assert expected is not None
        assert as_bytes(found) == as_bytes(expected)


@pytest.mark.parametrize(
    "reply",
    [
        ExecuteReply({}),
        ExecuteReply({"a": answer([1.0]).outputs["node"], "b": answer([1.0]).outputs["node"]}),
        ExecuteReply(answer([1.0]).outputs, {"entry": "1"}),
        ExecuteReply(answer([1.0]).outputs, missing=[False]),
        answer([]),
        ExecuteReply({"node": Batch.from_rows(Schema([("y", pa.int64())]), [(1,)])}),
        ExecuteReply({"node": Batch.from_arrow(pa.record_batch({"y": pa.array([None], pa.float64())}))}),
    ],
)
def test_answers_of_other_kinds_are_left_to_protobuf(reply: ExecuteReply) -> None:
    assert ReplyTemplates().write("service", reply) is None
    assert expecting(reply).read(reply_to_message("service", reply).SerializeToString()) is None


def test_names_from_peers_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfs_core.codec.execute_templates._MOST_TEMPLATES", 4)
    templates = ReplyTemplates()
    for rows in range(1, 12):
        templates.expect("service", answer([0.0] * rows))
    messages = [reply_to_message("service", answer([1.0] * rows)).SerializeToString() for rows in range(1, 12)]
    assert 1 <= sum(templates.read(message) is not None for message in messages) <= 4
