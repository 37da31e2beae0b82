"""Only callers who are known, may, and have not asked too much are answered; and it is written down."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from sfs_core.cli import main
from sfs_core.client import Client
from sfs_core.errors import SfsError
from sfs_core.proto import apis_pb2
from tests.cli.sfs import sfs_here
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.in_process import logged, serving_here
from tests.support.processes import free_ports

PARTIES = ("alice", "bob")
IDS = ["canary-1", "canary-2", "canary-3", "canary-4"]
KEYS = {name: f"canary-key-of-{name}" for name in ("shop", "bank", "eager", "curious")}
AUDIT_KEY = "canary-audit-key"
PREDICT, MODEL_INFO = "/PredictionService/Predict", "/ModelService/GetModelInfo"


def cluster(folder: Path, **callers: Any) -> ClusterFiles:
    """Two parties; alice has callers."""
    files = linear_files(folder, IDS, {party: {f"x_{party}": [1.0, 2.0, 3.0, 4.0]} for party in PARTIES})
    keys = {name: {"sha256": [hashlib.sha256(key.encode()).hexdigest()]} for name, key in KEYS.items()}
    files.configs["alice"]["listen"] |= dict(zip(("grpc", "metrics"), free_ports(2), strict=True))
    files.configs["alice"]["callers"] = {
        "authenticators": [{"name": "api_key", "keys": keys | {"bank": keys["bank"] | {"services": ["other"]}}}],
        "limits_of": {"eager": {"requests_per_second": 0.001}, "curious": {"rows_per_day": 5}},
        "audit": {"file": str(folder / "audit.jsonl"), "key": "${env:AUDIT_KEY}"},
    } | callers
    return files


@contextmanager
def running(files: ClusterFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY)
    with logged() as log, serving_here(files):
        yield
    assert "alice: linear loaded" in log.getvalue()
    assert "canary" not in log.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    files = cluster(tmp_path_factory.mktemp("callers"))
    with pytest.MonkeyPatch.context() as monkeypatch, running(files, monkeypatch):
        yield files


def ask(files: ClusterFiles, key: str | None, path: str = PREDICT, rows: int = 1, bearer: bool = False) -> Answer:
    body = {"service_spec": {"id": "linear"}, "fs_params": {party: {"query_datas": IDS[:rows]} for party in PARTIES}}
    if path == MODEL_INFO:
        del body["fs_params"]
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers |= {"Authorization": f"Bearer {key}"} if bearer else {"X-API-Key": key}
    return exchange(files.service_port("alice"), path, json.dumps(body).encode(), headers=headers)


@pytest.mark.parametrize("path", [PREDICT, MODEL_INFO])
@pytest.mark.parametrize(
    ("key", "status"),
    [(KEYS["shop"], 200), (None, 401), ("canary wrong", 401), (KEYS["bank"], 403)],
    ids=["right", "none", "wrong", "not this service"],
)
def test_http(files: ClusterFiles, path: str, key: str | None, status: int) -> None:
    answer = ask(files, key, path)
    assert answer.status == status
    assert "canary" not in answer.body.decode()
    if status == 200:
        assert answer.code == 1
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_bearer_token_may_hold_the_key(files: ClusterFiles) -> None:
    assert ask(files, KEYS["shop"], bearer=True).code == 1


@pytest.mark.parametrize("port", ["service", "grpc"])
@pytest.mark.parametrize(
    ("key", "status"),
    [
        (KEYS["shop"], grpc.StatusCode.OK),
        (None, grpc.StatusCode.UNAUTHENTICATED),
        ("canary wrong", grpc.StatusCode.UNAUTHENTICATED),
        (KEYS["bank"], grpc.StatusCode.PERMISSION_DENIED),
    ],
    ids=["right", "none", "wrong", "not this service"],
)
def test_grpc(files: ClusterFiles, port: str, key: str | None, status: grpc.StatusCode) -> None:
    request = apis_pb2.PredictRequest()
    request.service_spec.id = "linear"
    for party in PARTIES:
        request.fs_params[party].query_datas.append(IDS[0])
    with grpc.insecure_channel(f"127.0.0.1:{files.configs['alice']['listen'][port]}") as channel:
        method = channel.unary_unary(
            "/secretflow.serving.apis.PredictionService/Predict",
            apis_pb2.PredictRequest.SerializeToString,
            apis_pb2.PredictResponse.FromString,
        )
        call = method.future(request, metadata=[("x-api-key", key)] if key else [], timeout=10)
        assert call.code() is status
        assert "canary" not in str(call.details())
        assert status is not grpc.StatusCode.OK or call.result().status.code == 1


def test_the_verb_shows_a_key(files: ClusterFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refused = sfs_here("predict", files.paths["alice"], IDS[0])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "hint: see --api-key-file and --token-file" in refused.stderr
    (tmp_path / "key").write_text(f"{KEYS['shop']}\n")
    for kind in ("--api-key-file", "--token-file"):
        told = sfs_here("predict", files.paths["alice"], IDS[0], kind, tmp_path / "key", "--json")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["status"]["code"] == 1
    header = f"X-API-Key: {KEYS['shop']}"
    assert sfs_here("predict", files.paths["alice"], IDS[0], "-H", header).returncode == 0
    monkeypatch.setenv("SFS_API_KEY", KEYS["shop"])
    assert sfs_here("predict", files.paths["alice"], IDS[0]).returncode == 0


def test_baidu_std_has_no_place_for_credentials(files: ClusterFiles) -> None:
    url = f"baidu_std://127.0.0.1:{files.service_port('alice')}"
    with Client(url, service="linear", parties=PARTIES) as client, pytest.raises(SfsError, match="known callers"):
        client.predict([IDS[0]])


def test_callers_do_not_matter_to_peers(files: ClusterFiles) -> None:
    body = json.dumps(
        {"service_spec": {"id": "linear"}, "fs_params": {party: {"query_datas": IDS[:1]} for party in PARTIES}}
    )
    headers = {"Content-Type": "application/json"}
    assert exchange(files.service_port("bob"), PREDICT, body.encode(), headers=headers).code == 1


def test_a_caller_who_asks_too_often_is_told_when_to_come_back(files: ClusterFiles) -> None:
    assert ask(files, KEYS["eager"]).code == 1
    answer = ask(files, KEYS["eager"])
    assert answer.status == 429
    assert 900 < int(answer.headers["retry-after"]) <= 1000
    assert ask(files, KEYS["shop"]).code == 1


def test_refusals_are_counted_by_why(files: ClusterFiles) -> None:
    def refused() -> dict[str, float]:
        page = exchange(files.configs["alice"]["listen"]["metrics"], "/metrics", method="GET").body.decode()
        found = re.findall(r'^sfs_refused_calls\{.*port="service",reason="(\w+)"\} (\d+)$', page, re.MULTILINE)
        return {reason: int(count) for reason, count in found}

    before = refused()
    for key in (None, "canary wrong", KEYS["bank"], KEYS["eager"], KEYS["eager"], KEYS["eager"]):
        ask(files, key)
    more = {reason: count - before.get(reason, 0) for reason, count in refused().items()}
    assert more["authentication"] == 2
    assert more["permission"] == 1
    assert more["quota"] in (2, 3)  # the first may have been let in


def test_rows_of_a_day_are_counted_and_survive_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = cluster(tmp_path)
    with running(files, monkeypatch):
        assert ask(files, KEYS["curious"], rows=4).code == 1
        answer = ask(files, KEYS["curious"], rows=2)
        assert answer.status == 429
        assert "1 are left for today" in answer.body.decode()
    with running(files, monkeypatch):
        assert ask(files, KEYS["curious"], rows=2).status == 429
        assert ask(files, KEYS["curious"]).code == 1
        assert ask(files, KEYS["shop"], rows=4).code == 1


def test_the_audit_log_says_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = cluster(tmp_path)
    log = tmp_path / "audit.jsonl"
    with running(files, monkeypatch):
        ask(files, KEYS["shop"], rows=2)
        ask(files, KEYS["eager"])
        ask(files, KEYS["bank"])
        ask(files, None)
    assert "canary" not in log.read_text()
    monkeypatch.setenv("SFS_AUDIT_KEY", AUDIT_KEY)
    assert main(["audit", "verify", str(log)]) == 0
    assert "3 lines are as they were written" in capsys.readouterr().out
    assert main(["audit", "show", str(log), "--id", IDS[1], "--json"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["caller"], line["service"], line["rows"], line["code"]) == ("shop", "linear", 2, 1)
    assert main(["audit", "show", str(log), "--caller", "bank"]) == 0
    assert "bank    linear   0     3" in capsys.readouterr().out
    log.write_bytes(log.read_bytes().replace(b'"rows":2', b'"rows":1'))
    assert main(["audit", "verify", str(log)]) == 1
    assert f"{log}:1" in capsys.readouterr().err


def test_an_authenticator_that_is_not_there_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY)
    files = cluster(tmp_path, authenticators=[{"name": "api_kee", "keys": {}}, {"name": "api_key", "keyz": 1}])
    assert main(["check", str(files.write("alice"))]) == 1
    told = capsys.readouterr().err
    assert "callers.authenticators[0].name: no authenticator named 'api_kee' is installed" in told
    assert "callers.authenticators[1].keyz: there is no such option (hint: did you mean 'keys'?)" in told
