"""`sfs bench`, against running servers and against ones that fail."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from sfs_core.cli.bench import expand_ids
from sfs_core.client.load.figures import figures_of
from sfs_core.client.load.generator import Callers, Generator, Samples, even_arrivals, random_arrivals
from sfs_core.client.load.protocols import open_transport
from sfs_core.client.load.questions import draw_questions
from sfs_core.client.load.transport import Call, Transport
from sfs_core.client.target import parse_target
from sfs_core.errors import RequestError
from sfs_core.proto import apis_pb2
from tests.cli.sfs import sfs_here
from tests.support.clusters import ClusterFiles, linear_files, write_csv
from tests.support.in_process import serving_here
from tests.support.processes import free_ports

IDS = [f"r{i}" for i in range(100)]
COLUMNS = {"alice": {"age": [float(i) for i in range(100)]}, "bob": {"debts": [0.25] * 100}}
SHORT = ("--seconds", "0.3", "--warm-up", "0.05", "--slices", "2")
NAMED = ("--service", "linear", "--party", "alice", "--party", "bob")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    files = linear_files(tmp_path_factory.mktemp("bench"), IDS, COLUMNS)
    with serving_here(files):
        yield files


@pytest.mark.parametrize("scheme", ["http", "http+json", "baidu_std"])
@pytest.mark.parametrize("load", [("--callers", "3"), ("--rate", "200"), ("--rate", "200", "--arrivals", "even")])
def test_right_answers_are_counted(files: ClusterFiles, tmp_path: Path, scheme: str, load: tuple[str, ...]) -> None:
    expected = write_csv(tmp_path / "expected.csv", IDS, {"score": [i + 0.75 for i in range(100)]})
    url = f"{scheme}://127.0.0.1:{files.service_port('alice')}"
    result = sfs_here(
        "bench", url, *NAMED, "--ids", "r{0..99}", "--rows", 3, "--expect", expected, *load, *SHORT, "--json", "-"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (figures,) = json.loads(result.stdout)
    assert figures["right"] == figures["requests"] > 5
    assert figures["problems"] == {}
    latencies = list(figures["latency_ms"].values())
    assert latencies == sorted(latencies)
    assert len(figures["slice_rates"]) == 2
    if "even" in load:
        assert figures["requests"] == 60


def test_two_targets_by_turns(files: ClusterFiles) -> None:
    alice, bob = (f"baidu_std://127.0.0.1:{files.service_port(party)}" for party in ("alice", "bob"))
    result = sfs_here("bench", alice, bob, *NAMED, "--ids", "r{0..99}", *SHORT)
    assert result.returncode == 0, result.stdout
    assert f"{alice} ÷ {bob}: rate" in result.stdout
    result = sfs_here("bench", files.paths["alice"], files.paths["bob"], "--ids", "r{0..99}", *SHORT, "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["target"] for row in rows] == [str(files.paths["alice"]), str(files.paths["bob"])]
    assert all(float(row["p99.9_ms"]) > 0 for row in rows)


def test_wrong_answers_are_counted_by_what_is_wrong(files: ClusterFiles, tmp_path: Path) -> None:
    expected = write_csv(tmp_path / "expected.csv", IDS, {"score": [0.0] * 100})
    for arguments, problem in [
        (("--ids", "r{0..99}", "--expect", expected), "wrong score"),
        (
            (
                "--ids",
                "nobody",
            ),
            "code 3",
        ),
        (("--ids", "r1", "--service", "other", "--party", "alice"), "code 7"),
    ]:
        url = f"http+json://127.0.0.1:{files.service_port('alice')}"
        named = () if "--service" in arguments else NAMED
        result = sfs_here("bench", url, *named, *arguments, *SHORT)
        assert result.returncode == 1
        assert f"x {problem}" in result.stdout, result.stdout


def test_nobody_there_and_one_that_hangs() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    result = sfs_here("bench", url, *NAMED, "--ids", "r1", *SHORT, "--json", "-")
    assert result.returncode == 1
    (figures,) = json.loads(result.stdout)
    assert figures["right"] == 0
    assert set(figures["problems"]) == {"connection refused"}
    assert figures["latency_ms"]["p50"] is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("http", "baidu_std"):
            url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
            result = sfs_here("bench", url, *NAMED, "--ids", "r1", *SHORT, "--timeout", "0.1", "--rate", "20")
            assert "x timeout" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ids", "r1", "--rate", "1", "--callers", "1"), "either --rate or --callers"),
        ((), "no ids given"),
        (("--ids", "{5..1}"), "one range of ascending numbers"),
        (("--ids", "r1", "--header", "nothing"), "NAME:VALUE"),
        (("--ids", "r1", "http://127.0.0.1:9", "http://127.0.0.1:9"), "two different ones"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    result = sfs_here("bench", "http://127.0.0.1:1", *NAMED, *arguments)
    assert result.returncode in (1, 2)
    assert said in result.stderr


def test_ids_of_patterns() -> None:
    assert expand_ids("r{1..3}x") == ["r1x", "r2x", "r3x"]
    assert expand_ids("one") == ["one"]
    assert expand_ids("") == []


# -------------------------------------------------------------------- the parts
async def test_grpc_too() -> None:
    answer = apis_pb2.PredictResponse()
    answer.status.code = 1
    answer.results.add().scores.add(name="score", value=2.5)
    seen = []

    def predict(request: apis_pb2.PredictRequest, context: grpc.aio.ServicerContext) -> apis_pb2.PredictResponse:
        seen.append(dict(context.invocation_metadata() or ()).get("x-api-key"))
        return answer

    method = grpc.unary_unary_rpc_method_handler(
        predict, apis_pb2.PredictRequest.FromString, apis_pb2.PredictResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("a.PredictionService", {"Predict": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    questions = draw_questions("s", ["alice"], ["r1"], 1, scores={"r1": 2.5})
    try:
        for name, problem in [("Predict", ""), ("Nothing", "gRPC UNIMPLEMENTED")]:
            target = parse_target(f"grpc://127.0.0.1:{port}")
            transport = open_transport(
                target, "a.PredictionService", name, connections=1, seconds=5, headers={"X-API-Key": "k"}
            )
            generator = Generator(transport, questions.bodies(json=False), questions.check_message)
            samples = await generator.run(Callers(2, 0.1))
            await generator.close()
            assert set(samples.problems) == ({problem} if problem else set())
            assert bool(samples.latencies) == (not problem)
        assert set(seen) == {"k"}
    finally:
        await server.stop(0)


class StoppingServer(Transport):
    """Answers at once, but not at all for a while in between."""

    def __init__(self, begin: float, end: float) -> None:
        self.stops, self.goes_on = time.perf_counter() + begin, time.perf_counter() + end

    def send(self, call: Call, message: bytes) -> None:
        now = time.perf_counter()
        wait = self.goes_on - now if self.stops <= now < self.goes_on else 0
        asyncio.get_running_loop().call_later(wait, self.finished, call, b"", "")

    def drop(self, call: Call) -> None: ...

    async def close(self) -> None: ...


async def test_no_request_is_omitted_while_a_server_stops() -> None:
    generator = Generator(StoppingServer(0.2, 0.6), [b""], lambda _index, _body: "")
    samples = await generator.run(even_arrivals(500, 1.0))
    figures = figures_of("x", [samples])
    assert figures.right == 500
    # Those due in the stop of 0.4 s waited for its end: 200 of 500, evenly between 0.4 s and nothing.
    assert np.count_nonzero(np.asarray(samples.latencies) > 0.1) >= 140
    assert figures.latency_ms[99.0] > 350


async def test_requests_that_are_too_many_are_counted() -> None:
    generator = Generator(StoppingServer(0, 0.3), [b""], lambda _index, _body: "", most_under_way=10)
    samples = await generator.run(even_arrivals(200, 0.2))
    assert samples.problems == {"not sent: too many under way": 30}
    assert len(samples.latencies) == 10


def test_a_connection_that_breaks_and_a_server_of_another_kind() -> None:
    for answer, problem in [(b"", "connection lost"), (b"garbage\r\n\r\n", "no HTTP")]:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve(answer: bytes = answer, listener: socket.socket = listener) -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            result = sfs_here("bench", url, *NAMED, "--ids", "r1", *SHORT, "--callers", "1")
            listener.shutdown(socket.SHUT_RDWR)
        assert f"x {problem}" in result.stdout


def test_figures() -> None:
    samples = Samples(seconds=2.0)
    samples.latencies.extend(i / 1000 for i in range(1, 1001))
    samples.problems["code 3"] = 2
    figures = figures_of("x", [samples, samples])
    assert figures.requests == 2004
    assert figures.rate == 500
    assert figures.latency_ms[50.0] == pytest.approx(500)
    assert figures.latency_ms[90.0] == pytest.approx(900)
    assert figures.latency_ms[100.0] == pytest.approx(1000)
    assert figures.problems == {"code 3": 4}


def test_arrivals() -> None:
    arrivals = random_arrivals(1000, 2.0, seed=3)
    assert 1700 < len(arrivals) < 2300
    assert (np.diff(arrivals) >= 0).all()
    np.testing.assert_allclose(even_arrivals(10, 0.5), [0, 0.1, 0.2, 0.3, 0.4])


def test_answers_are_judged() -> None:
    questions = draw_questions("s", ["a"], ["x"], 2, scores={"x": 1.5})
    good = b'{"status":{"code":1},"results":[{"scores":[{"value":1.5}]},{"scores":[{"value":1.5}]}]}'
    for body, problem in [
        (good, ""),
        (good.replace(b"1.5", b"1.50000001", 1), "wrong score"),
        (b'{"status":{"code":1},"results":[{"scores":[{"value":"NaN"}]}]}', "wrong number of rows"),
        (b'{"status":{"code":1},"results":[{},{"scores":[{"value":1.5}]}]}', "rows without scores"),
        (b'{"status":{"code":11}}', "code 11"),
        (b"{", "unreadable answer"),
    ]:
        assert questions.check_json(0, body) == problem
    assert questions.check_message(0, b"\xff") == "unreadable answer"
    with pytest.raises(RequestError, match="1 of 2 ids have no expected score"):
        draw_questions("s", ["a"], ["x", "y"], 1, scores={"x": 1.0})
