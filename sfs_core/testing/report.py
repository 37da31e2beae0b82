"""`--sfs-report`: a table of rules and components for each kind of component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

__all__ = ["ContractReport"]

_RANKS: Final = ("", "ok", "skip", "xfail", "FAIL")


class ContractReport:
    """Collects the outcomes of contracts' rules, and prints them at the end."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, dict[str, str]]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark what belongs to a contract; the mark travels with a report, also between processes."""
        for item in items:
            title = getattr(getattr(item, "cls", None), "contract_title", None)
            if title:
                item.user_properties.append(("sfs_contract", title))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a rule's outcome."""
        properties = dict(report.user_properties)
        title = properties.get("sfs_contract")
        if title is None or (report.when != "call" and report.passed):
            return
        *_, test_class, test = report.nodeid.split("::")
        rule, _, parameters = test.partition("[")
        component = str(properties.get("sfs_component", test_class)) + (f"[{parameters}" if parameters else "")
        rules = self._tables.setdefault(str(title), {})
        outcomes = rules.setdefault(rule.removeprefix("test_").replace("_", " "), {})
        outcomes[component] = max(outcomes.get(component, ""), _outcome(report), key=_RANKS.index)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables."""
        for title, rules in self._tables.items():
            terminalreporter.section(f"contract of {title}s")
            for line in _table_lines(rules):
                terminalreporter.write_line(line)


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfail" if report.skipped else "FAIL"
    return {"passed": "ok", "skipped": "skip"}.get(report.outcome, "FAIL")


def _table_lines(rules: Mapping[str, Mapping[str, str]]) -> list[str]:
    components = sorted({component for outcomes in rules.values() for component in outcomes})
    width = max(map(len, rules))
    lines = [" ".join(["rule".ljust(width), *components])]
    for rule, outcomes in rules.items():
        cells = [outcomes.get(component, "").ljust(len(component)) for component in components]
        lines.append(" ".join([rule.ljust(width), *cells]).rstrip())
    return lines
