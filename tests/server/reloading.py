"""What the tests of new models, and of workers that get them, share: two exports, callers, commands."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from typing import Self

from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.cli.sfs import sfs_here
from tests.support.clusters import ClusterFiles, registry
from tests.support.processes import Party, wait_for

PARTIES = ("alice", "bob")
IDS = ["a", "b"]
COLUMNS = {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [10.0, 20.0]}}
FIRST = (11.5, 22.5)
SECOND = (33.5, 66.5)
"""Scores of the second export, whose weights are 3."""


def second_packages(files: ClusterFiles) -> None:
    """Have a second export at hand, and sockets to manage the parties."""
    weights = {party: dict.fromkeys(columns, 3.0) for party, columns in COLUMNS.items()}
    graphs = split_linear(registry().operator, weights, label_holder="alice", intercept=0.5)
    for party in PARTIES:
        files.configs[party]["admin"] = {"socket": str(files.folder / "private" / f"{party}.sock")}
        write_package(files.folder / f"{party}-second.tar.gz", "linear", "made for a test", graphs[party])


class Callers:
    """One caller of each party that asks without a pause, until the end of the block; each score is kept."""

    def __init__(self, parties: Mapping[str, Party]) -> None:
        self._stop = threading.Event()
        self.answers: dict[str, list[tuple[float, ...]]] = {name: [] for name in parties}
        self.codes: list[int] = []
        self._threads = [threading.Thread(target=self._ask, args=each) for each in parties.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self, name: str, party: Party) -> None:
        while not self._stop.is_set():
            answer = party.predict("linear", dict.fromkeys(PARTIES, IDS))
            self.codes.append(answer["status"]["code"])
            self.answers[name].append(tuple(row["scores"][0]["value"] for row in answer.get("results", ())))

    def wait_for(self, scores: tuple[float, ...], *names: str) -> None:
        """Until callers of these parties get these scores, a few times."""
        for name in names:
            answers = self.answers[name]
            begin = len(answers)
            wait_for(lambda a=answers, b=begin: a[b:].count(scores) > 5, f"{name} answers {scores}", 120)  # type: ignore[misc]

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def admin(files: ClusterFiles, do: str, party: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `sfs admin`."""
    return sfs_here("admin", do, files.paths[party], *arguments)


def reload(files: ClusterFiles, party: str, *arguments: str) -> None:
    """Load the second export's package at a party."""
    done = admin(files, "reload", party, "linear", "--path", files.folder / f"{party}-second.tar.gz", *arguments)
    assert not done.returncode, done.stderr
