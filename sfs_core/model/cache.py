"""Fetching model packages into a local folder: by content, once, and never half."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import inspect
import re
import uuid
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sfs_core.errors import ErrorCode, PackageError, SfsError
from sfs_core.sdk.model_source import ModelSource, Progress

__all__ = ["fetch_package"]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PARTIAL: Final = ".partial"


def fetch_package(
    source: ModelSource,
    path: str,
    *,
    cache: Path,
    service: str,
    sha256: str | None = None,
    progress: Progress | None = None,
    max_bytes: int = 1 << 30,
) -> Path:
    """The package that `path` names at `source`, as the file `<cache>/<service>/<its SHA-256>.tar.gz`.

    A file that is there already and has the wanted sum is not fetched again. Blocks, and runs an event loop of its
    own for a source with `async def download`: call it in a thread. Several processes may call it at once.

    Args:
        source: where packages come from.
        path: what to fetch, in the source's terms.
        cache: folder of the packages; made when missing.
        service: the service's id, one folder name.
        sha256: what the file must hash to (hex, any case); None or "" takes whatever comes.
        progress: called while bytes arrive.
        max_bytes: size of the largest package that is accepted.

    Raises:
        PackageError: the source fails, or sends too much or something else than `sha256` (code 10); the service
            id or `sha256` is malformed (code 3); the cache cannot be written (code 10). Packages fetched before
            stay as they are.
    """
    folder = cache / _folder_name(service)
    wanted = _checked_sum(sha256, service)
    with _locked(folder):
        if wanted and _sum_of(_target(folder, wanted)) == wanted:
            return _target(folder, wanted)
        for leftover in folder.glob(f"*{_PARTIAL}"):  # of a process that was killed: we hold the lock
            leftover.unlink()
        partial = folder / f"{uuid.uuid4().hex}{_PARTIAL}"
        try:
            _download(source, path, partial, _Limit(progress, max_bytes, service))
            found = _checked_download(partial, wanted, max_bytes, service)
            return partial.replace(_target(folder, found))
        finally:
            partial.unlink(missing_ok=True)


def _folder_name(service: str) -> str:
    if service in ("", ".", "..") or any(character in service for character in "/\\\0"):
        raise PackageError(
            f"the service id {service!r} cannot name a folder",
            code=ErrorCode.INVALID_ARGUMENT,
            hint="use letters, digits, '-' and '_'",
        )
    return service


def _checked_sum(sha256: str | None, service: str) -> str:
    wanted = (sha256 or "").strip().lower()
    if wanted and not _SHA256.fullmatch(wanted):
        raise PackageError(
            "sha256 must be 64 hexadecimal digits", code=ErrorCode.INVALID_ARGUMENT, where=f"service {service}"
        )
    return wanted


def _target(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.tar.gz"


def _sum_of(file: Path) -> str:
    """SHA-256 of a file's content, or "" where there is none."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, made when missing, for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise PackageError(
            f"packages cannot be kept in {folder}: {error.strerror or type(error).__name__}",
            hint="name another folder as `cache` in the config",
        ) from None
    with lock as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by close, also when the process dies
        yield


class _Limit:
    """Passes a download's progress on and breaks it off when it grows too large."""

    def __init__(self, progress: Progress | None, max_bytes: int, service: str) -> None:
        self._progress = progress
        self._max_bytes = max_bytes
        self._service = service

    def __call__(self, done: int, total: int | None = None) -> None:
        if max(done, total or 0) > self._max_bytes:
            raise _too_large(self._max_bytes, self._service)
        if self._progress is not None:
            self._progress(done, total)


def _too_large(max_bytes: int, service: str) -> PackageError:
    return PackageError(f"the package is larger than {max_bytes} bytes", where=f"service {service}")


def _download(source: ModelSource, path: str, to: Path, progress: Progress) -> None:
    try:
        pending = source.download(path, to, progress)
        if inspect.isawaitable(pending):
            asyncio.run(_wait_for(pending))
    except SfsError:
        raise
    except (Exception, SystemExit) as error:  # a plugin's code may raise anything
        raise PackageError(
            f"the model source {type(source).__name__} failed with {type(error).__name__}",
            where=f"service {source.context.service}",
        ) from error


async def _wait_for(pending: Awaitable[Any]) -> None:
    await pending


def _checked_download(file: Path, wanted: str, max_bytes: int, service: str) -> str:
    """The SHA-256 of what a source has written, if it may be used."""
    where = f"service {service}"
    if not file.is_file() or not file.stat().st_size:
        raise PackageError("the model source delivered nothing", where=where)
    if file.stat().st_size > max_bytes:
        raise _too_large(max_bytes, service)
    found = _sum_of(file)
    if wanted and found != wanted:
        raise PackageError(
            f"the package has SHA-256 {found}, the config wants {wanted}",
            where=where,
            hint="correct sha256 in the config if the new package is meant",
        )
    return found
