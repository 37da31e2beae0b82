"""Which of the processes of one server this is, where it has several; each writes files of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["VARIABLE", "own_file", "worker_number", "workers_files"]

VARIABLE: Final = "SFS_WORKER"
"""Environment variable that a worker is started with: its number, and the descriptor of its supervisor's socket."""


def worker_number() -> int | None:
    """This worker's number, from 1; None for a process that is none."""
    given = os.environ.get(VARIABLE)
    return int(given.partition(":")[0]) if given else None


def own_file(path: Path, number: int | None = None) -> Path:
    """The file that a worker, this one by default, writes instead: `serving.worker1.log` for `serving.log`."""
    number = number or worker_number()
    return path if number is None else path.with_name(f"{path.stem}.worker{number}{path.suffix}")


def workers_files(path: Path) -> list[Path]:
    """The files that workers write, or wrote, instead of this one; those that were renamed when full are left out."""
    numbers = set()
    for each in path.parent.glob(f"{path.stem}.worker*{path.suffix}"):
        number = each.name.removeprefix(f"{path.stem}.worker").removesuffix(path.suffix).partition(".")[0]
        if number.isdigit():
            numbers.add(int(number))
    return [own_file(path, number) for number in sorted(numbers)]
