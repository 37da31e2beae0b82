"""Packing between two servers: used where both have it switched on, and agreed on anew when one comes back without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sfs_op_phe.encrypting import encrypt_graphs
from sfs_op_phe.packing import EXTENSION

from sfs_core.config.loader import load
from sfs_core.model.split import split_linear
from sfs_core.server.app import Server
from tests.support.clusters import ClusterFiles, cluster_files, exchange, registry, write_csv
from tests.support.in_process import serving_here

from .conftest import Parties

PARTIES = ("alice", "bob")
IDS = ["a", "b", "c", "d", "e"]
COLUMNS = {"alice": {"x": [1.0, -2.0, 3.5, 0.0, 4e6]}, "bob": {"y": [0.25, 5.0, -6.0, 0.0, -1e6]}}
WEIGHTS = {"alice": {"x": 2.0}, "bob": {"y": -0.5}}
SCORES = [2.0 * x - 0.5 * y + 1.0 for x, y in zip(COLUMNS["alice"]["x"], COLUMNS["bob"]["y"], strict=True)]
OPTIONS = {"workers": 0, "noise_stock": 0}


@pytest.fixture
def files(tmp_path: Path, parties: Parties) -> ClusterFiles:
    graphs = split_linear(registry().operator, WEIGHTS, label_holder="alice", intercept=1.0)
    features = {party: write_csv(tmp_path / f"{party}.csv", IDS, own) for party, own in COLUMNS.items()}
    encrypted = encrypt_graphs(graphs, dict(parties.secrets))
    return cluster_files(tmp_path, {"linear": encrypted}, features, link={"handshake_interval": 0.2})


def switch(files: ClusterFiles, packing: Mapping[str, bool]) -> None:
    for party, on in packing.items():
        files.configs[party]["operators"] = {"sfs-op-phe": OPTIONS | {"packing": on}}


def assert_scores(files: ClusterFiles, party: str) -> None:
    body: dict[str, Any] = {"service_spec": {"id": "linear"}}
    body["fs_params"] = {each: {"query_datas": IDS} for each in PARTIES}
    headers = {"Content-Type": "application/json"}
    answer = exchange(
        files.service_port(party), "/PredictionService/Predict", json.dumps(body).encode(), headers=headers
    )
    assert answer.code == 1, answer.message
    np.testing.assert_allclose([row["scores"][0]["value"] for row in answer.json()["results"]], SCORES, rtol=1e-6)


def packs(server: Server) -> bool:
    model = server._models["linear"]
    (keyring,) = {operator.keyring for operator in model.executor.operators.values() if hasattr(operator, "keyring")}
    used: bool = keyring.scores.used
    return used


async def test_parties_pack_as_long_as_both_want_it(files: ClusterFiles, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sfs.handshake")
    switch(files, {"alice": True, "bob": True})
    servers = {party: Server(load(files.write(party))) for party in PARTIES}
    try:
        await asyncio.gather(*(server.start() for server in servers.values()))
        for on in (True, False, True):
            if caplog.messages:  # bob comes back
                caplog.clear()
                switch(files, {"bob": on})
                await servers["bob"].stop(grace=0)
                servers["bob"] = Server(load(files.write("bob")))
                await servers["bob"].start()
            for party in PARTIES:
                await asyncio.to_thread(assert_scores, files, party)
                assert packs(servers[party]) == on
            assert any(EXTENSION in message for message in caplog.messages) != on
        await asyncio.to_thread(assert_nobody_else_is_told, files)
    finally:
        await asyncio.gather(*(server.stop(grace=0) for server in servers.values()))


@pytest.mark.parametrize("lacking", PARTIES)
def test_where_one_party_wants_it_the_plain_form_is_used_and_the_log_says_so(
    files: ClusterFiles, lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sfs.handshake")
    (wanting,) = set(PARTIES) - {lacking}
    switch(files, {wanting: True, lacking: False})
    with serving_here(files) as here:
        for party in PARTIES:
            assert_scores(files, party)
            assert not packs(here[party])
    assert {message for message in caplog.messages if EXTENSION in message} == {
        f"linear: {EXTENSION} is not used: it is switched off, or not known, at {lacking}",
        f"linear: {EXTENSION} is not used: {wanting} would, here it is switched off",
    }


def assert_nobody_else_is_told(files: ClusterFiles) -> None:
    """Neither callers nor peers that name no version, which those of other software never do."""
    for port in (files.service_port("alice"), files.communication_port("alice")):
        answer = exchange(
            port,
            "/ModelService/GetModelInfo",
            b'{"service_spec": {"id": "linear"}}',
            headers={"Content-Type": "application/json"},
        )
        assert answer.code == 1
        assert EXTENSION.encode() not in answer.body
