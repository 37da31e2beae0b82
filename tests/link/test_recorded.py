"""Traffic recorded from the reference: every request, byte for byte, gets the recorded answer."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sfs_core.link.framing import FrameCutter, read_meta
from sfs_core.link.listener import Listener
from sfs_core.link.rpc import CallInfo, Handler, Routes

CAPTURES = [
    "sgb_logistic_alice_http",
    "sgd_logistic_alice_baidu_std",
    "sgd_logistic_alice_http",
    "sgd_logistic_he_alice_http",
]
METHODS = [
    ("secretflow.serving.apis.ModelService", "GetModelInfo"),
    ("secretflow.serving.apis.ExecutionService", "Execute"),
    ("secretflow.serving.tools.InferenceControlService", "Push"),
]


@dataclass
class Exchange:
    request: bytes
    response: bytes


def exchanges(capture: Path) -> Iterator[Exchange]:
    """Requests and answers, in pairs: a chunk may hold a part of a message only."""
    open_: dict[str, Exchange] = {}
    for line in (capture / "traffic.jsonl").read_text().splitlines():
        record = json.loads(line)
        data = base64.b64decode(record["data"])
        if record["dir"] == "request":
            held = open_.get(record["conn"])
            if held is not None and held.response:
                yield open_.pop(record["conn"])
            open_.setdefault(record["conn"], Exchange(b"", b"")).request += data
        else:
            open_[record["conn"]].response += data
    yield from (exchange for exchange in open_.values() if exchange.response)


def body_of(message: bytes) -> bytes:
    if message.startswith(b"PRPC"):
        ((_, payload),) = FrameCutter(1 << 26, 1 << 16).feed(message)
        return payload
    return message.partition(b"\r\n\r\n")[2]


def same(got: bytes, recorded: bytes) -> bool:
    """Equal bytes; of a frame's meta data only the contents count."""
    if not recorded.startswith(b"PRPC"):
        return got == recorded
    frames = [FrameCutter(1 << 26, 1 << 16).feed(data) for data in (got, recorded)]
    metas = [[read_meta(meta) for meta, _ in frame] for frame in frames]
    return metas[0] == metas[1] and [p for _, p in frames[0]] == [p for _, p in frames[1]]


@pytest.mark.parametrize("capture", CAPTURES)
def test_recorded_requests_get_recorded_answers(run, cases, capture):
    pairs = list(exchanges(cases / "wire" / capture))
    assert len(pairs) >= 6
    asked: list[bytes] = []
    current = Exchange(b"", b"")

    def replay(body: bytes, info: CallInfo) -> bytes:
        asked.append(body)
        return body_of(current.response)

    async def later(body: bytes, info: CallInfo) -> bytes:
        await asyncio.sleep(0)
        return replay(body, info)

    async def main(handler: Handler) -> None:
        nonlocal current
        listener = Listener(Routes(dict.fromkeys(METHODS, handler)))
        await listener.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        smallest = min(pairs, key=lambda pair: len(pair.request))
        for current in pairs:
            cuts = range(len(current.request)) if current is smallest else [0, len(current.request) // 2]
            for cut in cuts:
                writer.write(current.request[:cut])
                await asyncio.sleep(0.0003)
                writer.write(current.request[cut:])
                got = await reader.readexactly(len(current.response))
                assert same(got, current.response)
                assert asked.pop() == body_of(current.request)
        writer.close()
        await listener.stop(0)

    async def both() -> None:
        await main(replay)
        await main(later)

    run(both())
