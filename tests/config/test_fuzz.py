"""Whatever a config file holds, reading it ends with a config or an explanation, and soon."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from sfs_core.config import loader
from sfs_core.errors import SfsError
from sfs_core.host.registry import Registry

from .conftest import NATIVE, REFERENCE

COUNT = 10_000
SECONDS = 60.0
"""Of computing, that nothing may take; far more than it does, for slow machines."""
SECRET = "open'sesame\\"
TOKENS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "- ",
        "? ",
        "&a ",
        "*a",
        "!!python/object:os.system ",
        "!x ",
        "|",
        ">",
        "'",
        '"',
        "#",
        "%",
    ),
    *(
        "\n",
        "\t",
        "  ",
        "\0",
        "\ufeff",
        "\u2028",
        "\\ud83d\\ude00",
        "\\udc00",
        "~",
        "null",
        "true",
        "yes",
        "-1",
        "0",
        "1e999",
    ),
    *(
        "nan",
        ".nan",
        ".inf",
        "0o17",
        "12:30:45",
        "2024-01-31",
        "9" * 30,
        "9" * 5000,
        "0x" + "f" * 99,
        "\u00b2",
        "''",
        "{}",
        "[]",
    ),
    *(
        "${env:FUZZ_SECRET}",
        "${env:FUZZ_SECRET}",
        "${env:HOME}",
        "${env:NO_SUCH}",
        "${file:/dev/zero}",
        "${file:~nobody/x}",
        "${file:\0}",
        "${x}",
        "$${",
        "${",
        "<<: ",
        "---\n",
    ),
    *(
        "~nobody/x",
        "service",
        "name",
        "http",
        "s3",
        "ST_OSS",
        "ST_HTTP",
        "ossSourceMeta",
        "httpOpts",
        "tlsConfig",
        "path",
        "link",
    ),
]


def _damaged(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        return rng.randbytes(rng.randrange(200))
    if kind < 0.2:
        return "".join(rng.choices(TOKENS, k=rng.randrange(30))).encode()
    text = rng.choice([NATIVE, REFERENCE])
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text))
        to = min(len(text), at + rng.choice([0, 1, 1, 5, 20]))
        text = text[:at] + rng.choice([*TOKENS, text[to : to + 20]]) + text[to:]
    return text.encode()


def test_nothing_but_explained_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dice: random.Random) -> None:
    registry = Registry.discover()
    monkeypatch.setattr(loader.Registry, "discover", lambda *_: registry)
    monkeypatch.setenv("FUZZ_SECRET", SECRET)
    path = tmp_path / "party.yaml"
    accepted, refused, start = 0, 0, time.process_time()
    for _ in range(COUNT):
        content = _damaged(dice)
        path.unlink(missing_ok=True)  # to overwrite a file takes a file system several times as long
        path.write_bytes(content)
        try:
            loader.load(path)
            accepted += 1
        except SfsError as error:
            refused += 1
            told = "\n".join([str(error), *getattr(error, "problems", ())])
            assert SECRET not in told, repr(content)
        except Exception as error:
            raise AssertionError(repr(content)) from error
    assert accepted > COUNT // 100
    assert refused > COUNT // 2
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    "content",
    [
        "[" * 900_000,
        "{a: " * 200_000,
        "- " * 500_000,
        "? " * 500_000,
        '{"a":' * 150_000 + "1" + "}" * 150_000,
        "a: " + "x" * 1_000_000,
        "a: '" + "${env:X}" * 120_000 + "'",
        "\n".join(
            ["a: &a [1, 1, 1, 1, 1, 1, 1, 1]", *(f"a{i}: &a [*a, *a, *a, *a, *a, *a, *a, *a]" for i in range(99))]
        ),
        "a: &a [*a]",
        "a: &a x\nb:\n" + "".join("- *a\n" for _ in range(100_001)),
        "".join(f"option_{i}: 1\n" for i in range(30_000)),
        "features: {mapping: {" + ", ".join(f"a{i}: b{i // 2}" for i in range(40_000)) + "}}",
        "parties: {" + ", ".join(f"p{i}: q" for i in range(50_000)) + "}",
        "${env:" * 100_000,
        "service: " + "9" * 1_000_000,
        "link: {timeout: '" + "1" * 900_000 + " s'}",
        "parties: {alice: '" + "[" * 900_000 + "'}",
    ],
    ids=range(17),
)
def test_large_and_deep_files_are_refused_soon(content: str, tmp_path: Path) -> None:
    path = tmp_path / "party.yaml"
    path.write_text(content)
    start = time.process_time()
    with pytest.raises(SfsError) as caught:
        loader.load(path)
    assert time.process_time() - start < SECONDS
    assert len(str(caught.value)) < 10_000
