"""What a party's server counts: the reference's families under the reference's names, and those that it lacks."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from sfs_core.errors import ErrorCode
from sfs_core.observe.exposition import merged, render
from sfs_core.observe.metrics import Counter, Distribution, Family, Gauge, Labels, Samples, Series, Timed, Together

__all__ = ["CONTENT_TYPE", "UNKNOWN", "ServerMetrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN: Final = "unknown"
"""Label value that stands for every service or party that is not configured here."""

F = TypeVar("F", bound=Family)
_CODES: Final = {int(code): str(int(code)) for code in ErrorCode}
_OTHER_CODE: Final = _CODES[ErrorCode.UNEXPECTED_ERROR]


class ServerMetrics:
    """The families of one server, and how they are counted into.

    All times are taken in seconds; `now` is `time.perf_counter()` at the end of what is counted. Services and parties
    that are not configured count as `UNKNOWN`, so that nobody outside makes series.

    Args:
        party: this party.
        services: ids of the services.
        parties: ids of all parties.

    Attributes:
        party: this party.
    """

    def __init__(self, party: str, services: Iterable[str], parties: Iterable[str]) -> None:
        self._services = {service: service for service in services}
        self._parties = frozenset(parties)
        self.party = party
        self._families: list[Family] = []

        self._rows = 0
        service, peer = self._service, self._peer
        prediction, execution, core = "PredictionService", "ExecutionService", "ExecutionCore"
        self._predictions = self._calls(
            "prediction",
            prediction,
            ("action", "service_id", "code"),
            lambda asked, code: ("Predict", service(asked), _text(code)),
        )
        rows = {"handler": prediction, "party_id": party}
        self.add(Gauge("prediction_sample_count", "Rows scored.", (), lambda: {(): self._rows}, rows, kind="counter"))
        self._executions = self._calls(
            "execution",
            execution,
            ("action", "service_id", "code"),
            lambda asked, code: ("Execute", service(asked), _text(code)),
        )
        self._runs = self._calls(
            "execution_core",
            core,
            ("service_id", "action", "code", "requester_id", "feature_source_type"),
            lambda asked, asker, features, code: (service(asked), "Execute", _text(code), peer(asker), features),
        )
        self._fetches = self._timed(
            Counter(
                "fetch_feature_counter",
                "Look-ups at the feature source.",
                ("service_id", "action", "code", "requester_id"),
                {"handler": core, "party_id": party},
            ),
            self._times("fetch_feature", core, "fetch_feature_duration_milliseconds"),
            lambda asked, asker, code: (service(asked), "FetchFeature", _text(code), peer(asker)),
        )
        self._model_questions = self._calls(
            "model_service",
            "ModelService",
            ("service_id", "code", "action"),
            lambda asked, code: (service(asked), _text(code), "GetModelInfo"),
        )

        constant = {"party_id": party}
        self._peer_calls = self._timed(
            Counter("sfs_peer_calls", "Calls to other parties.", ("peer", "action", "code"), constant),
            Distribution(
                "sfs_peer_call_seconds", "How long other parties took to answer.", ("peer", "action"), constant
            ),
            lambda asked, action, code: (asked, action, _text(code)),
        )
        self._source_calls = self._timed(
            Counter(
                "sfs_feature_source_calls",
                "Look-ups at one feature source, those that a cache answers left out.",
                ("service_id", "source", "code"),
                constant,
            ),
            Distribution(
                "sfs_feature_source_seconds",
                "How long a feature source took to answer.",
                ("service_id", "source"),
                constant,
            ),
            lambda of, source, code: (of, source, _text(code)),
        )
        self._joined = self.add(
            Distribution("sfs_joined_requests", "Requests that shared a round of calls.", ("service_id",), constant)
        )
        self._steps = self.add(
            Distribution(
                "sfs_node_seconds",
                "How long a node, or several computed as one, took; the first node's name.",
                ("service_id", "execution", "node"),
                constant,
            )
        )
        self._add_exposer()
        self.add(_Process())

    def add(self, family: F) -> F:
        """Have a further family shown."""
        self._families.append(family)
        return family

    def add_service(self, service: str) -> None:
        """Count a further service under its own id from now on."""
        self._services[service] = service

    def _calls(self, name: str, handler: str, labels: Labels, values: Callable[..., Labels]) -> _KnownSeries:
        constant = {"handler": handler, "party_id": self.party}
        count = Counter(f"{name}_request_count", f"Calls of {handler}.", labels, constant)
        return self._timed(count, self._times(name, handler, f"{name}_request_duration_milliseconds"), values)

    def _times(self, name: str, handler: str, summary: str) -> Distribution:
        return Distribution(
            f"{name}_duration_seconds",
            f"How long calls of {handler} took.",
            ("service_id", "action"),
            {"handler": handler, "party_id": self.party},
            summary=summary,
            summary_scale=1000,
        )

    def _timed(self, count: Counter, times: Distribution, values: Callable[..., Labels]) -> _KnownSeries:
        return _KnownSeries(self.add(Timed(count, times)), values)

    def _service(self, service: str) -> str:
        return self._services.get(service, UNKNOWN)

    def _peer(self, party: str) -> str:
        return party if party in self._parties else UNKNOWN

    # ------------------------------------------------------------------------------------------------ counting
    def predicted(self, service: str, code: int, rows: int, seconds: float, now: float) -> None:
        """A caller's request was answered; `rows` were scored."""
        self._rows += rows
        self._predictions[service, code].observe(seconds, now)

    def executed(self, service: str, code: int, seconds: float, now: float) -> None:
        """A peer's call was answered."""
        self._executions[service, code].observe(seconds, now)

    def ran(self, service: str, requester: str, code: int, features: str, seconds: float, now: float) -> None:
        """An execution ran at this party; `features` is what it started from, as the reference names it."""
        self._runs[service, requester, features, code].observe(seconds, now)

    def fetched(self, service: str, requester: str, code: int, seconds: float, now: float) -> None:
        """Features were looked up, or not found."""
        self._fetches[service, requester, code].observe(seconds, now)

    def told_model(self, service: str, code: int, seconds: float, now: float) -> None:
        """Somebody asked for the model's description."""
        self._model_questions[service, code].observe(seconds, now)

    def called_peer(self, peer: str, action: str, code: int, seconds: float, now: float) -> None:
        """Another party answered, or did not."""
        self._peer_calls[peer, action, code].observe(seconds, now)

    def asked_source(self, service: str, source: str, code: int, seconds: float, now: float) -> None:
        """A feature source answered, or failed."""
        self._source_calls[service, source, code].observe(seconds, now)

    def joined(self, service: str) -> Series:
        """What is told how many requests share a round of calls, as each begins."""
        return self._joined.series(service)

    def step(self, service: str, execution: int, node: str) -> Series:
        """What is told how long a step of an execution's plan took."""
        return self._steps.series(service, str(execution), node)

    # ------------------------------------------------------------------------------------------------- showing
    def samples(self) -> list[Samples]:
        """The numbers of all families at this moment."""
        return list(chain.from_iterable(family.samples() for family in self._families))

    def page(self, others: Iterable[Iterable[Samples]] = ()) -> tuple[int, str, bytes]:
        """The page that Prometheus reads, with the numbers of other processes."""
        started = time.perf_counter()
        text = render(merged([self.samples(), *others])).encode()
        self._scrapes.add()
        self._transferred.add(amount=len(text))
        self._scrape_times.series().observe((now := time.perf_counter()) - started, now)
        return 200, CONTENT_TYPE, text

    def _add_exposer(self) -> None:
        self._scrapes = self.add(Counter("exposer_scrapes_total", "How often these metrics were read."))
        self._transferred = self.add(Counter("exposer_transferred_bytes_total", "Bytes of metrics sent."))
        self._scrape_times = self.add(
            Distribution(
                None,
                "How long it took to write the metrics.",
                summary="exposer_request_duration_milliseconds",
                summary_scale=1000,
            )
        )


class _KnownSeries(dict[tuple[Any, ...], Series]):
    """The series of events by what is known of these, an error code last.

    Args:
        family: what they are of.
        labels: an event's values of its labels. What has `UNKNOWN` among them is looked up anew each time: callers
            choose what leads there, and there is no end to it.
    """

    def __init__(self, family: Timed, labels: Callable[..., Labels]) -> None:
        super().__init__()
        self._family, self._labels = family, labels

    def __missing__(self, event: tuple[Any, ...]) -> Series:
        labels = self._labels(*event)
        series = self._family.series(*labels)
        if UNKNOWN not in labels and event[-1] in _CODES:
            self[event] = series
        return series


def _text(code: int) -> str:
    return _CODES.get(code, _OTHER_CODE)


class _Process:
    """The process itself, under the names that Prometheus' own client libraries give it."""

    def samples(self) -> Iterable[Samples]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield _number("process_cpu_seconds_total", "counter", "CPU time used.", usage.ru_utime + usage.ru_stime)
        yield _number("process_start_time_seconds", "gauge", "When the process began, in Unix time.", _STARTED, "least")
        if sys.platform == "linux":
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
            yield _number("process_resident_memory_bytes", "gauge", "Memory in use.", resident)
            yield _number(
                "process_open_fds", "gauge", "Open files and sockets.", sum(1 for _ in Path("/proc/self/fd").iterdir())
            )


def _number(
    name: str, kind: Literal["counter", "gauge"], help_: str, number: float, together: Together = "sum"
) -> Samples:
    return Samples(name, kind, help_, (), {}, {(): number}, together=together)


_STARTED: Final = time.time()
