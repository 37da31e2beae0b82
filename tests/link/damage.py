"""Damaged inputs for fuzz tests; run as a program, it feeds them to the decoders that end in native code."""

from __future__ import annotations

import random
import sys

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from sfs_core.batch import Batch
from sfs_core.codec.arrow_ipc import decode_batch, encode_batch
from sfs_core.codec.execution import call_from_message
from sfs_core.errors import SfsError
from sfs_core.proto.apis_pb2 import ExecuteRequest


def damaged(dice: random.Random, good: list[bytes]) -> bytes:
    """A good input after one to four accidents, or plain noise."""
    if dice.random() < 0.05:
        return dice.randbytes(dice.randrange(200))
    data = bytearray(dice.choice(good))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data[at:] = b""
            case 1:
                data[at : at + 1] = dice.randbytes(1)
            case 2:
                data[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            case 3:
                data[at:at] = dice.randbytes(dice.randrange(20))
            case 4:
                data[at : at + dice.randrange(20)] = b""
            case 5:
                other = dice.choice(good)
                data[at:] = other[dice.randrange(len(other)) :]
    return bytes(data)


def tables() -> list[bytes]:
    matrix = pa.record_batch({"y": pa.array(np.arange(5.0))})
    mixed = pa.record_batch(
        {"a": pa.array([1, None, 3]), "s": pa.array(["x", None, "zz"]), "b": pa.array([b"\1\2", b"\3\4", b"\5\6"])}
    )
    return [encode_batch(Batch.from_arrow(batch)) for batch in (matrix, mixed, mixed.slice(0, 0))]


def execute_requests() -> list[bytes]:
    ids = ExecuteRequest(requester_id="alice")
    ids.service_spec.id, ids.feature_source.type = "svc", 2
    ids.feature_source.fs_param.query_datas.extend(["1", "2"])
    predefined = ExecuteRequest(requester_id="alice")
    predefined.feature_source.type = 3
    feature = predefined.feature_source.predefineds.add()
    feature.field.name, feature.field.type = "age", 5
    feature.value.ds.extend([1.0, 2.0])
    later = ExecuteRequest(requester_id="alice")
    later.feature_source.type, later.task.execution_id = 1, 1
    for table in tables():
        later.task.nodes.add(name="dot").ios.add().datas.append(table)
    return [message.SerializeToString() for message in (ids, predefined, later)]


def survive_tables(dice: random.Random, count: int) -> int:
    """How many damaged tables could be read all the same; the others are refused in order."""
    good, read = tables(), 0
    for _ in range(count):
        try:
            decode_batch(damaged(dice, good)).to_arrow().validate(full=True)
            read += 1
        except SfsError:
            continue
    return read


def survive_execute_requests(dice: random.Random, count: int) -> int:
    """The same for whole requests."""
    good, read = execute_requests(), 0
    for _ in range(count):
        try:
            call_from_message(ExecuteRequest.FromString(damaged(dice, good)))
            read += 1
        except (SfsError, DecodeError):
            continue
    return read


if __name__ == "__main__":
    decoders = {"tables": survive_tables, "execute_requests": survive_execute_requests}
    print(decoders[sys.argv[1]](random.Random(int(sys.argv[2])), int(sys.argv[3])))
