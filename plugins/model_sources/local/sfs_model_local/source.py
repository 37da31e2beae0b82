"""The local model source: copies a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sfs_core import ErrorCode, ModelSource, PackageError, Progress

__all__ = ["LocalModelSource"]

_CHUNK: Final = 1 << 20


class LocalModelSource(ModelSource):
    """A file of this machine. `path` is relative to the config file; there are no other options."""

    def download(self, path: str, to: Path, progress: Progress) -> None:
        """Copy the file.

        Raises:
            PackageError: there is no such file (code 5), or it cannot be copied (code 10).
        """
        source = self.context.resolve(path)
        try:
            if not source.exists():
                raise PackageError(
                    "there is no such model package", code=ErrorCode.NOT_FOUND, where=str(source), hint="check the path"
                )
            if not source.is_file():  # opening a pipe would wait for its writer
                raise PackageError("not a model package: a directory or a device", where=str(source))
            _copy(source, to, progress)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PackageError(f"the model package cannot be copied: {reason}", where=str(source)) from None


def _copy(source: Path, to: Path, progress: Progress) -> None:
    total, done = source.stat().st_size, 0
    with source.open("rb") as reading, to.open("xb") as writing:
        while chunk := reading.read(_CHUNK):
            writing.write(chunk)
            done += len(chunk)
            progress(done, total)
