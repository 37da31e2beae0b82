"""`sfs predict`, against a running server."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.sfs import sfs, sfs_here
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.in_process import serving_here
from tests.support.processes import free_ports

ROWS = 2500
IDS = [f"r{i}" for i in range(ROWS)]
COLUMNS = {"alice": {"age": [float(i) for i in range(ROWS)]}, "bob": {"debts": [0.25] * ROWS}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    files = linear_files(tmp_path_factory.mktemp("predict"), IDS, COLUMNS)
    with serving_here(files):
        yield files


def test_a_table_of_scores(files: ClusterFiles) -> None:
    result = sfs("predict", files.paths["alice"], "r1", "r7", "r1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["id,score", "r1,1.75", "r7,7.75", "r1,1.75"]


def test_a_url_instead_of_a_config(files: ClusterFiles) -> None:
    url = f"http://127.0.0.1:{files.service_port('bob')}"
    result = sfs_here("predict", url, "--service", "linear", "--party", "alice", "--party", "bob", "r2")
    assert result.stdout.split() == ["id,score", "r2,2.75"]
    result = sfs_here("predict", url, "r2")
    assert result.returncode == 2
    assert "--service" in result.stderr


def test_the_server_s_answer(files: ClusterFiles) -> None:
    result = sfs_here("predict", files.paths["bob"], "--json", "r3")
    assert json.loads(result.stdout)["results"] == [{"scores": [{"name": "score", "value": 3.75}]}]


def test_a_file_of_ids(files: ClusterFiles, tmp_path: Path) -> None:
    with (tmp_path / "ids.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", "key"], *([f"x{i}", i] for i in IDS)])
    result = sfs_here("predict", files.paths["alice"], "--ids-file", tmp_path / "ids.csv", "--id-column", "key")
    rows = [line.split(",") for line in result.stdout.split()]
    assert rows[0] == ["id", "score"]
    assert [(row, float(score)) for row, score in rows[1:]] == [(row, i + 0.75) for i, row in enumerate(IDS)]
    result = sfs_here("predict", files.paths["alice"], "--ids-file", tmp_path / "ids.csv")
    assert result.returncode == 1
    assert "no column 'id'" in result.stderr
    assert "--id-column" in result.stderr


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\xff", b"x,id\n1,r1\n2\n", b"id\nr1\n\n\nr2\n"],
    ids=["empty", "binary", "short line", "blank lines"],
)
def test_odd_files_of_ids(files: ClusterFiles, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ids.csv").write_bytes(content)
    result = sfs_here("predict", files.paths["alice"], "--ids-file", tmp_path / "ids.csv")
    if content.startswith(b"id"):
        assert result.stdout.split() == ["id,score", "r1,1.75", "r2,2.75"]
    else:
        assert result.returncode == 1
        assert "ids.csv" in result.stderr


def test_errors_of_the_server_are_shown(files: ClusterFiles) -> None:
    result = sfs_here("predict", files.paths["alice"], "nobody")
    assert (result.returncode, result.stdout) == (1, "")
    assert "code 3" in result.stderr
    result = sfs_here(
        "predict", f"http://127.0.0.1:{files.service_port('bob')}", "--service", "no", "--party", "bob", "1"
    )
    assert result.returncode == 1
    assert "code 7" in result.stderr
    result = sfs_here("predict", files.paths["alice"])
    assert result.returncode == 2
    assert "no ids" in result.stderr


def test_the_server_is_down(files: ClusterFiles) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    result = sfs_here("predict", url, "--service", "linear", "--party", "alice", "r1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "no answer" in result.stderr
    assert "is the server running?" in result.stderr


def test_a_server_that_hangs_and_one_that_is_none(files: ClusterFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = sfs_here("predict", url, "--service", "x", "--party", "alice", "--timeout", "0.2", "r1")
    assert result.returncode == 1
    assert "no answer" in result.stderr
    result = sfs_here("predict", "http://127.0.0.1:99999", "--service", "x", "--party", "alice", "r1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "is no address of a server" in result.stderr


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (b"garbage\r\n\r\n", "hint: is it the service port of a server?"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hint: is it the service port of a server?"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "hint: is it the service port of a server?"),
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\ntomorrow!", "HTTP status 429: tomorrow!"),
    ],
)
def test_what_to_do_follows_from_what_answered(answer: bytes, hint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = pool.submit(sfs_here, "predict", url, "--service", "x", "--party", "alice", "r1")
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(answer)
        assert result.result().returncode == 1
        assert result.result().stderr.endswith(f"{hint}\n")
