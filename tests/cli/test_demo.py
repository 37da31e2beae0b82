"""`sfs demo`, from nothing to scores."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.cli.sfs import sfs
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


@pytest.mark.parametrize(("parties", "names"), [("2", ["alice", "bob"]), ("3", ["alice", "bob", "carol"])])
def test_real_scores_come_out(parties: str, names: list[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = sfs("demo", "--parties", parties)
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


def test_the_line_to_repeat_works_while_they_run() -> None:
    process = subprocess.Popen([SFS, "demo", "--keep"], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if "keep running" in line:
                break
        url, body = re.search(r"curl -s (\S+) -d '(.*)'", text).groups()
        servers = children(process.pid)
        assert len(servers) == 2
        target = urlsplit(url)
        connection = HTTPConnection(target.hostname, target.port, timeout=10)
        connection.request("POST", target.path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["status"]["code"] == 1
        assert 0 <= answer["results"][0]["scores"][0]["value"] <= 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not any(map(alive, servers))
