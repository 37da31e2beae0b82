"""`sfs audit`: check an audit log, and look things up in it."""

from __future__ import annotations

import contextlib
import heapq
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from sfs_core.cli.tables import print_table
from sfs_core.errors import ErrorCode, RequestError
from sfs_core.observe.audit import AuditKeys, audit_files, read_lines
from sfs_core.observe.audit import verify as verify_files
from sfs_core.observe.worker import workers_files

__all__ = ["command"]

KEY_VARIABLE = "SFS_AUDIT_KEY"

_Command = TypeVar("_Command", bound=Callable[..., None])


@click.group("audit")
def command() -> None:
    """Check an audit log, and look things up in it."""


def _log(function: _Command) -> _Command:
    key_file = click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        help=f"File with the key (callers.audit.key of the config); else the environment variable {KEY_VARIABLE}.",
    )
    return click.argument("file", type=click.Path(path_type=Path))(key_file(function))


@command.command("verify")
@_log
def verify(file: Path, key_file: Path | None) -> None:
    """Check that FILE and those renamed before it hold what was written, whole and in order.

    Of a server with several workers, each of which writes a log of its own beside FILE, all are checked.

    What was cut off at the end cannot be seen from the files: note the chain that is printed down elsewhere, and look
    for it in a later log.
    """
    key = _key(key_file)
    for log in _logs(file):
        found = verify_files(audit_files(log), key)
        name = "" if log == file else f"{log}: "
        torn = f", {found.torn} of them cut off by crashes" if found.torn else ""
        print(f"{name}{found.lines} lines are as they were written{torn}; chain {found.chain}")


@command.command("show")
@_log
@click.option("--caller", help="Requests of this caller only.")
@click.option("--service", help="Requests to this service only.")
@click.option("--id", "id_", metavar="ID", help="Requests for this id only ('-': read it from standard input).")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are.")
def show(
    file: Path, key_file: Path | None, caller: str | None, service: str | None, id_: str | None, as_json: bool
) -> None:
    """Show what FILE, those renamed before it, and those of workers say. Only looking for an id needs the key."""
    wanted: dict[str, Any] = {"caller": caller, "service": service}
    hash_ = None
    if id_ is not None:
        hash_ = AuditKeys(_key(key_file)).id_hash(sys.stdin.readline().rstrip("\n") if id_ == "-" else id_)
    rows = []
    for record, line in _records(file):
        if any(value is not None and record.get(name) != value for name, value in wanted.items()):
            continue
        if hash_ is not None and hash_ not in record.get("ids", ()):
            continue
        if as_json:
            print(line.decode())
        rows.append(_row(record))
    if not as_json:
        print_table(("time (UTC)", "caller", "service", "rows", "code", "request id"), rows)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    moment = datetime.fromtimestamp(record["time"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return (moment, *(str(record.get(name, "")) for name in ("caller", "service", "rows", "code", "request_id")))


def _records(file: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What was asked, by time, and how that is written."""

    def records(log: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
        for _, _, line in read_lines(audit_files(log)):
            with contextlib.suppress(orjson.JSONDecodeError):
                record = orjson.loads(line)
                if isinstance(record, dict) and "caller" in record:
                    yield record, line

    return heapq.merge(*map(records, _logs(file)), key=lambda each: each[0]["time"])


def _logs(file: Path) -> list[Path]:
    """The log, and those that workers write beside it, as far as there are any."""
    logs = [log for log in (file, *workers_files(file)) if audit_files(log)]
    if not logs:
        raise RequestError(f"there is no audit log {file}", code=ErrorCode.NOT_FOUND)
    return logs


def _key(file: Path | None) -> str:
    if file is None:
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise RequestError("the key is needed", hint=f"give --key-file, or set {KEY_VARIABLE}")
        return key
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} cannot be read ({type(error).__name__})", code=ErrorCode.IO_ERROR) from None
