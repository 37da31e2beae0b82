"""The audit log: who asked for what, one JSON object per line, each bound to all lines before it.

A line ends with `chain`: keyed BLAKE2b (RFC 7693), under a key derived from the config's, of the chain before it and
the line without it. Who lacks the key can neither change, remove or insert a line nor write one. What was cut off at
the end only shows against a chain that was noted down elsewhere.

Ids are written as keyed hashes under another derived key: who has the key and an id finds its lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from sfs_core.errors import ConfigError, ErrorCode, SfsError

__all__ = ["AuditError", "AuditKeys", "AuditLog", "audit_files", "read_lines", "verify"]

logger = logging.getLogger("sfs.audit")

START: Final = "0" * 64
"""The chain before the first line of all."""
ID_DIGITS: Final = 32
_CHAIN: Final = b',"chain":"'
_TORN: Final = "after_torn_line"


class AuditError(SfsError):
    """A line of an audit log is not what was written."""


class AuditKeys:
    """What lines and ids are hashed with.

    Args:
        secret: the config's key.
    """

    def __init__(self, secret: str) -> None:
        def derived(purpose: bytes) -> bytes:
            return hashlib.blake2b(secret.encode(), person=purpose).digest()

        # Hashes that have taken their key are copied, which costs less than keying each anew.
        self._chain = hashlib.blake2b(key=derived(b"sfs audit chain"), digest_size=32)
        self._ids = hashlib.blake2b(key=derived(b"sfs audit ids"), digest_size=ID_DIGITS // 2)

    def chain(self, before: str, line: bytes) -> str:
        """The chain after a line; 64 hex digits."""
        hash_ = self._chain.copy()
        hash_.update(before.encode() + line)
        return hash_.hexdigest()

    def id_hash(self, id_: str) -> str:
        """What stands for an id; 32 hex digits."""
        hash_ = self._ids.copy()
        hash_.update(id_.encode("utf-8", "surrogatepass"))
        return hash_.hexdigest()


class AuditLog:
    """Appends to an audit log; what is written in one turn of the event loop goes to the file at once.

    Args:
        path: the file; it is continued if it is there, and belongs to this process alone.
        secret: the config's key.
        max_file_bytes: the size at which the file is renamed.

    Raises:
        ConfigError: the file cannot be written, is in use, or does not end as this key would have written it.
    """

    def __init__(self, path: Path, secret: str, max_file_bytes: int) -> None:
        self._path, self._keys, self._max_bytes = path, AuditKeys(secret), max_file_bytes
        self._pending: list[bytes] = []
        self._flushing = False
        self.failed = False
        """Whether lines could not be written; they are kept, and tried again with `try_again`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}",
                code=ErrorCode.IO_ERROR,
                hint="choose a file in a folder that this user may write to, and that no other process writes",
            ) from None
        self._chain = self._last_chain()

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise OSError(0, "another process writes it") from None
        return descriptor

    def _last_chain(self) -> str:
        """The chain that the next line goes on from; a line that a crash cut off is ended first."""
        files = audit_files(self._path)
        before, last, torn, follows, where = START, START, False, True, ""
        for place, number, line in read_lines(files[-2:]):
            parsed = _parsed(line)
            torn = parsed is None
            if parsed is not None:
                before, last = last, str(parsed[1].get("chain"))
                follows = self._keys.chain(before, parsed[0]) == last
                where = f"{place}:{number}"
        first_is_unknown = len(files) > 2 and before == START
        if not follows and not first_is_unknown:
            raise ConfigError(
                "the audit log was written with another key, or was changed",
                where=where,
                hint="give it the key that it was written with, or begin another file; `sfs audit verify` says more",
            )
        ends = _ends_with_newline(self._path)
        if torn or not ends:
            os.write(self._file, b"" if ends else b"\n")
            self._chain = last
            self.write({"time": time.time(), _TORN: True})
            self.flush()
            last = self._chain
        return last

    def rows_by_caller(self, since: float) -> dict[str, int]:
        """How many rows each caller was given since a time (Unix seconds), by what is written."""
        rows: dict[str, int] = {}
        for _, _, line in read_lines(audit_files(self._path)):
            parsed = _parsed(line)
            if parsed is not None and parsed[1].get("time", 0) >= since and "caller" in parsed[1]:
                caller = parsed[1]["caller"]
                rows[caller] = rows.get(caller, 0) + parsed[1].get("rows", 0)
        return rows

    def write(
        self, record: dict[str, Any], ids: Sequence[str] = (), loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Append a line.

        Args:
            record: what happened, beginning with `time`, when that was (Unix seconds); the ids are added to it.
            ids: of the rows asked for; they are written as hashes.
            loop: where the line may wait for others of the same turn; without it, `flush` is to be called.
        """
        if ids:
            record["ids"] = list(map(self._keys.id_hash, ids))
        line = orjson.dumps(record)
        self._chain = self._keys.chain(self._chain, line)
        self._pending.append(line[:-1] + _CHAIN + self._chain.encode() + b'"}\n')
        if loop is not None and not self._flushing:
            self._flushing = True
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits; what cannot be written waits on."""
        self._flushing = False
        data = b"".join(self._pending)
        if not data:
            return
        try:
            while data:  # a disk that fills up takes some of it, and says why when it is given the rest
                data = data[os.write(self._file, data) :]
        except OSError as error:
            if not self.failed:
                logger.warning("the audit log cannot be written: %s; callers are refused until it can", error.strerror)
            self.failed = True
            self._pending = [data]
            return
        self._pending = []
        if self.failed:
            logger.info("the audit log is written again")
        self.failed = False
        if os.fstat(self._file).st_size >= self._max_bytes:
            self._rename()

    def try_again(self) -> bool:
        """Whether everything is written now."""
        self.flush()
        return not self.failed

    def _rename(self) -> None:
        number = 1 + max((_number(self._path, each) for each in audit_files(self._path)), default=0)
        try:
            self._path.rename(_numbered(self._path, number))
            renamed, self._file = self._file, self._open()
        except OSError as error:
            logger.warning("the audit log cannot be renamed, it goes on growing: %s", error.strerror)
        else:
            os.close(renamed)

    def close(self) -> None:
        """Write what waits and close the file; may be called twice."""
        if self._file >= 0:
            self.flush()
            os.close(self._file)
            self._file = -1


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def _number(path: Path, other: Path) -> int:
    """0 for the file that is written."""
    return 0 if other == path else int(other.name.removeprefix(f"{path.stem}.").removesuffix(path.suffix))


def audit_files(path: Path) -> list[Path]:
    """The files of an audit log, oldest first: `audit.1.jsonl`, `audit.2.jsonl`, …, `audit.jsonl`."""
    numbered = {}
    for each in path.parent.glob(f"{path.stem}.*{path.suffix}"):
        with contextlib.suppress(ValueError):
            numbered[_number(path, each)] = each
    numbered.pop(0, None)
    return [*(numbered[number] for number in sorted(numbered)), *([path] if path.exists() else [])]


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_lines(files: Iterable[Path]) -> Iterator[tuple[Path, int, bytes]]:
    """The lines of files with their places: file, number from 1, text without the line's end."""
    for path in files:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield path, number, line.rstrip(b"\n")


def _parsed(line: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """What the chain covers, and the record; None for what is no whole line."""
    end = line.rfind(_CHAIN)
    if end < 0:
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return (line[:end] + b"}", record) if isinstance(record, dict) else None


@dataclass(frozen=True, slots=True)
class Verified:
    """An audit log that is as it was written: how many lines, how many of them torn by crashes, and its chain."""

    lines: int
    torn: int
    chain: str


def verify(files: Sequence[Path], secret: str) -> Verified:
    """Check that files hold what was written, whole and in order.

    Args:
        files: oldest first, beginning with the first of all.
        secret: the config's key.

    Raises:
        AuditError: at the first line that does not follow from those before it; the place is told.
    """
    keys, chain, count, torn = AuditKeys(secret), START, 0, 0
    torn_at = ""
    for path, number, line in read_lines(files):
        place, parsed = f"{path}:{number}", _parsed(line)
        count += 1
        if parsed is None:
            if torn_at:
                raise AuditError("the line is none of an audit log", where=torn_at)
            torn_at, torn = place, torn + 1
            continue
        covered, record = parsed
        chain = keys.chain(chain, covered)
        if not hmac.compare_digest(chain, str(record.get("chain"))):
            raise AuditError(
                "the line does not follow from those before it",
                where=place,
                hint="a line was changed, removed or added here, a file is missing, or the key is another",
            )
        if torn_at and not record.get(_TORN):
            raise AuditError("the line was damaged", where=torn_at)
        torn_at = ""
    if torn_at:
        raise AuditError("the last line is not whole", where=torn_at, hint="is it being written at this moment?")
    return Verified(count, torn, chain)
