"""Pages that are generated are up to date, and links between pages lead somewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from sfs_core.config.telemetry import ROOMS
from sfs_core.errors import ErrorCode
from sfs_core.link.rpc import RpcCode

from .generate_tables import ERRORS, METRICS, ROOT, errors_page, metrics_page

PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_up_to_date() -> None:
    told = "run tests/docs/generate_tables.py"
    assert METRICS.read_text() == metrics_page(), told
    assert ERRORS.read_text() == errors_page(), told


def test_every_code_has_a_row() -> None:
    page = ERRORS.read_text()
    for code in (*ErrorCode, *RpcCode):
        assert f"| {int(code)} | `{code.name}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:  # type: ignore[no-untyped-def]
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def json_blocks() -> Iterator[object]:
    for page in [*ROOT.glob("docs/*.md"), *ROOT.glob("plugins/**/README.md"), *ROOT.glob("examples/**/README.md")]:
        for i, block in enumerate(re.findall(r"^```json\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
            yield pytest.param(block, id=f"{page.relative_to(ROOT)}-{i}")


@pytest.mark.parametrize("block", list(json_blocks()))
def test_json_of_documents_is_json(block: str) -> None:
    while block:  # one value after another
        _, end = json.JSONDecoder().raw_decode(block)
        block = block[end:].lstrip()


def test_every_room_of_the_log_is_named() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    code = "\n".join(path.read_text() for path in (ROOT / "sfs_core").rglob("*.py"))
    rooms = set(re.findall(r'getLogger\("sfs\.([a-z]+)"\)', code)) - {"source"}
    assert rooms | {"source"} == set(ROOMS)
    assert [room for room in sorted(rooms) if f"`{room}`" not in page] == []
