"""`sfs demo`, from nothing to scores."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from tests.cli.sfs import sfs, sfs_here
from tests.support.processes import SFS


def children(of: int) -> list[int]:
    """Process ids of the processes that one has started."""
    result = subprocess.run(["ps", "-o", "pid=", "--ppid", str(of)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in result.stdout.split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "names"), [((), ["alice", "bob"]), (("--parties", "3", "--tls"), ["alice", "bob", "carol"])]
)
def test_real_scores_come_out(arguments: tuple[str, ...], names: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = sfs("demo", *arguments)
    # Seconds of a processor: what else runs on this machine does not change them.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10
    assert (result.returncode, result.stderr) == (0, "")
    assert "569 people" in result.stdout
    for name in names:
        assert re.search(rf"\b{name}\b.*\d+", result.stdout)
    for kind in ("logistic", "trees"):
        ours, alone, difference = re.search(rf"{kind}\W+(0\.\d+)\W+(0\.\d+)\W+(\S+)", result.stdout).groups()
        assert ours == alone
        assert float(ours) > 0.95
        assert float(difference) < 1e-12
    scheme = "https" if "--tls" in arguments else "http"
    body = re.search(rf"curl -s {scheme}://127\.0\.0\.1:\d+/PredictionService/Predict -d '(.*?)'", result.stdout).group(
        1
    )
    assert list(json.loads(body)["fs_params"]) == names


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands of a page, and the beginnings of lines that it says they print."""
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *printed = command.splitlines()
            yield first, printed


def test_the_walk_through_of_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of docs/tls.md, and the line that the demo prints to be repeated."""
    (demo, _), *others = commands(Path(__file__).parents[2] / "docs" / "tls.md")
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([SFS, *demo.split()[1:]], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            text = "".join(takewhile(lambda line: "keep running" not in line, process.stdout))
            servers = children(process.pid)
            assert len(servers) == 2
            by_hand, address = re.search(r"(curl -s (https://[^/]+)/.*)", text).groups()
            answer = subprocess.run(shlex.split(by_hand), capture_output=True, check=True, timeout=60)
            assert json.loads(answer.stdout)["status"]["code"] == 1
            monkeypatch.setenv("ALICE", address)
            assert len(others) >= 5
            for command, printed in others:
                told = sfs_here(*shlex.split(os.path.expandvars(command))[1:])
                lines = (told.stdout + told.stderr).splitlines()
                assert (told.returncode != 0) == any(line.startswith("error:") for line in printed), (command, lines)
                for wanted in printed:
                    assert any(line.startswith(wanted) for line in lines), (command, lines)
        finally:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not any(map(alive, servers))
    assert (tmp_path / "demo" / "alice.json").exists()


def test_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    result = sfs_here("demo", "--folder", tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "is not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
