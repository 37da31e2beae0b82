"""A hostile peer at the communication port: an error code for each thing it tries, and right scores afterwards."""

from __future__ import annotations

import io
import itertools
import re
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pytest

from sfs_core.link.framing import FrameCutter, read_meta, request_frame
from sfs_core.model.graph import Dispatch, Graph
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.proto import apis_pb2, serving_pb2
from tests.support.clusters import cluster_files, exchange, registry, write_csv
from tests.support.processes import Party

EXECUTE = ("secretflow.serving.apis.ExecutionService", "Execute")
MAX_BODY = 4 << 20
IDS = ["a", "b"]
LINEAR = [4.5, 6.5]
TREES = [0.25, -4.0]
ONLY_LEAF = bytes([5, 0b001])
"""A selection of a tree with three leaves: five bits of padding, then leaf 0 alone."""


@dataclass(frozen=True)
class Target:
    """The party attacked, which holds the label, and its ports."""

    parties: Mapping[str, Party]
    port: int

    def execute(self, request: apis_pb2.ExecuteRequest) -> tuple[int, str]:
        """Code and text of the answer over `baidu_std`."""
        frame = request_frame(*EXECUTE, 7, 5000, request.SerializeToString())
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(frame)
            return read_status(connection)

    def assert_serves(self) -> None:
        for party in self.parties.values():
            assert party.process.poll() is None
            assert party.scores("linear", ("alice", "bob"), IDS) == LINEAR
            assert party.scores("boosted", ("alice", "bob"), IDS) == TREES


def read_status(connection: socket.socket) -> tuple[int, str]:
    cutter = FrameCutter(1 << 26, 1 << 16)
    while data := connection.recv(1 << 16):
        for meta, payload in cutter.feed(data):
            failure = read_meta(meta).response
            if failure.error_code:
                return failure.error_code, failure.error_text
            status = apis_pb2.ExecuteResponse.FromString(payload).status
            return status.code, status.msg
    raise AssertionError("the connection was closed without an answer")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile")
    operator = registry().operator
    linear = split_linear(operator, {"alice": {"x": 1.0}, "bob": {"y": 1.0}}, label_holder="alice", intercept=0.5)
    tree = Tree([1, -1, 3, -1, -1], [2, -1, 4, -1, -1], ["x", "", "y", "", ""], [1.5, 0, 9, 0, 0], [0, 0.25, 0, -4, 7])
    boosted = split_trees(operator, [tree], {"x": "alice", "y": "bob"}, parties=["alice", "bob"], label_holder="alice")
    columns = {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [3.0, 4.0]}}
    plain = linear
    linear = {party: sent_to(graph, "alice", party) for party, graph in plain.items()}
    features = {party: write_csv(folder / f"{party}.csv", IDS, own) for party, own in columns.items()}
    files = cluster_files(
        folder,
        {"linear": linear, "plain": plain, "boosted": boosted},
        features,
        limits={"max_body": MAX_BODY, "max_rows": 1000},
    )
    with files.running("--log-level", "debug") as parties:
        target = Target(parties, files.communication_port("alice"))
        target.assert_serves()
        yield target
        for party in parties.values():
            assert party.stop() == 0
            log = party.log.read_text()
            assert "Traceback" not in log
            assert "unexpected" not in log


def sent_to(graph: Graph, chosen: str, party: str) -> Graph:
    """The graph with its merging sent to one party, so that others' tables reach it there."""
    first, last = graph.executions
    last = replace(last, dispatch=Dispatch.SPECIFIED, specific=party == chosen)
    return replace(graph, executions=(first, last))


# -------------------------------------------------------------------- what goes in
def features_call(service: str = "linear", *ids: str) -> apis_pb2.ExecuteRequest:
    request = apis_pb2.ExecuteRequest(requester_id="bob")
    request.service_spec.id = service
    request.feature_source.type = apis_pb2.FS_SERVICE
    request.feature_source.fs_param.query_datas.extend(ids)
    return request


def tables_call(service: str, node: str, *tables: bytes, execution: int = 1) -> apis_pb2.ExecuteRequest:
    request = apis_pb2.ExecuteRequest(requester_id="bob")
    request.service_spec.id = service
    request.feature_source.type = apis_pb2.FS_NONE
    request.task.execution_id = execution
    request.task.nodes.add(name=node).ios.add().datas.extend(tables)
    return request


def stream(*batches: pa.RecordBatch, **options: object) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def partials(*values: float | None, name: str = "partial", kind: str = "double") -> pa.RecordBatch:
    return pa.record_batch([pa.array(values, kind)], [name])


def selections(*values: bytes | None) -> bytes:
    return stream(pa.record_batch([pa.array(values, pa.binary())], ["selects"]))


def merge(*tables: bytes) -> apis_pb2.ExecuteRequest:
    return tables_call("linear", "dot", *tables)


def merge_trees(*tables: bytes) -> apis_pb2.ExecuteRequest:
    return tables_call("boosted", "select_0", *tables)


def changed(
    request: apis_pb2.ExecuteRequest, change: Callable[[apis_pb2.ExecuteRequest], object]
) -> apis_pb2.ExecuteRequest:
    change(request)
    return request


def predefined(kind: int, **values: list[object]) -> apis_pb2.ExecuteRequest:
    request = features_call()
    request.feature_source.type = apis_pb2.FS_PREDEFINED
    feature = request.feature_source.predefineds.add()
    feature.field.name, feature.field.type = "x", kind
    for name, list_ in values.items():
        getattr(feature.value, name).extend(list_)
    return request


def with_row_count(count: int) -> bytes:
    """A table of one row whose metadata claims another number."""
    table = bytearray(stream(partials(1.0)))
    at = [i for i in range(len(table) - 8) if struct.unpack_from("<q", table, i)[0] == 1]
    for i in at:
        struct.pack_into("<q", table, i, count)
    return bytes(table)


GOOD = stream(partials(1.0, 2.0))
SELECT = selections(ONLY_LEAF)


def test_good_calls_are_answered(target: Target) -> None:
    assert target.execute(features_call("linear", *IDS)) == (1, "")
    assert target.execute(merge(GOOD, GOOD)) == (1, "")
    assert target.execute(merge_trees(SELECT, SELECT)) == (1, "")
    assert target.execute(merge_trees(SELECT, selections(b""))) == (1, "")


REFUSED: dict[str, tuple[apis_pb2.ExecuteRequest, int]] = {
    "nothing": (apis_pb2.ExecuteRequest(), 3),
    "an unknown service": (features_call("nope", "a"), 3),
    "an unknown requester": (changed(features_call("linear", "a"), lambda r: setattr(r, "requester_id", "eve")), 3),
    "no requester": (changed(features_call("linear", "a"), lambda r: setattr(r, "requester_id", "")), 3),
    "no ids": (features_call("linear"), 3),
    "an unknown id": (features_call("linear", "canary"), 3),
    "more ids than rows are served": (features_call("linear", *["a"] * 1001), 3),
    "an execution beyond the last": (tables_call("linear", "dot", GOOD, GOOD, execution=2), 7),
    "a negative execution": (tables_call("linear", "dot", GOOD, GOOD, execution=-1), 7),
    "the largest execution": (tables_call("linear", "dot", GOOD, GOOD, execution=2**31 - 1), 7),
    "an execution that requesters run themselves": (tables_call("plain", "dot", GOOD, GOOD), 7),
    "tables that the execution does not take": (
        changed(merge(GOOD, GOOD), lambda r: r.task.nodes.add(name="merge").ios.add().datas.append(GOOD)),
        7,
    ),
    "tables for the first execution": (tables_call("linear", "dot", GOOD, GOOD, execution=0), 7),
    "ids for a later execution": (
        changed(features_call("linear", "a"), lambda r: setattr(r.task, "execution_id", 1)),
        7,
    ),
    "ids and tables": (changed(features_call("linear", "a"), lambda r: r.task.nodes.add(name="dot")), 7),
    "neither": (tables_call("linear", "dot"), 7),
    "an unknown kind of source": (changed(merge(), lambda r: r.ClearField("task")), 7),
    "an io without a table": (merge(), 7),
    "no io": (changed(merge(), lambda r: r.task.nodes[0].ClearField("ios")), 7),
    "two ios": (changed(merge(GOOD), lambda r: r.task.nodes[0].ios.add().datas.append(GOOD)), 7),
    "an empty table": (merge(GOOD, b""), 2),
    "one table": (merge(GOOD), 7),
    "three tables": (merge(GOOD, GOOD, GOOD), 7),
    "another node's tables": (tables_call("linear", "merge", GOOD, GOOD), 7),
    "unequal rows": (merge(GOOD, stream(partials(1.0))), 7),
    "another column": (merge(GOOD, stream(partials(1.0, 2.0, name="canary"))), 7),
    "another type": (merge(GOOD, stream(partials("canary", "x", kind="string"))), 2),
    "a null": (merge(GOOD, stream(partials(1.0, None))), 3),
    "two batches": (merge(GOOD, stream(partials(1.0), partials(2.0))), 7),
    "lz4": (merge(GOOD, stream(partials(*[0.0] * 10_000), compression="lz4")), 2),
    "zstd": (merge(GOOD, stream(partials(*[0.0] * 100_000), compression="zstd")), 2),
    "no Arrow": (merge(GOOD, b"canary" * 100), 2),
    "a stream cut off": (merge(GOOD, GOOD[: len(GOOD) // 2]), 2),
    "a schema alone": (merge(GOOD, GOOD[: struct.unpack_from("<I", GOOD, 4)[0] + 8]), 7),
    "a dictionary": (merge(GOOD, stream(pa.record_batch([pa.array(["x", "y"]).dictionary_encode()], ["partial"]))), 2),
    "a list column": (merge(GOOD, stream(pa.record_batch([pa.array([[1.0], [2.0]])], ["partial"]))), 2),
    "a huge row count": (merge(with_row_count(2**40), with_row_count(2**40)), 2),
    "a negative row count": (merge(with_row_count(-5), with_row_count(-5)), 2),
    "columns without a row": (merge(stream(partials()), GOOD), 7),
    "a selection of another tree": (merge_trees(SELECT, selections(b"\x07\x01")), 7),
    "a longer selection": (merge_trees(SELECT, selections(ONLY_LEAF + b"\xff")), 7),
    "a shorter selection": (merge_trees(SELECT, selections(ONLY_LEAF[:1])), 7),
    "a padding of 255": (merge_trees(SELECT, selections(b"\xff" + ONLY_LEAF[1:])), 7),
    "a selection of a megabyte": (merge_trees(SELECT, selections(b"\xff" * (1 << 20))), 7),
    "leaves beyond the last": (merge_trees(selections(b"\x05\xf8"), selections(b"\x05\xf8")), 7),
    "several leaves left": (merge_trees(selections(b"\x05\xff"), selections(b"\x05\xff")), 7),
    "no leaf left": (merge_trees(SELECT, selections(b"\x05\x00")), 7),
    "a null selection": (merge_trees(SELECT, selections(None)), 7),
    "empty selections of both": (merge_trees(selections(b""), selections(b"")), 7),
    "one selection for many rows": (merge_trees(SELECT, selections(*[ONLY_LEAF] * 500)), 7),
    "crafted selections of many rows": (merge_trees(*[selections(*[b"\x05\xff\xff", b""] * 300)] * 2), 7),
    "sent features of an unknown type": (predefined(0, ds=[1.0]), 2),
    "sent features of another type": (predefined(serving_pb2.FIELD_STRING, ss=["canary"]), 3),
    "more sent rows than are served": (predefined(serving_pb2.FIELD_DOUBLE, ds=[1.0] * 1001), 3),
    "larger tables than are served": (merge(*[stream(partials(*[1.0] * 1001))] * 2), 3),
    "sent features": (predefined(serving_pb2.FIELD_DOUBLE, ds=[1.0]), 3),
    "no sent features": (changed(predefined(1), lambda r: r.feature_source.ClearField("predefineds")), 3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_crafted_call_is_refused(target: Target, name: str) -> None:
    request, code = REFUSED[name]
    found, text = target.execute(request)
    assert found == code, text
    assert text
    assert "canary" not in text
    assert re.search(r"/|\.py", text) is None, "no place in a source"
    # The same over HTTP.
    answer = exchange(
        target.port,
        "/ExecutionService/Execute",
        request.SerializeToString(),
        headers={"Content-Type": "application/proto"},
    )
    assert apis_pb2.ExecuteResponse.FromString(answer.body).status.code == code
    target.assert_serves()


def test_crafted_offsets_do_not_reach_beyond_the_table(target: Target) -> None:
    """Every 32-bit number in the body replaced by large ones: the code is an error, or the table is still valid."""
    table = selections(ONLY_LEAF, ONLY_LEAF)
    begin = table.index(struct.pack("<iii", 0, 2, 4))
    for at, number in itertools.product(range(begin, begin + 12, 4), (-1, 3, 5, 2**20, 2**31 - 1, -(2**31))):
        crafted = table[:at] + struct.pack("<i", number) + table[at + 4 :]
        code, text = target.execute(merge_trees(crafted, table))
        assert code in (2, 7), (at, number, text)
    target.assert_serves()


def test_unknown_fields_are_ignored(target: Target) -> None:
    unknown = b"\xa2\x06\x06canary" + b"\xa8\x06\x01"
    frame = request_frame(*EXECUTE, 7, 5000, features_call("linear", "a").SerializeToString() + unknown)
    with socket.create_connection(("127.0.0.1", target.port), 10) as connection:
        connection.sendall(frame)
        assert read_status(connection) == (1, "")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"PRPC" + b"\xff" * 100,
        b"PRPC" + struct.pack(">II", 10, 20) + b"x" * 20,
        b"PRPC" + struct.pack(">II", 2**31, 4) + b"x" * 4,
        b"PRPC" + struct.pack(">II", 4, 4) + b"\xff\xff\xff\xff",
        b"PRPCX" * 1000,
        b"GET / FTP/9.9\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["zeros", "no sizes", "meta beyond body", "2 GiB", "no meta", "no frame", "no HTTP", "length", "TLS", "HTTP/2"],
)
def test_garbage_ends_its_connection_only(target: Target, data: bytes) -> None:
    for port in (target.port, target.parties["alice"].service_port):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
    target.assert_serves()


def test_frames_cut_off_anywhere(target: Target) -> None:
    frame = request_frame(*EXECUTE, 7, 5000, features_call("linear", "a").SerializeToString())
    for cut in range(1, len(frame)):
        with socket.create_connection(("127.0.0.1", target.port), 10) as connection:
            connection.sendall(frame[:cut])
    target.assert_serves()


def test_an_unfinished_frame_keeps_nobody_waiting(target: Target) -> None:
    frame = request_frame(*EXECUTE, 7, 5000, features_call("linear", "a").SerializeToString())
    with socket.create_connection(("127.0.0.1", target.port), 10) as connection:
        connection.sendall(frame[:-1])
        target.assert_serves()
        connection.sendall(frame[-1:])
        assert read_status(connection) == (1, "")


def test_an_oversized_frame(target: Target) -> None:
    with socket.create_connection(("127.0.0.1", target.port), 10) as connection:
        connection.sendall(b"PRPC" + struct.pack(">II", MAX_BODY + (1 << 20), 4))
        assert connection.recv(1) == b""
    target.assert_serves()


def test_a_body_that_is_no_message(target: Target) -> None:
    with socket.create_connection(("127.0.0.1", target.port), 10) as connection:
        connection.sendall(request_frame(*EXECUTE, 7, 5000, b"\x0a\xff canary"))
        code, text = read_status(connection)
    assert (code, "canary" in text) == (1003, False)
    target.assert_serves()


def test_an_unknown_method(target: Target) -> None:
    for service, method, code in (
        ("secretflow.serving.apis.ExecutionService", "Nope", 1002),
        ("secretflow.serving.apis.PredictionService", "Predict", 1001),
    ):
        with socket.create_connection(("127.0.0.1", target.port), 10) as connection:
            connection.sendall(request_frame(service, method, 7, 5000, b""))
            assert read_status(connection)[0] == code
    target.assert_serves()
