"""The configs that documents print are configs: whole ones, and parts of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sfs_core import ConfigError
from sfs_core.config.loader import load
from sfs_core.config.schema import ServerConfig

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("plugins/*/*/README.md"))]
OPTIONS = {*ServerConfig.model_fields, "service", "model", "features"}
REST: dict[str, Any] = {
    "party": "alice",
    "listen": {"service": 9010, "communication": 9110},
    "parties": {"alice": "127.0.0.1:9110", "bob": "127.0.0.1:9120"},
}
SERVICE = {"service": "demo", "model": {"source": {"name": "local", "path": "alice.tar.gz"}}}
MADE_UP = re.compile(r"sha256: a text of the form|cannot be read: No such file|a secret key in base64 is expected")
"""Problems of values that a document can only hint at: checksums, certificates, keys."""


def parts() -> list[Any]:
    """The YAML in documents that has options of a config at its top level, and what it reads from elsewhere."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        for match in re.finditer(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if (part := yaml.safe_load(match[1])).keys() <= OPTIONS:
                line = text.count("\n", 0, match.start()) + 2
                found.append(pytest.param(part, match[1], id=f"{document.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize(("part", "text"), parts())
def test_it_is_one(part: dict[str, Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"\$\{env:(\w+)\}", text):
        monkeypatch.setenv(name, "redis://localhost" if "REDIS" in name else "sqlite://" if "URL" in name else "x" * 40)
    for name in re.findall(r"\$\{file:([^}]+)\}", text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x" * 40)
    whole = {**REST, **({} if "services" in part else SERVICE), **part}
    whole["listen"] = {**REST["listen"], **whole["listen"]}
    (tmp_path / "alice.yaml").write_text(yaml.safe_dump(whole))
    problems: tuple[str, ...] = ()
    try:
        load(tmp_path / "alice.yaml")
    except ConfigError as error:
        problems = error.problems or (str(error),)
    assert not [problem for problem in problems if not MADE_UP.search(problem)]


def test_there_are_many() -> None:
    assert len(parts()) > 20
