"""Two parties that draw the rows of their files in step."""

from __future__ import annotations

import asyncio
import csv

import pytest

from sfs_core import ConfigError, ErrorCode, PeerError
from sfs_core.cli.bulk import score
from sfs_core.config.loader import load
from sfs_core.server import bulk
from sfs_core.server.app import Server
from tests.cli.sfs import sfs_here
from tests.support.clusters import linear_files
from tests.support.in_process import serving_here
from tests.support.same_scores import TwoParties, columns_of

IDS, COLUMNS = columns_of()


def test_scores_are_those_of_csv(tmp_path):
    files = linear_files(tmp_path, IDS, COLUMNS)
    with serving_here(files):
        expected = TwoParties(files, IDS).scores("linear", IDS)
    for config in files.configs.values():
        config["services"][0]["features"]["source"]["name"] = "streaming"
    alice, bob = (Server(load(files.write(party), bulk_requester="alice")) for party in ("alice", "bob"))

    async def score_all():
        try:
            _, rows = await asyncio.gather(bob.start(), score(alice, tmp_path / "scores.csv", 999))
            return rows
        finally:
            await bob.stop()

    assert asyncio.run(score_all()) == len(IDS)
    with (tmp_path / "scores.csv").open(newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert scores == pytest.approx(expected, rel=1e-12)


def test_a_party_that_answers_callers_instead_is_told_how_to_start(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(bulk, "INIT_ATTEMPTS", 2)
    monkeypatch.setattr(bulk, "KEEPALIVE_SECONDS", 0.01)
    caplog.set_level("INFO", "sfs.bulk")
    files = linear_files(tmp_path, IDS, COLUMNS)
    files.configs["alice"]["services"][0]["features"]["source"]["name"] = "streaming"
    alice, bob = Server(load(files.write("alice"), bulk_requester="alice")), Server(load(files.write("bob")))

    async def score_all():
        try:
            await asyncio.gather(bob.start(), score(alice, tmp_path / "scores.csv", 999))
        finally:
            await bob.stop()

    with pytest.raises(PeerError, match=r"did not get ready for bulk scoring: .*1001") as caught:
        asyncio.run(score_all())
    assert "sfs serve CONFIG --bulk-requester alice" in caught.value.hint
    assert sum("waiting for bob" in record.message for record in caplog.records if record.name == "sfs.bulk") == 1


def test_a_server_for_look_ups_does_not_start_with_it(tmp_path):
    """Which rows a request gets would depend on who else asks, and whether ids repeat."""
    files = linear_files(tmp_path, IDS[:2], {party: {party: [1.0, 2.0]} for party in COLUMNS})
    files.configs["bob"]["services"][0]["features"]["source"]["name"] = "streaming"
    with pytest.raises(ConfigError, match="for bulk scoring only") as caught, serving_here(files):
        pass
    assert caught.value.code == ErrorCode.LOGIC_ERROR
    assert "bob.json:" in caught.value.where
    told = sfs_here("check", "--connect", files.paths["bob"])  # which may be a config for `sfs bulk`
    assert (told.returncode, "for bulk scoring only; a server would not start with it" in told.stderr) == (0, True)
