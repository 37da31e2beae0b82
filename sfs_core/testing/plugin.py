"""The pytest plugin: the option `--sfs-report`. Loaded at every start of pytest, so it imports nothing else."""

from __future__ import annotations

import pytest

# Their asserts then show what differs.
pytest.register_assert_rewrite(
    "sfs_core.testing.authenticator",
    "sfs_core.testing.contract",
    "sfs_core.testing.feature_source",
    "sfs_core.testing.making",
    "sfs_core.testing.model_source",
    "sfs_core.testing.operator",
    "sfs_core.testing.source",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--sfs-report`."""
    parser.getgroup("sfs", "contracts of SFS plugins").addoption(
        "--sfs-report", action="store_true", help="Print which component keeps which rule of its contract."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep a report where one is asked for."""
    if config.getoption("sfs_report"):
        from sfs_core.testing.report import ContractReport  # noqa: PLC0415 - seldom needed

        config.pluginmanager.register(ContractReport(), "sfs-contract-report")
