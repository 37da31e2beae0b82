"""The code of docs/spi.md is what it says it is."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sfs_core.spi import Probe, check_service
from tests.support.clusters import exchange
from tests.support.processes import free_ports, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "spi.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Where the application of the document's Python runs."""
    (code,) = blocks("python")
    (tmp_path / "customers.py").write_text(code)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "customers:app", "--port", str(port), "--log-level", "error"], cwd=tmp_path
    )

    def is_up() -> bool:
        assert process.poll() is None
        with contextlib.suppress(OSError):
            return exchange(port, "/health", method="GET").status == 200
        return False

    try:
        wait_for(is_up, "the service")
        yield f"http://127.0.0.1:{port}/BatchFeatureService/BatchFetchFeature"
    finally:
        process.terminate()
        process.wait()


def test_the_service_passes_the_judge(url: str) -> None:
    (probe,) = blocks("yaml")
    report = check_service(url, Probe.model_validate(yaml.safe_load(probe)))
    assert [verdict.rule for verdict in report.verdicts if verdict.outcome != "pass"] == []
    refused = check_service(url, Probe.model_validate(yaml.safe_load(probe) | {"party": "mallory"}))
    assert "status.code 16" in refused.verdicts[0].reason


def test_options_and_messages_are_all_there() -> None:
    text = DOCUMENT.read_text()
    listed = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in text.splitlines() if "| " in line)))
    assert Probe.model_fields.keys() <= listed
    for block in blocks("json"):
        json.loads(block)
