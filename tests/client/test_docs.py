"""The examples of docs/client.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.clusters import linear_files


def test_the_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    ids = ["17", "18", "x9"]
    columns = {"alice": {"age": [1.0, 2.0, 3.0]}, "bob": {"debts": [0.25] * 3}}
    files = linear_files(tmp_path, ids, columns, service="demo")
    with files.running():
        code = "\n".join(blocks).replace("127.0.0.1:9010", f"127.0.0.1:{files.service_port('alice')}")
        exec(compile(code, "docs/client.md", "exec"), {"__name__": "example"})
    out = capsys.readouterr().out
    assert "('score',) [1.75 2.75]" in out
    assert "[{'customer': '17', 'region': 'north', 'score': 1.75}" in out
