"""The benchmarks' history: a line per run, and a picture of them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.history import fingerprint, record


def test_runs_are_kept_and_drawn(tmp_path: Path) -> None:
    case = {"model": "<linear>", "rows": 1, "callers": 8, "cpu_ratio": {"asgi echo": 2.5}}
    record([case], tmp_path)
    picture = record([case | {"cpu_ratio": {"asgi echo": 2.0}}, case | {"callers": 1}], tmp_path)
    runs = [json.loads(line) for line in (tmp_path / f"{fingerprint()}.jsonl").read_text().splitlines()]
    assert [len(run["cases"]) for run in runs] == [1, 2]
    drawn = ET.fromstring(picture.read_text())
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f"{space}polyline")) == 2
    assert len(drawn.findall(f"{space}circle")) == 3
    assert any("<linear>, 1 row(s), 8 caller(s): 2.0" in (text.text or "") for text in drawn.findall(f"{space}text"))
