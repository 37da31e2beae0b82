"""Peers that send damaged tables get errors, and nobody a wrong score. A thousand times: `python damage.py`."""

from __future__ import annotations

from pathlib import Path

from sfs_op_phe.keys import SecretKey

from .conftest import Parties
from .damage import damage_service

COUNT = 300


async def test_damaged_tables_give_errors_and_no_wrong_score(tmp_path: Path, parties: Parties) -> None:
    keys: dict[str, SecretKey] = parties.secrets
    outcomes = await damage_service(tmp_path, COUNT, keys)
    assert outcomes.keys() == {"an error", "not needed"}  # as what is said of leaves that the other party excludes
    assert outcomes["not needed"] < COUNT / 20
