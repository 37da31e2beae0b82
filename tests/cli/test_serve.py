"""`sfs serve` and the command as a whole."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.sfs import sfs
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.processes import SFS, Party, wait_for

COLUMNS = {"alice": {"age": [1.0, 2.0]}, "bob": {"debts": [2.0, 3.0]}}
IDS = ["a", "b"]


@pytest.fixture
def files(tmp_path: Path) -> ClusterFiles:
    return linear_files(tmp_path, IDS, COLUMNS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_parties_in_one_process(files: ClusterFiles, number: signal.Signals) -> None:
    party = Party(files.write("alice"), files.service_port("alice"), [str(files.write("bob"))])
    try:
        ports = [files.service_port(name) for name in COLUMNS]
        for party.service_port in ports:
            party.wait_ready()
        for party.service_port in ports:
            assert party.scores("linear", list(COLUMNS), IDS) == [3.5, 5.5]
        log = party.log.read_text()
        for name in COLUMNS:
            url = f"http://127.0.0.1:{files.service_port(name)}/PredictionService/Predict"
            assert f"{name}: ready, serves linear; predictions at {url}\n" in log
        party.process.send_signal(number)
        assert party.process.wait(10) == 0
    finally:
        party.stop()
    assert "Traceback" not in party.log.read_text()


def test_ctrl_c_while_peers_are_waited_for(files: ClusterFiles) -> None:
    party = Party(files.write("alice"), files.service_port("alice"))
    try:
        wait_for(lambda: "waiting for bob" in party.log.read_text(), "alice waits")
        party.process.send_signal(signal.SIGINT)
        assert party.process.wait(10) == 0
    finally:
        party.stop()
    assert "Traceback" not in party.log.read_text()


def test_a_port_in_use(files: ClusterFiles) -> None:
    files.configs["bob"]["listen"]["communication"] = files.communication_port("alice")
    result = sfs("serve", files.write("alice"), files.write("bob"))
    assert result.returncode == 1
    assert "the communication port cannot listen on 127.0.0.1:" in result.stderr
    assert "hint: choose a free port" in result.stderr


def test_a_bad_config_does_not_serve(files: ClusterFiles) -> None:
    files.configs["alice"]["listen"]["sevice"] = 1
    result = sfs("serve", files.write("alice"), files.write("bob"))
    assert result.returncode == 1
    assert "listen.sevice" in result.stderr
    assert result.stdout == ""


def test_version_and_help() -> None:
    result = sfs("--version")
    assert (result.returncode, result.stdout) == (0, f"sfs, version {importlib.metadata.version('sfs-core')}\n")
    result = sfs("--help")
    assert result.returncode == 0
    for verb in ("check", "demo", "plugins", "predict", "serve"):
        assert f"\n  {verb} " in result.stdout


def test_ctrl_c_elsewhere() -> None:
    process = subprocess.Popen([SFS, "demo", "--keep"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("Parties"):
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
