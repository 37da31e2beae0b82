"""What a party's server counts: the reference's families under the reference's names, and those that it lacks."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final, Literal, TypeVar

from sfs_core.errors import ErrorCode
from sfs_core.observe.metrics import Counter, Distribution, Family, Samples, Together, merged, render
from sfs_core.sdk.hookspecs import PredictionEvent

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
        self._parties = {each: each for each in parties}
        self.party = party
        self._families: list[Family] = []

        def asked(name: str, handler: str, *labels: str) -> Counter:
            constant = {"handler": handler, "party_id": party}
            return self.add(Counter(f"{name}_request_count", f"Calls of {handler}.", labels, constant))

        def took(name: str, handler: str) -> Distribution:
            return self.add(
                Distribution(
                    f"{name}_duration_seconds",
                    f"How long calls of {handler} took.",
                    ("service_id", "action"),
                    {"handler": handler, "party_id": party},
                    summary=f"{name}{'' if name == 'fetch_feature' else '_request'}_duration_milliseconds",
                    summary_scale=1000,
                )
            )

        prediction, execution, core = "PredictionService", "ExecutionService", "ExecutionCore"
        self._predictions = asked("prediction", prediction, "action", "service_id", "code")
        self._prediction_times = took("prediction", prediction)
        self._scores = self.add(
            Counter("prediction_sample_count", "Rows scored.", (), {"handler": prediction, "party_id": party})
        )
        self._executions = asked("execution", execution, "action", "service_id", "code")
        self._execution_times = took("execution", execution)
        self._cores = asked(
            "execution_core", core, "service_id", "action", "code", "requester_id", "feature_source_type"
        )
        self._core_times = took("execution_core", core)
        self._fetches = self.add(
            Counter(
                "fetch_feature_counter",
                "Look-ups at the feature source.",
                ("service_id", "action", "code", "requester_id"),
                {"handler": core, "party_id": party},
            )
        )
        self._fetch_times = took("fetch_feature", core)
        self._model_questions = asked("model_service", "ModelService", "service_id", "code", "action")
        self._model_times = took("model_service", "ModelService")

        constant = {"party_id": party}
        self._peer_calls = self.add(
            Counter("sfs_peer_calls", "Calls to other parties.", ("peer", "action", "code"), constant)
        )
        self._peer_times = self.add(
            Distribution(
                "sfs_peer_call_seconds", "How long other parties took to answer.", ("peer", "action"), constant
            )
        )
        self._source_calls = self.add(
            Counter(
                "sfs_feature_source_calls",
                "Look-ups at one feature source, those that a cache answers left out.",
                ("service_id", "source", "code"),
                constant,
            )
        )
        self._source_times = self.add(
            Distribution(
                "sfs_feature_source_seconds",
                "How long a feature source took to answer.",
                ("service_id", "source"),
                constant,
            )
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

    # ------------------------------------------------------------------------------------------------ counting
    def on_prediction(self, event: PredictionEvent) -> None:
        """A caller's request was answered a moment ago."""
        service = self._services.get(event.service, UNKNOWN)
        self._predictions.add("Predict", service, _CODES.get(event.code, _OTHER_CODE))
        self._prediction_times.observe(event.seconds, time.perf_counter(), service, "Predict")
        if event.rows:
            self._scores.add(amount=event.rows)

    def executed(self, service: str, code: int, seconds: float, now: float) -> None:
        """A peer's call was answered."""
        service = self._services.get(service, UNKNOWN)
        self._executions.add("Execute", service, _CODES.get(code, _OTHER_CODE))
        self._execution_times.observe(seconds, now, service, "Execute")

    def ran(self, service: str, requester: str, code: int, features: str, seconds: float, now: float) -> None:
        """An execution ran at this party; `features` is what it started from, as the reference names it."""
        service, requester = self._services.get(service, UNKNOWN), self._parties.get(requester, UNKNOWN)
        self._cores.add(service, "Execute", _CODES.get(code, _OTHER_CODE), requester, features)
        self._core_times.observe(seconds, now, service, "Execute")

    def fetched(self, service: str, requester: str, code: int, seconds: float, now: float) -> None:
        """Features were looked up, or not found."""
        service, requester = self._services.get(service, UNKNOWN), self._parties.get(requester, UNKNOWN)
        self._fetches.add(service, "FetchFeature", _CODES.get(code, _OTHER_CODE), requester)
        self._fetch_times.observe(seconds, now, service, "FetchFeature")

    def told_model(self, service: str, code: int, seconds: float, now: float) -> None:
        """Somebody asked for the model's description."""
        service = self._services.get(service, UNKNOWN)
        self._model_questions.add(service, _CODES.get(code, _OTHER_CODE), "GetModelInfo")
        self._model_times.observe(seconds, now, service, "GetModelInfo")

    def called_peer(self, peer: str, action: str, code: int, seconds: float, now: float) -> None:
        """Another party answered, or did not."""
        self._peer_calls.add(peer, action, _CODES.get(code, _OTHER_CODE))
        self._peer_times.observe(seconds, now, peer, action)

    def asked_source(self, service: str, source: str, code: int, seconds: float, now: float) -> None:
        """A feature source answered, or failed."""
        self._source_calls.add(service, source, _CODES.get(code, _OTHER_CODE))
        self._source_times.observe(seconds, now, service, source)

    def joined(self, service: str, requests: int) -> None:
        """A round of calls began for so many requests."""
        self._joined.observe(requests, time.perf_counter(), service)

    def computed(self, service: str, execution: str, node: str, seconds: float, now: float) -> None:
        """A step of an execution's plan was computed."""
        self._steps.observe(seconds, now, service, execution, node)

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
        self._scrape_times.observe((now := time.perf_counter()) - started, now)
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
