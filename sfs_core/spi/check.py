"""The judge of a feature service in any language: a verdict per rule, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sfs_core.spi.exchange import BrokenRuleError, Exchange, Probe
from sfs_core.spi.rules import RULES, NotJudgedError, Session

__all__ = ["Latency", "Probe", "Report", "Verdict", "check_service"]

_BATCHES: Final = (1, 10, 100, 1000)
_MOST_REQUESTS: Final = 50
_SECONDS_PER_BATCH: Final = 1.0

Outcome = Literal["pass", "fail", "not judged"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found for one rule; `reason` says why it does not pass."""

    rule: str
    text: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long requests of some rows took, one at a time; milliseconds."""

    rows: int
    requests: int
    median: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts, and the latencies of a service that answers."""

    verdicts: Sequence[Verdict]
    latencies: Sequence[Latency]

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return not any(verdict.outcome == "fail" for verdict in self.verdicts)


def check_service(url: str, probe: Probe, *, ca_file: Path | None = None) -> Report:
    """Judge the feature service at a URL. Blocks, for a minute at the most if the service answers.

    Args:
        url: what BatchFetchFeature is posted to.
        probe: features and ids that the service has.
        ca_file: stands for the probe's, which may be relative to a file.

    Raises:
        ConfigError: the URL or the certificates' file cannot be used.
    """
    exchange = Exchange(url, probe, ca_file or probe.ca_file)
    session = Session(exchange)
    found: dict[str, Verdict] = {}
    for rule in RULES:
        lacking = [name for name in rule.needs if found[name].outcome != "pass"]
        outcome: Outcome = "pass"
        reason = ""
        try:
            if lacking:
                raise NotJudgedError(f"needs the rule {lacking[0]!r}")
            rule.check(session)
        except BrokenRuleError as error:
            outcome, reason = "fail", str(error)
        except NotJudgedError as error:
            outcome, reason = "not judged", str(error)
        found[rule.name] = Verdict(rule.name, rule.text, outcome, reason)
    latencies = [] if session.plain is None else _latencies(exchange)
    exchange.close()
    return Report(list(found.values()), latencies)


def _latencies(exchange: Exchange) -> list[Latency]:
    known, made = exchange.probe.ids, []
    for rows in (each for each in _BATCHES if each <= max(exchange.probe.big_batch, 1)):
        ids = [known[i % len(known)] for i in range(rows)]
        times: list[float] = []
        try:
            while len(times) < _MOST_REQUESTS and sum(times) < _SECONDS_PER_BATCH * 1000:
                begin = time.perf_counter()
                exchange.ask(ids)
                times.append((time.perf_counter() - begin) * 1000)
        except BrokenRuleError:
            break
        made.append(Latency(rows, len(times), sorted(times)[len(times) // 2], max(times)))
    return made
