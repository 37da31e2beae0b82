"""`inferencer`: the reference's command line for files, at two parties."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sfs_core.cli.inferencer import main
from sfs_core.config.reference_inference import read_inference
from sfs_core.errors import ConfigError
from tests.support.clusters import ClusterFiles, linear_files

COMMAND = [sys.executable, "-m", "sfs_core.cli.inferencer"]
COLUMNS = {"alice": {"x": [1.0, 2.0, 3.0]}, "bob": {"y": [10.0, 20.0, 30.0]}}
IDS = ["a", "b, c", "d"]


@pytest.fixture
def files(tmp_path: Path) -> ClusterFiles:
    return linear_files(tmp_path, IDS, COLUMNS)


def flags(files: ClusterFiles, party: str, **inference: object) -> list[str]:
    """The files of a party, as flags."""
    table = files.folder / f"{party}.csv"
    with table.open(newline="") as file:
        header, *rows = csv.reader(file)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([[*header, "label"], *([*row, str(i)] for i, row in enumerate(rows))])
    serving = {
        "id": "linear",
        "serverConf": {"host": "127.0.0.1", "communicationPort": files.communication_port(party)},
        "modelConf": {
            "modelId": "m",
            "basePath": str(files.folder / party),
            "sourcePath": str(files.configs[party]["services"][0]["model"]["source"]["path"]),
            "sourceType": "ST_FILE",
        },
        "clusterConf": {
            "selfId": party,
            "parties": [{"id": each, "address": f"127.0.0.1:{files.communication_port(each)}"} for each in COLUMNS],
            "channelDesc": {"protocol": "baidu_std", "rpcTimeoutMs": 20000, "connectTimeoutMs": 20000},
        },
        "featureSourceConf": {"streamingOpts": {"filePath": str(table), "idName": "id"}},
    }
    settings = {
        "requester_id": "alice",
        "result_file_path": str(files.folder / "scores.csv"),
        "score_col_name": "score",
    }
    documents = {
        "serving": serving,
        "inference": settings | inference,
        "logging": {"systemLogPath": str(files.folder / f"{party}.system.log")},
    }
    given = []
    for name, document in documents.items():
        path = files.folder / f"{party}.{name}.json"
        path.write_text(json.dumps(document))
        given.append(f"--{name}_config_file={path}")
    return given


def test_two_parties_score_their_files(files: ClusterFiles) -> None:
    helper = subprocess.Popen([*COMMAND, *flags(files, "bob")], stderr=subprocess.PIPE)
    with helper:
        given = flags(files, "alice", additional_col_names=["label"], block_size=65536)
        done = subprocess.run([*COMMAND, *given], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        helper.communicate(timeout=60)
    assert helper.returncode == 0
    with (files.folder / "scores.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["score", "id", "label"],
            ["11.5", "a", "0"],
            ["22.5", "b, c", "1"],
            ["33.5", "d", "2"],
        ]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    path.write_text('{"resultFilePath": "scores.csv", "additionalColNames": ["label"]}')
    with pytest.raises(ConfigError) as caught:
        read_inference(path)
    assert [problem.partition(" ")[2] for problem in caught.value.problems] == [
        "requesterId: is missing",
        "scoreColName: is missing",
    ]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--inference_config_file" in capsys.readouterr().out
