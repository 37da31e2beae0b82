"""Fixtures for the core's tests."""

from __future__ import annotations

import pytest

from tests.support.certificates import Certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of one authority, and of one that nobody trusts, each made once."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
