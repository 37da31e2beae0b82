"""The reference's engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.reference_engine import fetched_engine


@pytest.fixture(scope="session")
def inferencer() -> Path:
    return fetched_engine()
