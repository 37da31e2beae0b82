"""The client, against real servers in processes, and against listeners that misbehave."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from sfs_core.client import AsyncClient, Client, DeadlineError, Prediction, ServiceError, UnavailableError
from sfs_core.client.requests import build_request, row_count
from sfs_core.client.results import joined, prediction_of
from sfs_core.client.target import Target, parse_target
from sfs_core.errors import ConfigError, ErrorCode, FeatureError, PeerError, RequestError
from sfs_core.proto import apis_pb2
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.in_process import serving_here
from tests.support.processes import free_ports

ROWS = 50
IDS = [f"r{i}" for i in range(ROWS)]
COLUMNS = {"alice": {"age": [float(i) for i in range(ROWS)]}, "bob": {"debts": [0.25] * ROWS}}
PARTIES = ["alice", "bob"]
SCHEMES = ["http", "http+json", "baidu_std", "grpc"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    files = linear_files(tmp_path_factory.mktemp("client"), IDS, COLUMNS)
    with serving_here(files):
        yield files


def client_of(files: ClusterFiles, scheme: str = "http", **more: object) -> Client:
    url = f"{scheme}://127.0.0.1:{files.service_port('alice')}"
    return Client(url, **({"service": "linear", "parties": PARTIES} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ids_become_scores(files: ClusterFiles, scheme: str) -> None:
    with client_of(files, scheme) as client:
        prediction = client.predict(["r1", "r7", "r1"])
        assert prediction.names == ("score",)
        np.testing.assert_array_equal(prediction.score, [1.75, 7.75, 1.75])
        assert prediction.scores.shape == (3, 1)
        assert not prediction.missing.any()
        by_party = client.predict({"alice": ["r2"], "bob": np.array(["r3"])})
        assert by_party.score.tolist() == [2.75]
        assert client.model_info().name == "linear"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_features_sent_along(files: ClusterFiles, scheme: str) -> None:
    with client_of(files, scheme) as client:
        prediction = client.predict({"bob": ["r1", "r2"]}, features={"age": [100.0, 200.0]})
        assert prediction.score.tolist() == [100.75, 200.75]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_coded_errors(files: ClusterFiles, scheme: str) -> None:
    with client_of(files, scheme) as client:
        with pytest.raises(ServiceError, match=r"1 of 2|not") as caught:
            client.predict(["r1", "nobody"])
        assert caught.value.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.NETWORK_ERROR)
        assert len(caught.value.request_id) == 32
        assert caught.value.request_id not in caught.value.message
        with pytest.raises(ServiceError, match="no service of this party") as caught:
            client.predict(["r1"], service="other")
        assert caught.value.status == ErrorCode.LOGIC_ERROR


def test_the_request_id_is_the_caller_s_trace_id(files: ClusterFiles) -> None:
    trace = "0123456789abcdef" * 2
    with client_of(files, headers={"X-B3-TraceId": trace}) as client, pytest.raises(ServiceError) as caught:
        client.predict(["nobody"])
    assert caught.value.request_id == trace


def test_tables_in_and_out(files: ClusterFiles) -> None:
    table = pa.table({"key": IDS, "other": [1] * ROWS})
    with client_of(files) as client:
        scored = client.predict_table(table, ids="key", rows_per_request=7)
        assert scored.column_names == ["key", "other", "score"]
        assert scored["score"].to_pylist() == [i + 0.75 for i in range(ROWS)]
        batch = client.predict_table(table.to_batches()[0], ids={"alice": "key", "bob": "key"})
        assert isinstance(batch, pa.RecordBatch)
        assert batch.column("score").equals(scored["score"].combine_chunks())
        sent = pa.table({"key": ["r1", "r2"], "age": [10.0, 20.0]})
        scored = client.predict_table(sent, ids={"bob": "key"}, features=["age"])
        assert scored["score"].to_pylist() == [10.75, 20.75]
        assert client.predict_table(table.slice(0, 0), ids="key").num_rows == 0
        with pytest.raises(RequestError, match="no column 'id'"):
            client.predict_table(table)
        with pytest.raises(RequestError, match="a column 'score' already"):
            client.predict_table(scored, ids={"bob": "key"}, features=["age"])
        with pytest.raises(ServiceError):
            client.predict_table(pa.table({"id": ["nobody", *IDS]}), rows_per_request=5)
        with pytest.raises(RequestError, match="Arrow table is expected, not list"):
            client.predict_table(["r1"])


class Frame:
    """As much of a pandas DataFrame as the client uses: columns, `[name].array`, `assign`, `len`."""

    iloc = None

    def __init__(self, **columns: list[object]) -> None:
        self.data = columns
        self.columns = list(columns)

    def __len__(self) -> int:
        return len(self.data[self.columns[0]])

    def __getitem__(self, name: str) -> object:
        return type("Column", (), {"array": np.array(self.data[name], object)})

    def assign(self, **columns: object) -> Frame:
        return Frame(**(self.data | columns))


def test_a_frame_in_and_out(files: ClusterFiles) -> None:
    with client_of(files) as client:
        scored = client.predict_table(Frame(id=["r1", "r2"]))
    assert scored.columns == ["id", "score"]
    assert list(scored.data["score"]) == [1.75, 2.75]


def test_threads_share_a_client(files: ClusterFiles) -> None:
    with client_of(files) as client, ThreadPoolExecutor(8) as pool:
        scores = pool.map(lambda i: client.predict([f"r{i % ROWS}"]).score[0], range(200))
        assert list(scores) == [i % ROWS + 0.75 for i in range(200)]


async def test_many_at_a_time(files: ClusterFiles) -> None:
    url = f"http://127.0.0.1:{files.service_port('bob')}"
    async with AsyncClient(url, service="linear", parties=PARTIES) as client:
        answers = await asyncio.gather(*(client.predict([f"r{i}"]) for i in range(ROWS)))
        assert [answer.score[0] for answer in answers] == [i + 0.75 for i in range(ROWS)]
        await client.close()
        assert (await client.predict(["r1"])).score.tolist() == [1.75]


def test_nobody_there() -> None:
    with (
        Client(f"http://127.0.0.1:{free_ports(1)[0]}", service="s", parties=PARTIES) as client,
        pytest.raises(UnavailableError, match=r"the server at 127\.0\.0\.1:\d+ refused the connection") as caught,
    ):
        client.predict(["r1"])
    assert not caught.value.may_have_run
    assert not isinstance(caught.value, DeadlineError)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_hangs(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(url, service="s", parties=PARTIES, timeout=0.1) as client,
            pytest.raises(DeadlineError, match=r"did not answer within 0\.1 s"),
        ):
            client.predict(["r1"])


REFUSAL = b"HTTP/1.1 503 Busy\r\nx-bd-error-code: 2004\r\nContent-Length: 4\r\n\r\nbusy"
FAILURE = b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize(
    ("answers", "expected", "calls"),
    [([REFUSAL, REFUSAL], "ok", 3), ([REFUSAL] * 3, "busy", 3), ([FAILURE], "500", 1), ([b""], "closed", 1)],
    ids=["refused, then answered", "refused for good", "failed", "cut off"],
)
def test_only_what_did_not_run_is_sent_again(answers: list[bytes], expected: str, calls: int) -> None:
    good = apis_pb2.PredictResponse()
    good.status.code = 1
    good.results.add().scores.add(name="score", value=2.5)
    body = good.SerializeToString()
    waiting = [*answers, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)]
    answered = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while waiting:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with connection:
                    while waiting and connection.recv(1 << 16):
                        answered.append(answer := waiting.pop(0))
                        connection.sendall(answer)
                        if not answer:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, service="s", parties=["alice"], retries=2) as client:
            if expected == "ok":
                assert client.predict(["r1"]).score.tolist() == [2.5]
            else:
                with pytest.raises(UnavailableError, match=expected) as caught:
                    client.predict(["r1"])
                assert caught.value.may_have_run == (expected != "busy")
            assert len(answered) == calls


def test_credentials_travel_as_headers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, service="s", parties=["alice"], api_key="k1", token="t1") as client:
            call = pool.submit(client.predict, ["r1"])
            connection, _ = listener.accept()
            with connection:
                head = connection.recv(1 << 16)
            with pytest.raises(UnavailableError):
                call.result()
    assert b"\r\nX-API-Key: k1\r\nAuthorization: Bearer t1\r\n" in head


def test_a_closed_client() -> None:
    client = Client("http://127.0.0.1:1", service="s", parties=["alice"])
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.predict(["r1"])


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9",
        "ftp://a:1",
        "http://a",
        "http://:9",
        "http://a:0",
        "http://a:99999",
        "http://a:1/x",
        "http://::1:9",
        "http://user:s3cret@a:1",
        "user:s3cret@a",
    ],
)
def test_no_address_of_a_server(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server") as caught:
        Client(url)
    assert "s3cret" not in str(caught.value)


def test_addresses() -> None:
    assert parse_target("GRPC://[::1]:9/") == Target("[::1]:9", "h2:grpc")
    assert parse_target("https+json://a:1") == Target("a:1", "http", tls=True)
    assert parse_target("grpc://[::1]:9").host == "::1"
    assert parse_target("http://a:80") == Target("a:80", "http:proto")


def test_credentials_that_have_no_place() -> None:
    with pytest.raises(ConfigError, match="baidu_std has no place"):
        Client("baidu_std://a:1", token="t")
    with pytest.raises(ConfigError, match="X-API-Key") as caught:
        Client("http://a:1", api_key="two\nlines")
    assert "lines" not in str(caught.value)


def request_of(ids: object = None, features: object = None, **more: object) -> apis_pb2.PredictRequest:
    return build_request("s", PARTIES, ids, features, **({"contexts": {}, "headers": {}} | more))  # type: ignore[arg-type]


def test_requests_that_make_no_sense() -> None:
    for ids, features, said in [
        (None, None, "neither ids nor features"),
        ("r1", None, "a single text"),
        ([1.5], None, "id 0 is neither"),
        ([True], None, "id 0 is neither"),
        ([], None, "no rows"),
        ({"alice": ["a"], "bob": []}, None, "differ in number"),
        ({"bob": ["a"]}, {"age": [1.0, 2.0]}, "feature 'age' 2"),
    ]:
        with pytest.raises(RequestError, match=said):
            row_count(request_of(ids, features))
    with pytest.raises(RequestError, match="context is given for carol"):
        request_of(["a"], contexts={"carol": "x"})
    with pytest.raises(RequestError, match="who looks"):
        build_request("s", [], ["a"], None, {}, {})


def test_ids_of_all_kinds() -> None:
    for ids in (["1", "2"], [1, 2], np.array([1, 2]), pa.array([1, 2]), pa.chunked_array([["1"], ["2"]])):
        assert list(request_of(ids, contexts={"bob": "c"}).fs_params["alice"].query_datas) == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "type_", "field"),
    [
        ([1, 2], "FIELD_INT64", "i64s"),
        ([1, 2.5], "FIELD_DOUBLE", "ds"),
        ([True, False], "FIELD_BOOL", "bs"),
        (["a", "b"], "FIELD_STRING", "ss"),
        (np.array([1, 2], np.int32), "FIELD_INT32", "i32s"),
        (np.array([1, 2], np.float32), "FIELD_FLOAT", "fs"),
        (np.array(["a", "b"]), "FIELD_STRING", "ss"),
        (pa.array([1.5, 2.0], pa.float32()), "FIELD_FLOAT", "fs"),
        (pa.array(["a", "b"]), "FIELD_STRING", "ss"),
    ],
)
def test_types_of_features(values: object, type_: str, field: str) -> None:
    (feature,) = request_of(features={"x": values}).predefined_features
    from sfs_core.proto import serving_pb2

    assert serving_pb2.FieldType.Name(feature.field.type) == type_
    assert len(getattr(feature.value, field)) == 2


@pytest.mark.parametrize("values", [[1, "a"], [None], [1 << 70], pa.array([1, None]), [True, 1]])
def test_features_that_cannot_be_sent(values: object) -> None:
    with pytest.raises(FeatureError, match="feature 'x'"):
        request_of(features={"x": values})


def response_of(*rows: dict[str, float]) -> apis_pb2.PredictResponse:
    response = apis_pb2.PredictResponse()
    for row in rows:
        result = response.results.add()
        for name, value in row.items():
            result.scores.add(name=name, value=value)
    return response


def test_rows_without_scores() -> None:
    prediction = prediction_of(response_of({}, {"a": 1.0, "b": 2.0}), 2)
    assert prediction.missing.tolist() == [True, False]
    np.testing.assert_array_equal(prediction.scores, [[np.nan, np.nan], [1.0, 2.0]])
    assert prediction.to_arrow().to_pylist() == [{"a": None, "b": None}, {"a": 1.0, "b": 2.0}]
    with pytest.raises(RequestError, match="2 scores: a, b"):
        _ = prediction.score
    nothing = prediction_of(response_of({}), 1)
    assert np.isnan(nothing.score).all()
    both = joined([nothing, prediction])
    assert both.missing.tolist() == [True, True, False]
    assert both.names == ("a", "b")


def test_answers_that_do_not_fit() -> None:
    with pytest.raises(PeerError, match="1 rows, 2 were asked for"):
        prediction_of(response_of({"a": 1.0}), 2)
    with pytest.raises(PeerError, match="different scores"):
        prediction_of(response_of({"a": 1.0}, {"b": 1.0}), 2)
    with pytest.raises(PeerError, match="different scores"):
        joined([prediction_of(response_of({name: 1.0}), 1) for name in "ab"])


def test_importing_the_package_is_light() -> None:
    code = "import sys, sfs_core.client; print(any(m in sys.modules for m in ('numpy', 'pyarrow', 'google', 'grpc')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    code = "import sys; from sfs_core.client import Client; print('pydantic' in sys.modules, 'grpc' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "False False\n"
    assert isinstance(Prediction, type)
