"""HTTP/2 without gRPC, the reference's protocol `h2`: refused in words that its clients show."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core.link.plain_http2 import FirstRequest
from tests.link.echo import exchange, listening

BRPC = (  # as the reference's client begins
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x04\x00\x04\x00\x00"
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x0f\x00\x01"
    b"\x00\x00r\x01\x04\x00\x00\x00\x01\x83\x86D2/secretflow.serving.apis.ModelService/GetModelInfo"
    b"A\x0f127.0.0.1:34993_\x11application/protoS\x03*/*z\x11brpc/1.0 curl/7.0"
    b"\x00\x00\t\x00\x01\x00\x00\x00\x01\n\x00\x12\x05\n\x03svc"
)
PLAIN = b"application/proto"
HUFFMAN = bytes.fromhex("1d75d0620d263d4c4d6564")
"""application/grpc"""
TOLD = b"choose the protocol h2:grpc, http or baidu_std"


def test_the_answer_says_what_to_do(run, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        async with listening() as listener:
            answer = await exchange(listener.port, BRPC, end=False)
            assert answer.count(TOLD) == 2  # the answer to the call, and the farewell
            assert b"415" in answer

    run(check())
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "speaks HTTP/2 without gRPC (the protocol h2)" in warning


def test_another_client_reads_it(run) -> None:
    async def check() -> None:
        async with listening() as listener:
            url = f"http://127.0.0.1:{listener.port}/ModelService/GetModelInfo"
            command = ["curl", "-s", "-m", "60", "--http2-prior-knowledge", "-d", "x", "-w", " %{http_code}", url]
            told = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
            assert told.stdout.endswith(TOLD + b" 415"), told

    try:
        version = subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout
    except OSError:
        pytest.skip("there is no curl")
    if b"HTTP2" not in version:
        pytest.skip("curl does not speak HTTP/2")
    run(check())


@given(cuts=st.lists(st.integers(0, len(BRPC)), max_size=6))
@pytest.mark.parametrize(
    ("content_type", "stream"), [(PLAIN, 1), (b"application/grpc+", None), (HUFFMAN + b"123456", None)]
)
def test_however_it_arrives(content_type: bytes, stream: int | None, cuts: list[int]) -> None:
    data = BRPC.replace(PLAIN, content_type)
    assert len(data) == len(BRPC)
    first, found = FirstRequest(), None
    edges = [0, *sorted(cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        if not first.known:
            found = found or first.feed(data[begin:end])
    assert first.known
    assert found == stream


@given(st.binary(max_size=200))
def test_anything_is_looked_at_without_harm(data: bytes) -> None:
    FirstRequest().feed(BRPC[:24] + data)


def test_looking_ends() -> None:
    first = FirstRequest()
    first.feed(BRPC[:24])
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 10_000
    assert first.feed(settings) is None
    assert first.known
