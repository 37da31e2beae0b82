"""Every YAML block of the documents is a config, or a part of one, that the loader takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import yaml

from sfs_core.cli.dev_certificates import DevelopmentAuthority
from sfs_core.config.loader import load

from .generate_tables import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("plugins/*/*/README.md"))]
NO_CONFIGS = ["features: {age: FIELD_INT32, rate: FIELD_DOUBLE}\nids:"]
"""How blocks begin that something else reads."""
REST = {
    "party": "party: alice",
    "listen": "listen: {service: 9010, communication: 9110}",
    "parties": "parties: {alice: 127.0.0.1:9110, bob: 127.0.0.1:9120, carol: 127.0.0.1:9130}",
    "service": "service: credit",
    "model": "model: {source: {name: local, path: credit.tar.gz}}",
}
"""What a part of a config needs beside itself."""
VALUES = {"MODEL_SHA256": "ab" * 32, "REDIS": "redis://127.0.0.1", "URL": "sqlite:///customers.db"}
"""Of variables; all others have some text."""
SHORTENED = {"0b5c…": "ab" * 32, '"${file:alice.secret}"': ""}
"""What stands for a value that is too long for a page, or that only its owner has."""


def blocks() -> Iterator[object]:
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^( *)```yaml\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            block = dedent(found[2])
            line = text[: found.start()].count("\n") + 1
            if not any(map(block.startswith, NO_CONFIGS)):
                yield pytest.param(block, page, id=f"{page.relative_to(ROOT)}:{line}")


def parts_of_configs(block: str, page: Path) -> Iterator[str]:
    """What the block shows, each as it stands in a config: a source, or some of its options, at its place."""
    for short, value in SHORTENED.items():
        block = block.replace(short, value)
    if re.match("key:|query:", block) and page.match("sql/README.md"):
        table = "" if "query:" in block else "table: customers\n"
        block = "source:\n" + indent(f"name: sql\nurl: sqlite:///customers.db\n{table}{block}", "  ")
    for part in filter(str.strip, re.split(r"^(?=source:)", block, flags=re.MULTILINE)):
        yield "features:\n" + indent(part, "  ") if part.startswith("source:") else part


def whole_config(part: str) -> str:
    """The part, and what a config needs beside it."""
    said = yaml.safe_load(part)
    if isinstance(said.get("listen"), dict) and "communication" not in said["listen"]:
        part = part.replace("listen:\n", "listen:\n  service: 9010\n  communication: 9110\n")
    lacking = REST.keys() - said.keys() - ({"service", "model"} if "services" in said else set())
    return "\n".join([part, *(REST[name] for name in REST if name in lacking)])


def write_files(config: str, folder: Path, authority: DevelopmentAuthority) -> None:
    """The secrets and certificates that it names."""
    for name in re.findall(r"\$\{file:([^}]+)\}", config):
        (folder / name).write_text("secret")
    for block in mappings(yaml.safe_load(config)):
        for name in {"certificate_file", "ca_file"} & block.keys():
            (folder / block[name]).parent.mkdir(exist_ok=True)
        if "certificate_file" in block:
            files = folder / block["certificate_file"], folder / block["key_file"]
            authority.issue(*files, "alice", ["alice"], password="secret" if "key_password" in block else None)
        if "ca_file" in block:
            authority.write(folder / block["ca_file"])


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(inside)


@pytest.fixture(scope="module")
def authority() -> DevelopmentAuthority:
    return DevelopmentAuthority()


@pytest.mark.parametrize(("block", "page"), list(blocks()))
def test_configs_of_documents_are_taken(
    block: str, page: Path, tmp_path: Path, authority: DevelopmentAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for config in map(whole_config, parts_of_configs(block, page)):
        for name in re.findall(r"\$\{env:(\w+)\}", config):
            monkeypatch.setenv(name, VALUES.get(name, "some text"))
        write_files(config, tmp_path, authority)
        path = tmp_path / "alice.yaml"
        path.write_text(config)
        load(path)
