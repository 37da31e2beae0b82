"""What the verbs that call servers share: whom they call, and for which ids."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from sfs_core.errors import RequestError

__all__ = ["find_target", "read_ids"]


def read_ids(file: Path, column: str) -> list[str]:
    """The ids in a column of a CSV file. Raises RequestError where that cannot be read."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            if column not in (reader.fieldnames or ()):
                raise RequestError(f"{file} has no column {column!r}", hint="name the column with --id-column")
            return [_id_in(row, column, f"{file}:{reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{file} is no CSV file that can be read ({type(error).__name__})") from None


def _id_in(row: Mapping[str, str | None], column: str, where: str) -> str:
    value = row[column]
    if value is None:
        raise RequestError(f"the line ends before column {column!r}", where=where)
    return value


def find_target(target: str, service: str | None, parties: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """URL, service id and parties of a target: a URL, for which the others must be given, or a party's config file.

    Raises:
        click.UsageError: they are not given, or the config has several services and none is named.
        SfsError: the config is wrong, or opens no service port.
    """
    if "://" in target:
        if not service or not parties:
            raise click.UsageError("with a URL, --service and --party (one for each party) are needed")
        return target, service, tuple(parties)
    from sfs_core.config.loader import read_config  # noqa: PLC0415 - a URL needs no config code

    config = read_config(Path(target)).config
    names = [s.service for s in config.services]
    service = service or (names[0] if len(names) == 1 else None)
    if service not in names:
        raise click.UsageError(f"--service must be one of {', '.join(names)}")
    if not config.listen.service:
        raise RequestError(f"{target} opens no service port", hint="ask a party whose config has listen.service")
    return f"http://{config.listen.host}:{config.listen.service}", service, tuple(config.parties)
