"""The reference's command line runs this software, with the reference's files."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sfs_core.cli.secretflow_serving import main
from sfs_core.config.loader import load
from sfs_core.server.app import Server
from tests.support.clusters import ClusterFiles, exchange, linear_files
from tests.support.kuscia import document, party_config
from tests.support.processes import free_ports, wait_for

PROGRAM = str(Path(sys.executable).parent / "secretflow_serving")
IDS = ["a", "b"]
COLUMNS = {"alice": {"age": [1.0, 2.0]}, "bob": {"debts": [2.0, 3.0]}}


def package(files: ClusterFiles, party: str) -> str:
    return str(files.configs[party]["services"][0]["model"]["source"]["path"])


def features(files: ClusterFiles, party: str) -> dict[str, Any]:
    return {"csvOpts": {"filePath": str(files.folder / f"{party}.csv"), "idName": "id"}}


def serving_json(files: ClusterFiles, party: str, metrics: int, builtin: int) -> Path:
    config = {
        "id": "linear",
        "serverConf": {
            "host": "127.0.0.1",
            "servicePort": files.service_port(party),
            "communicationPort": files.communication_port(party),
            "metricsExposerPort": metrics,
            "brpcBuiltinServicePort": builtin,
        },
        "modelConf": {
            "modelId": "m",
            "basePath": str(files.folder / party),
            "sourcePath": package(files, party),
            "sourceType": "ST_FILE",
        },
        "clusterConf": {
            "selfId": party,
            "parties": [{"id": each, "address": f"127.0.0.1:{files.communication_port(each)}"} for each in COLUMNS],
        },
        "featureSourceConf": features(files, party),
    }
    path = files.folder / f"{party}.serving.json"
    path.write_text(json.dumps(config))
    return path


def ask(port: int) -> list[float]:
    body = {"service_spec": {"id": "linear"}, "fs_params": {party: {"query_datas": IDS} for party in COLUMNS}}
    answer = exchange(
        port, "/PredictionService/Predict", json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    return [result["scores"][0]["value"] for result in answer.json()["results"]]


def test_two_parties_from_files_of_the_reference(tmp_path: Path) -> None:
    files = linear_files(tmp_path, IDS, COLUMNS)
    ports = {party: free_ports(2) for party in COLUMNS}
    (tmp_path / "gflags.conf").write_text("--enable_rpcz=true\n--enable_peers_load_balancer=true\n")
    logging = json.dumps({"systemLogPath": str(tmp_path / "logs" / "a.log"), "maxLogFileSize": 1 << 20})
    (tmp_path / "logging.conf").write_text(json.dumps(logging)[1:-1])
    (tmp_path / "trace.conf").write_text(
        json.dumps({"traceLogEnable": True, "traceLogConf": {"traceLogPath": str(tmp_path / "trace.log")}})
    )
    flags = {
        "alice": [
            f"--logging_config_file={tmp_path}/logging.conf",
            f"--trace_config_file={tmp_path}/trace.conf",
            "--trace_processor_schedule_delay_millis=10",
        ],
        "bob": [],
    }
    processes = {
        party: subprocess.Popen(
            [
                PROGRAM,
                f"--flagfile={tmp_path}/gflags.conf",
                f"--serving_config_file={serving_json(files, party, *ports[party])}",
                *flags[party],
            ],
            cwd=files.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for party in COLUMNS
    }
    try:
        log = tmp_path / "logs" / "a.log"
        wait_for(lambda: log.exists() and "callers are answered" in log.read_text(), "alice serves")
        assert ask(files.service_port("alice")) == [3.5, 5.5]
        health = exchange(ports["alice"][1], "/health", method="GET")
        assert (health.status, health.body) == (200, b"http status code = 200")
        assert exchange(ports["alice"][1], "/PredictionService/Predict").status == 404
        assert b"prediction_request_count" in exchange(ports["alice"][0], "/metrics", method="GET").body
        assert log.read_text().count("no effect here: --enable_peers_load_balancer, --enable_rpcz") == 1
        assert (tmp_path / "serving.log").exists()
        wait_for((tmp_path / "trace.log").read_text, "spans are written")
        processes["alice"].send_signal(signal.SIGINT)
        processes["bob"].send_signal(signal.SIGTERM)
        assert [process.wait(15) for process in processes.values()] == [0, 0]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


async def test_two_parties_from_documents_of_kuscia(tmp_path: Path) -> None:
    files = linear_files(tmp_path, IDS, COLUMNS)
    communication = {party: files.communication_port(party) for party in COLUMNS}
    configs = {
        party: party_config(package(files, party), featureSourceConfig=features(files, party)) for party in COLUMNS
    }
    servers = {}
    for own, party in enumerate(COLUMNS):
        port, builtin = free_ports(2)
        path = tmp_path / f"{party}.kuscia.json"
        path.write_text(
            json.dumps(
                document(
                    configs,
                    own=own,
                    endpoints={each: f"127.0.0.1:{port}" for each, port in communication.items()},
                    predictors=["alice"],
                    ports={"service": port, "communication": communication[party], "brpc-builtin": builtin},
                    serving_id="linear",
                )
            )
        )
        loaded = load(path)
        listen = loaded.config.listen.model_copy(update={"host": "127.0.0.1"})  # a test is for this machine only
        servers[party] = Server(loaded.changed(listen=listen, cache=tmp_path / "cache"))
    try:
        await asyncio.gather(*(server.start() for server in servers.values()))
        assert servers["bob"].service_port is None
        assert servers["alice"].service_port is not None
        assert await asyncio.to_thread(ask, servers["alice"].service_port) == [3.5, 5.5]
        for server in servers.values():
            assert server.health_port is not None
            answer = await asyncio.to_thread(exchange, server.health_port, "/health", method="GET")
            assert answer.status == 200
    finally:
        await asyncio.gather(*(server.stop() for server in servers.values()))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "--serving_config_file is missing"),
        (["--serving_config_fil=x"], "did you mean --serving_config_file?"),
        (["--serving_config_file=none.json"], "none.json: it cannot be read"),
        (["--config_mode=kuscia", "--serving_config_file=empty.json"], "input_config: is missing"),
        (["--config_mode=helm"], "kuscia, or nothing, is expected"),
        (["--logging_config_file=none.json"], "none.json: it cannot be read"),
    ],
)
def test_what_cannot_start_ends_with_255(flags: list[str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    result = subprocess.run([PROGRAM, *flags], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 255
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    if "logging" not in str(flags) and "fil=" not in str(flags):
        assert expected in (tmp_path / "serving.log").read_text()


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main(["--version"]) == 0
    assert "--serving_config_file" in capsys.readouterr().out
