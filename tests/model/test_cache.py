"""Fetching packages into the cache."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sfs_core.errors import ErrorCode, PackageError
from sfs_core.model.cache import fetch_package
from sfs_core.sdk.context import PluginConfig, PluginContext
from sfs_core.sdk.model_source import ModelSource, Progress

CONTENT = b"package one"
SUM = hashlib.sha256(CONTENT).hexdigest()


class Source(ModelSource):
    """Delivers `content`, and counts how often."""

    content: Any = CONTENT
    fetched = 0

    def download(self, path: str, to: Path, progress: Progress) -> Any:
        assert not to.exists()
        self.fetched += 1
        if isinstance(self.content, Exception):
            to.write_bytes(b"half")
            raise self.content
        if self.content is not None:
            to.write_bytes(self.content)
            progress(len(self.content), len(self.content))


class AsyncSource(Source):
    async def download(self, path: str, to: Path, progress: Progress) -> None:
        await asyncio.sleep(0)
        super().download(path, to, progress)


@pytest.fixture(params=[Source, AsyncSource])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    context = PluginContext("svc", "alice", logging.getLogger("test"), tmp_path)
    made: Source = request.param(PluginConfig(), context)
    return made


@pytest.fixture
def fetch(source: Source, tmp_path: Path) -> Callable[..., Path]:
    def fetch(**more: Any) -> Path:
        return fetch_package(source, "any", **({"cache": tmp_path / "new" / "cache", "service": "svc"} | more))

    return fetch


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_file_is_named_by_its_content(fetch: Callable[..., Path], tmp_path: Path) -> None:
    path = fetch()
    assert path == tmp_path / "new" / "cache" / "svc" / f"{SUM}.tar.gz"
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == [path.name]


def test_cached_file_of_the_wanted_sum_is_reused(fetch: Callable[..., Path], source: Source) -> None:
    path = fetch(sha256=SUM)
    assert fetch(sha256=SUM.upper()) == path
    assert source.fetched == 1
    fetch()
    fetch(sha256="")
    assert source.fetched == 3


def test_damaged_cached_file_is_fetched_again(fetch: Callable[..., Path], source: Source) -> None:
    path = fetch(sha256=SUM)
    path.write_bytes(b"damaged")
    assert fetch(sha256=SUM).read_bytes() == CONTENT
    assert source.fetched == 2


def test_wrong_sum_leaves_the_last_good_package(fetch: Callable[..., Path], source: Source) -> None:
    good = fetch(sha256=SUM)
    source.content = b"package two"
    with pytest.raises(PackageError, match="service svc: the package has SHA-256") as caught:
        fetch(sha256="0" * 64)
    assert caught.value.code == ErrorCode.IO_ERROR
    assert files(good.parent) == [good.name]
    assert good.read_bytes() == CONTENT
    assert fetch(sha256=SUM) == good


@pytest.mark.parametrize("sha256", ["abc", "g" * 64, SUM + "0"])
def test_malformed_sum_is_refused(fetch: Callable[..., Path], source: Source, sha256: str) -> None:
    with pytest.raises(PackageError, match="64 hexadecimal digits") as caught:
        fetch(sha256=sha256)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert not source.fetched


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OSError("https://user:password@host/"), "Source failed with OSError"),
        (PackageError("no such object", code=ErrorCode.NOT_FOUND), "no such object"),
        (None, "delivered nothing"),
        (b"", "delivered nothing"),
        (bytes(1001), "larger than 1000 bytes"),
    ],
)
def test_failed_downloads_leave_nothing(fetch: Callable[..., Path], source: Source, content: Any, message: str) -> None:
    good = fetch()
    source.content = content
    with pytest.raises(PackageError, match=message) as caught:
        fetch(max_bytes=1000)
    assert "password" not in str(caught.value)
    assert files(good.parent) == [good.name]


def test_folders_that_cannot_be_written_are_told(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PackageError, match="packages cannot be kept in") as caught:
        fetch_package(source, "p", cache=tmp_path / "file", service="svc")
    assert "`cache`" in caught.value.hint


def test_limit_holds_where_a_source_reports_no_progress(fetch: Callable[..., Path], source: Source) -> None:
    def write_silently(path: str, to: Path, progress: Progress) -> None:
        to.write_bytes(CONTENT)

    source.download = write_silently  # type: ignore[method-assign]
    with pytest.raises(PackageError, match="larger than 5 bytes"):
        fetch(max_bytes=5)


def test_progress_is_passed_on(fetch: Callable[..., Path]) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(progress=lambda done, total=None: seen.append((done, total)))
    assert seen == [(len(CONTENT), len(CONTENT))]


@pytest.mark.parametrize("service", ["", ".", "..", "a/b", "/a", "a\\b", "a\0b"])
def test_service_ids_that_name_other_folders_are_refused(fetch: Callable[..., Path], service: str) -> None:
    with pytest.raises(PackageError, match="cannot name a folder") as caught:
        fetch(service=service)
    assert caught.value.code == ErrorCode.INVALID_ARGUMENT


def test_leftovers_of_a_killed_process_are_removed(fetch: Callable[..., Path]) -> None:
    path = fetch()
    (path.parent / "0.partial").write_bytes(b"half")
    fetch()
    assert files(path.parent) == [path.name]


PROCESS = """
    import logging, sys
    from pathlib import Path
    from sfs_core.model.cache import fetch_package
    from sfs_core.sdk.context import PluginConfig, PluginContext
    from sfs_core.sdk.model_source import ModelSource

    class Source(ModelSource):
        def download(self, path, to, progress):
            print("downloading", flush=True)
            sys.stdin.readline()
            to.write_bytes(b"package one")

    folder = Path(sys.argv[1])
    source = Source(PluginConfig(), PluginContext("svc", "alice", logging.getLogger(), folder))
    print("started", flush=True)
    print(fetch_package(source, "any", cache=folder, service="svc", sha256=sys.argv[2]), flush=True)
"""


def test_of_two_processes_one_downloads_and_the_other_waits(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), str(tmp_path), SUM]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first, subprocess.Popen(command, **pipes) as second:
        try:
            assert first.stdout is not None
            assert second.stdout is not None
            seen = {process: [process.stdout.readline()] for process in (first, second)}
            assert set(map(tuple, seen.values())) == {("started\n",)}
            wait_until_one_waits_for_the_other((first.pid, second.pid))
            for process in (first, second):
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            outputs = [process.stdout.read().splitlines() for process in (first, second)]
        finally:
            first.kill()
            second.kill()
    path = str(tmp_path / "svc" / f"{SUM}.tar.gz")
    assert sorted(map(len, outputs)) == [1, 2]
    assert sorted([*outputs[0], *outputs[1]]) == sorted(["downloading", path, path])


def wait_until_one_waits_for_the_other(pids: tuple[int, int]) -> None:
    """Wait until the kernel says that one of the processes is blocked by a lock."""
    locks = Path("/proc/locks")
    if not locks.exists():
        pytest.skip("this kernel does not tell who waits for a lock")
    until = time.monotonic() + 30
    while not any("->" in line and int(line.split()[5]) in pids for line in locks.read_text().splitlines()):
        assert time.monotonic() < until, "no process waits for the other"
