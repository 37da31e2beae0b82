"""The contract of model sources."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import pytest

from sfs_core.errors import PackageError
from sfs_core.host.registry import Kind
from sfs_core.model.cache import fetch_package
from sfs_core.sdk.model_source import ModelSource, Progress
from sfs_core.testing.contract import installed, on_event_loop
from sfs_core.testing.making import SERVICE, plugin_context
from sfs_core.testing.source import SourceCase, SourceContract, assert_is_ours
from sfs_core.testing.watching import POOL_NAME, Leftovers, broken_service

__all__ = ["ModelSourceCase", "ModelSourceContract"]

_CONTENT: Final = bytes(range(256)) * (4 << 12) + b"the end"
_LIMIT: Final = 1 << 18
_SLACK: Final = 2 << 20
"""A source may be so many bytes ahead of its progress when that breaks it off."""


@dataclass(frozen=True, kw_only=True)
class ModelSourceCase(SourceCase):
    """A model source and what it should fetch.

    Args:
        path: the `path` of a package that holds the bytes of the fixture `content`.
        missing: a `path` where nothing is.
        truncated: a `path` whose bytes break off on their way; empty where the kind of source cannot be cut short.
        path_at: for a source whose `path` names the service: the path at a host and port.
    """

    path: str
    missing: str
    truncated: str = ""
    path_at: Callable[[str, int], str] | None = None

    @property
    def asks_service(self) -> bool:
        """Whether the source asks a service."""
        return self.options_at is not None or self.path_at is not None


class ModelSourceContract(SourceContract):
    """Rules that every model source keeps; a subclass defines the fixture `case`, a `ModelSourceCase`.

    Its fixture `content` gives the bytes to lay down at the case's `path`.
    """

    contract_kind: ClassVar[Kind] = "model_source"
    contract_title: ClassVar[str] = "model source"

    @pytest.fixture
    def content(self) -> bytes:
        """The bytes of the package; not of a real one, as a source does not look into it."""
        return _CONTENT

    # -------------------------------------------------------------------------------------- using a source
    def make(self, case: ModelSourceCase, options: Mapping[str, Any] | None = None) -> ModelSource:
        """The case's source."""
        cls = installed().model_source(case.component)
        return cls(self.config(case, options), plugin_context(case.base_directory))

    async def use(self, case: ModelSourceCase, folder: Path) -> None:
        """Download once."""
        await _download(self.make(case), case.path, folder / "used", _ignored)

    def _asking(self, case: ModelSourceCase, address: tuple[str, int]) -> tuple[ModelSource, str]:
        """A source that asks a service at an address, and the path to ask for."""
        if case.path_at is None:
            return self.make(case, case.options_of_service(address)), case.path
        return self.make(case), case.path_at(*address)

    # ---------------------------------------------------------------------------------- rules: what arrives
    @on_event_loop
    async def test_the_bytes_arrive_as_they_are(self, case: ModelSourceCase, content: bytes, tmp_path: Path) -> None:
        """The file is the package, byte for byte."""
        await _download(self.make(case), case.path, tmp_path / "to", _ignored)
        _assert_same(tmp_path / "to", content)

    @on_event_loop
    async def test_progress_is_told(self, case: ModelSourceCase, content: bytes, tmp_path: Path) -> None:
        """It grows, step by step, up to the package's size."""
        steps: list[tuple[int, int | None]] = []
        await _download(self.make(case), case.path, tmp_path / "to", lambda d, t=None: steps.append((d, t)))
        done = [each for each, _ in steps]
        assert done, "progress is never called"
        assert all(one <= other for one, other in pairwise(done)), "progress goes back"
        assert done[-1] == len(content), "the last progress is not the package's size"
        assert {total for _, total in steps} <= {None, len(content)}, "`total` is not the package's size"

    @on_event_loop
    async def test_progress_can_break_it_off(self, case: ModelSourceCase, content: bytes, tmp_path: Path) -> None:
        """So core keeps packages that are too large from filling the disk: its error comes out at once."""
        to, written = tmp_path / "to", 0

        def too_large(done: int, total: int | None = None) -> None:
            nonlocal written
            written = _size(to)
            if done > _LIMIT:
                raise PackageError("contract: too large")

        with pytest.raises(PackageError, match="contract: too large"):
            await _download(self.make(case), case.path, to, too_large)
        assert written <= _LIMIT + _SLACK, "progress is called too late: most of the package is on the disk"

    @on_event_loop
    async def test_downloads_at_a_time_do_not_mix(self, case: ModelSourceCase, content: bytes, tmp_path: Path) -> None:
        """One source serves several downloads."""
        source = self.make(case)
        targets = [tmp_path / "one", tmp_path / "two"]
        await asyncio.gather(*(_download(source, case.path, to, _ignored) for to in targets))
        for to in targets:
            _assert_same(to, content)

    # ----------------------------------------------------------------------------------- rules: the errors
    @on_event_loop
    async def test_a_missing_package_is_an_error(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """Not an empty file."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any at all
            await _download(self.make(case), case.missing, tmp_path / "to", _ignored)
        assert_is_ours(caught.value)

    @on_event_loop
    async def test_a_package_cut_short_is_an_error(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """Half a package is none."""
        if not case.truncated:
            pytest.skip("the case has no `truncated`")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any at all
            await _download(self.make(case), case.truncated, tmp_path / "to", _ignored)
        assert_is_ours(caught.value)

    @on_event_loop
    async def test_a_file_that_cannot_be_written_is_an_error(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """A disk may be full, a folder gone."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any at all
            await _download(self.make(case), case.path, tmp_path / "no folder" / "to", _ignored)
        assert_is_ours(caught.value)

    @on_event_loop
    async def test_a_service_that_is_not_there_is_an_error(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """Nobody listens at the address."""
        await self._assert_error_in_time(case, tmp_path, "absent")

    @on_event_loop
    async def test_a_service_that_never_answers_is_an_error(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """Timeouts are honoured: the source gives up before the case's patience ends."""
        await self._assert_error_in_time(case, tmp_path, "silent")

    @on_event_loop
    async def test_a_service_that_breaks_off_is_an_error(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """Connections are reset."""
        await self._assert_error_in_time(case, tmp_path, "resetting")

    async def _assert_error_in_time(
        self, case: ModelSourceCase, tmp_path: Path, how: Literal["absent", "silent", "resetting"]
    ) -> None:
        with broken_service(how) as address:
            source, path = self._asking(case, address)
            asking = asyncio.create_task(_download(source, path, tmp_path / "to", _ignored))
            done, _ = await asyncio.wait([asking], timeout=case.patience)
            asking.cancel()
            assert done, f"no error within {case.patience} s: the source needs a timeout"
            error = asking.exception()
        assert error is not None, "a package came out of nowhere"
        assert_is_ours(error)

    def test_core_keeps_whole_packages_only(self, case: ModelSourceCase, content: bytes, tmp_path: Path) -> None:
        """With core around it: the package is kept, and nothing of one that is too large, missing or cut short."""
        kept = fetch_package(self.make(case), case.path, cache=tmp_path, service=SERVICE)
        _assert_same(kept, content)
        for path, limit in ((case.path, _LIMIT), (case.missing, 1 << 30), (case.truncated, 1 << 30)):
            if path:
                with pytest.raises(PackageError):
                    fetch_package(self.make(case), path, cache=tmp_path, service=SERVICE, max_bytes=limit)
        assert {file.name for file in (tmp_path / SERVICE).iterdir()} == {kept.name, ".lock"}

    # ------------------------------------------------------------------------------------ rules: the end
    @on_event_loop
    async def test_it_can_be_cancelled(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """A server that stops does not wait for a download to end."""
        source = self.make(case)
        if not inspect.iscoroutinefunction(source.download):
            pytest.skip("a plain `def` runs in a thread and ends by itself")
        before = Leftovers("tasks")

        def cancel(done: int, total: int | None = None) -> None:
            downloading.cancel()

        downloading: asyncio.Task[None] = asyncio.create_task(_download(source, case.path, tmp_path / "to", cancel))
        await asyncio.wait([downloading], timeout=case.patience)
        assert downloading.cancelled(), "cancelling it has no effect"
        assert await before.found() == []

    @on_event_loop
    async def test_no_thread_is_left_behind(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """After a download, the source's threads end."""
        await self._assert_clean(case, tmp_path, "threads")

    @on_event_loop
    async def test_no_file_or_socket_is_left_open(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """After a download, the source's descriptors are closed."""
        await self._assert_clean(case, tmp_path, "descriptors")

    @on_event_loop
    async def test_no_task_is_left_behind(self, case: ModelSourceCase, tmp_path: Path) -> None:
        """After a download, the source's tasks end."""
        await self._assert_clean(case, tmp_path, "tasks")

    async def _assert_clean(
        self, case: ModelSourceCase, tmp_path: Path, kind: Literal["threads", "descriptors", "tasks"]
    ) -> None:
        await self.use(case, tmp_path)
        before, source = Leftovers(kind), self.make(case)
        await _download(source, case.path, tmp_path / "to", _ignored)
        assert await before.found() == []


def _ignored(done: int, total: int | None = None) -> None:
    """Progress that nobody follows."""


def _assert_same(file: Path, content: bytes) -> None:
    same = file.read_bytes() == content  # pytest would show where they differ, for minutes
    assert same, f"{_size(file)} other bytes arrived, instead of {len(content)}"


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


async def _download(source: ModelSource, path: str, to: Path, progress: Progress) -> None:
    """Run a download, a blocking one in a thread of its own."""
    if inspect.iscoroutinefunction(source.download):
        await source.download(path, to, progress)
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(source.download(path, to, progress))
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            outcome.append(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=run, name=POOL_NAME, daemon=True)
    thread.start()
    await done.wait()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    if inspect.isawaitable(outcome[0]):
        await outcome[0]
