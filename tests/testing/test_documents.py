"""The code in the author's guide passes as it stands there: its contract is one of this file's."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from sfs_core.testing import OperatorCase
from tests.cli.sfs import sfs_here

GUIDE = Path(__file__).parents[2] / "docs" / "plugins.md"
CONTRACT, CASE, PACKAGES = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
exec(compile(CONTRACT, str(GUIDE), "exec"))


def test_a_case_of_an_operator_has_the_names_that_are_said() -> None:
    calls = [node for node in ast.walk(ast.parse(CASE)) if isinstance(node, ast.Call)]
    (case,) = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "OperatorCase"]
    assert {each.arg for each in case.keywords} <= {field.name for field in dataclasses.fields(OperatorCase)}


def test_packages_are_written_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(PACKAGES, str(GUIDE), "exec"), {})
    shown = sfs_here("explain", "alice.tar.gz", "bob.tar.gz")
    assert shown.returncode == 0, shown.stderr
    assert "MERGE_Y" in shown.stdout
