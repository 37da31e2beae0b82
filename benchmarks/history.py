"""The figures of earlier runs on this kind of machine, and a picture of them.

Histories are not committed: figures of different machines do not compare, and a run of a dirty work tree says little.
Each kind of machine has a file of its own, one run a line, so that files of several machines can lie side by side.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parent / "history"
WIDTH, HEIGHT, MARGIN = 900, 160, 40


def machine() -> dict[str, Any]:
    """What figures depend on, apart from the code."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


def fingerprint() -> str:
    """Ten hex digits of `machine`."""
    return hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:10]


def record(cases: Sequence[dict[str, Any]], folder: Path = FOLDER) -> Path:
    """Add a run to this machine's history, and draw the history; gives the picture's path."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{fingerprint()}.jsonl"
    run = {"time": int(time.time()), "commit": _commit(), "machine": machine(), "cases": list(cases)}
    with file.open("a") as lines:
        lines.write(json.dumps(run) + "\n")
    picture = file.with_suffix(".svg")
    picture.write_text(draw([json.loads(line) for line in file.read_text().splitlines()]))
    return picture


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def draw(runs: Sequence[dict[str, Any]]) -> str:
    """An SVG: per case, the CPU time as a multiple of the ASGI echo's, run by run."""
    series: dict[str, list[tuple[int, float]]] = {}
    for i, run in enumerate(runs):
        for case in run["cases"]:
            name = f"{case['model']}, {case['rows']} row(s), {case['callers']} caller(s)"
            series.setdefault(name, []).append((i, case["cpu_ratio"]["asgi echo"]))
    panels = [_panel(name, points, len(runs), i * HEIGHT) for i, (name, points) in enumerate(sorted(series.items()))]
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(panels)}</svg>'


def _panel(name: str, points: Sequence[tuple[int, float]], runs: int, top: int) -> str:
    most = max(value for _, value in points) or 1.0
    inner = HEIGHT - 2 * MARGIN
    places = [
        (MARGIN + x * (WIDTH - 2 * MARGIN) / max(runs - 1, 1), top + MARGIN + inner * (1 - value / most))
        for x, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    title = f"{name}: {points[-1][1]:.1f} × ASGI echo in the last run, {most:.1f} at most"  # noqa: RUF001
    return (
        f'<text x="{MARGIN}" y="{top + MARGIN - 12}">{escape(title)}</text>'
        f'<polyline points="{line}" fill="none" stroke="black"/>{dots}'
    )
