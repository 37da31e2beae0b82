"""Fixtures for all tests of the workspace, core's and plugins'."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of real model packages and recorded exchanges, which is not part of the repository."""
    folder = Path(os.environ.get("SFS_CASES", Path(__file__).parent.parent / "shared" / "cases"))
    if not folder.is_dir():
        pytest.skip(f"no recorded cases at {folder} (set SFS_CASES to their folder)")
    return folder
