"""The examples of docs/client.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.certificates import Certificates
from tests.support.clusters import linear_files
from tests.support.in_process import serving_here


def test_the_examples_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    ids = ["17", "18", "x9"]
    columns = {"alice": {"age": [1.0, 2.0, 3.0]}, "bob": {"debts": [0.25] * 3}}
    files = linear_files(tmp_path, ids, columns, service="demo")
    files.configs["bob"]["listen"]["service_tls"] = certificates.options("bob")
    certificates.files("shop")
    monkeypatch.chdir(certificates.folder)
    monkeypatch.setenv("SHOP_API_KEY", "k1")
    with serving_here(files):
        code = "\n".join(blocks).replace("127.0.0.1:9010", f"127.0.0.1:{files.service_port('alice')}")
        code = code.replace("alice.example:9010", f"127.0.0.1:{files.service_port('bob')}")
        exec(compile(code, "docs/client.md", "exec"), {"__name__": "example"})
    out = capsys.readouterr().out
    assert "('score',) [1.75 2.75]" in out
    assert "[1.75]" in out.splitlines()
    assert "[{'customer': '17', 'region': 'north', 'score': 1.75}" in out
