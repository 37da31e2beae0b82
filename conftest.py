"""Fixtures for all tests of the workspace, core's and plugins'."""

from __future__ import annotations

import gc
import os
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import settings

SEED = os.environ.get("SFS_TEST_SEED")
"""A number, or `random`; without it every run of a test draws the same."""

# How long an example takes says more about the machine than about the code.
settings.register_profile("same examples", deadline=None, derandomize=True)
settings.register_profile("new examples", deadline=None)
settings.load_profile("new examples" if SEED else "same examples")


# What thousands of tests consist of stays until the end: looking through it again and again takes seconds.
gc.disable()


def pytest_collection_finish() -> None:
    """From now on garbage is collected, without looking at what is there already."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Where a test's random choices come from. Its seed is printed: `SFS_TEST_SEED=<seed>` draws the same again."""
    name = request.node.nodeid.encode()
    seed = random.SystemRandom().getrandbits(32) if SEED == "random" else int(SEED or zlib.crc32(name))
    print(f"SFS_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of real model packages and recorded exchanges, which is not part of the repository."""
    folder = Path(os.environ.get("SFS_CASES", Path(__file__).parent.parent / "shared" / "cases"))
    if not folder.is_dir():
        pytest.skip(f"no recorded cases at {folder} (set SFS_CASES to their folder)")
    return folder
