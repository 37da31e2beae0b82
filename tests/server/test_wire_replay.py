"""What the reference asked of the reference, asked of a party of ours: the answers are equal in content."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.message import Message

from sfs_core.codec.arrow_ipc import decode_batch
from sfs_core.codec.dialect import from_json
from sfs_core.link.framing import FrameCutter, read_meta
from sfs_core.link.listener import Listener
from sfs_core.link.rpc import CallInfo, Routes
from sfs_core.proto import apis_pb2, tools_pb2
from tests.support.clusters import exchange
from tests.support.processes import Party, reference_configs, wait_for

CAPTURES = ["sgd_logistic_alice_baidu_std", "sgd_logistic_alice_http", "sgb_logistic_alice_http"]
PARTIES = ("alice", "bob")
MODEL_INFO = ("secretflow.serving.apis.ModelService", "GetModelInfo")
ANSWERS: dict[str, type[Message]] = {
    "GetModelInfo": apis_pb2.GetModelInfoResponse,
    "Execute": apis_pb2.ExecuteResponse,
    "Push": tools_pb2.ControlResponse,
}


@dataclass
class Recorded:
    """One call: at whom, the bytes both ways."""

    asked: str
    request: bytes
    response: bytes = b""

    @property
    def method(self) -> str:
        return next(name for name in ANSWERS if name.encode() in self.request[:200])


def recorded_calls(capture: Path) -> Iterator[Recorded]:
    """In the order in which they were asked."""
    calls: list[Recorded] = []
    latest: dict[str, Recorded] = {}
    for line in (capture / "traffic.jsonl").read_text().splitlines():
        record = json.loads(line)
        connection, data = record["conn"], base64.b64decode(record["data"])
        if record["dir"] == "response":
            latest[connection].response += data
        elif connection in latest and not latest[connection].response:
            latest[connection].request += data
        else:
            latest[connection] = Recorded(connection.partition("#")[0].partition("->")[2], data)
            calls.append(latest[connection])
    yield from calls


def body_of(message: bytes) -> bytes:
    if message.startswith(b"PRPC"):
        ((_, payload),) = FrameCutter(1 << 26, 1 << 16).feed(message)
        return payload
    return message.partition(b"\r\n\r\n")[2]


def answer_in(message: bytes, method: str) -> Any:
    answer = ANSWERS[method]()
    if message.startswith(b"PRPC"):
        answer.MergeFromString(body_of(message))
    else:
        from_json(body_of(message), answer)
    return answer


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    start = await reader.readexactly(4)
    if start == b"PRPC":
        sizes = await reader.readexactly(8)
        return start + sizes + await reader.readexactly(int.from_bytes(sizes[:4]))
    head = start + await reader.readuntil(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(length)


# ------------------------------------------------------------------------ comparing
def assert_same(got: bytes, call: Recorded) -> None:
    ours, theirs = answer_in(got, call.method), answer_in(call.response, call.method)
    if call.method == "Push" and theirs.status.code != 1:
        assert ours.status.code == theirs.status.code
        return  # the texts are our own
    if got.startswith(b"PRPC"):
        metas = [read_meta(FrameCutter(1 << 26, 1 << 16).feed(data)[0][0]) for data in (got, call.response)]
        assert metas[0].correlation_id == metas[1].correlation_id
        assert metas[0].response.error_code == metas[1].response.error_code == 0
    else:
        assert_same_http(got, call)
    if call.method == "Execute":
        assert_same_tables(ours.result, theirs.result)
        ours.ClearField("result")
        theirs.ClearField("result")
    assert ours == theirs


def assert_same_http(got: bytes, call: Recorded) -> None:
    heads = [data.partition(b"\r\n\r\n")[0].split(b"\r\n") for data in (got, call.response)]
    assert heads[0][0] == heads[1][0] == b"HTTP/1.1 200 OK"
    assert b"Content-Type: application/json" in heads[0]
    ours, theirs = (json.loads(body_of(data)) for data in (got, call.response))
    assert shape(ours) == shape(theirs)


def shape(value: Any) -> Any:
    """Names in their order, and kinds of values."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def assert_same_tables(ours: apis_pb2.ExecuteResult, theirs: apis_pb2.ExecuteResult) -> None:
    tables = [tables_of(ours), tables_of(theirs)]
    assert tables[0].keys() == tables[1].keys()
    for node, table in tables[0].items():
        expected = tables[1][node]
        assert table.schema.equals(expected.schema)
        assert table.num_rows == expected.num_rows > 0
        for mine, wanted in zip(table.columns, expected.columns, strict=True):
            if pa.types.is_floating(mine.type):
                np.testing.assert_allclose(mine, wanted, rtol=1e-12, atol=0)
            else:
                assert mine == wanted


def tables_of(result: apis_pb2.ExecuteResult) -> dict[str, pa.RecordBatch]:
    found = {}
    for node in result.nodes:
        ((data,),) = (io.datas for io in node.ios)
        found[node.name] = decode_batch(data).to_arrow()
    return found


# ------------------------------------------------------------------------ replaying
@pytest.mark.parametrize("capture", CAPTURES)
def test_recorded_calls_get_equal_answers(cases: Path, tmp_path: Path, capture: str) -> None:
    case, _, protocol = capture.partition("_alice_")
    packages = {party: cases / "packages" / case / f"{party}.tar.gz" for party in PARTIES}
    rows = {party: cases / "wire" / capture / party / "in.csv" for party in PARTIES}
    features = {party: {"streamingOpts": {"filePath": str(rows[party]), "idName": "id"}} for party in PARTIES}
    configs = reference_configs(tmp_path, PARTIES, packages, features, protocol)
    ports = {
        party: json.loads(path.read_text())["serverConf"]["communicationPort"] for party, (path, _) in configs.items()
    }
    party = Party(*configs["bob"], ["--bulk-requester", "alice"])
    try:
        calls = list(recorded_calls(cases / "wire" / capture))
        assert len(calls) >= 6
        wait_for(lambda: exchange_or_none(ports["bob"]), "bob listens")
        asyncio.run(replay(calls, ports, party.log))
        assert party.process.wait(60) == 0, "it ends when its requester says so"
    finally:
        assert party.stop() == 0, party.log.read_text()


async def replay(calls: list[Recorded], ports: dict[str, int], log_of_bob: Path) -> None:
    """Ask bob what he was asked; alice comes up at the place at which she answered in the recording."""
    peer: Listener | None = None
    reader, writer = await asyncio.open_connection("127.0.0.1", ports["bob"])
    for call in calls:
        if call.asked == "bob":
            writer.write(call.request)
            assert_same(await asyncio.wait_for(read_answer(reader), 60), call)
        elif peer is None and call.method == "GetModelInfo":
            peer = Listener(Routes({MODEL_INFO: fixed_answer(body_of(call.response))}))
            await peer.start("127.0.0.1", ports["alice"])
            await asyncio.to_thread(wait_for, lambda: "bob: ready, serves" in log_of_bob.read_text(), "bob is ready")
    assert peer is not None
    writer.close()
    await peer.stop(0)


def fixed_answer(body: bytes) -> Any:
    def answer(request: bytes, info: CallInfo) -> bytes:
        assert b"svc" in request
        return body

    return answer


def exchange_or_none(port: int) -> Any:
    try:
        return exchange(port, "/health", method="GET")
    except OSError:
        return None
