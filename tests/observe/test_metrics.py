from __future__ import annotations

import math
import time
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sfs_core.observe.exposition import merged, render
from sfs_core.observe.metrics import Counter, Distribution, Family, Gauge, Samples, Timed


def parsed(*families: Family) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    return read([samples for family in families for samples in family.samples()])


def read(families: list[Samples]) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    result: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(render(families)):
        for sample in family.samples:
            result.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return result


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_counter() -> None:
    counter = Counter("asked", "Questions.", ["service", "code"], {"party": "alice"})
    counter.add("s", "1")
    counter.add("s", "1", amount=4)
    counter.add("s", "3")
    values = parsed(counter)["asked_total"]  # as that parser calls counters
    assert values == {
        labels(party="alice", service="s", code="1"): 5,
        labels(party="alice", service="s", code="3"): 1,
    }


def test_names_and_values_are_escaped() -> None:
    counter = Counter("asked", "Line one.\nLine \\ two.", ["service"])
    counter.add('a"b\\c\nd')
    assert parsed(counter)["asked_total"] == {labels(service='a"b\\c\nd'): 1}


def test_gauge_is_read_when_asked() -> None:
    numbers: dict[tuple[str, ...], float] = {("s",): 1.5}
    gauge = Gauge("waiting", "Requests.", ["service"], lambda: numbers)
    numbers["s",] = math.inf
    assert render(gauge.samples()).endswith('waiting{service="s"} +Inf\n')


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=300))
def test_distribution_holds_all_values(values: list[float]) -> None:
    spread = Distribution("seconds", "Times.", summary="milliseconds", summary_scale=1000)
    now = time.perf_counter()
    for value in values:
        spread.series().observe(value, now)
    families = parsed(spread)
    for family, scale in (("seconds", 1), ("milliseconds", 1000)):
        assert families[f"{family}_count"][labels()] == len(values)
        assert families[f"{family}_sum"][labels()] == pytest.approx(sum(values) * scale)
    for bound, count in families["seconds_bucket"].items():
        assert count == sum(value <= float(dict(bound)["le"]) for value in values)
    for key, shown in families["milliseconds"].items():
        rank = math.ceil(float(dict(key)["quantile"]) * len(values))
        assert shown == pytest.approx(1000 * sorted(values)[max(rank, 1) - 1], rel=0.04)


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from([1.0, 8.0])), min_size=1, max_size=100))
def test_quantiles_are_of_the_last_minute(events: list[tuple[int, float]]) -> None:
    spread = Distribution(None, "Times.", summary="times")
    end = time.perf_counter()
    for age, value in sorted(events, reverse=True):
        spread.series().observe(value, end - age)
    families = parsed(spread)
    # A slice that began up to a minute ago counts as a whole: between 50 and 60 seconds are certain and possible.
    surely = [value for age, value in events if age <= 49]
    perhaps = [value for age, value in events if age <= 61]
    median = families["times"][labels(quantile="0.5")]
    assert families["times_count"][labels()] == len(events)
    if not perhaps:
        assert math.isnan(median)
    elif len(set(perhaps)) == 1 and surely:
        assert median == pytest.approx(perhaps[0], rel=0.04)


def test_what_is_timed_is_counted_by_more_labels() -> None:
    counter = Counter("asked", "Questions.", ["code", "service"], {"party": "alice"})
    times = Distribution("seconds", "Times.", ["service"], summary="milliseconds", summary_scale=1000)
    timed = Timed(counter, times)
    for service, code, seconds in (("s", "1", 0.5), ("s", "1", 0.25), ("s", "4", 2.0), ("t", "1", 1.0)):
        timed.series(code, service).observe(seconds, time.perf_counter())
    families = parsed(timed)
    assert families["asked_total"] == {
        labels(party="alice", service="s", code="1"): 2,
        labels(party="alice", service="s", code="4"): 1,
        labels(party="alice", service="t", code="1"): 1,
    }
    assert families["seconds_count"] == {labels(service="s"): 3, labels(service="t"): 1}
    assert families["seconds_sum"] == {labels(service="s"): 2.75, labels(service="t"): 1}
    assert families["milliseconds_count"] == families["seconds_count"]


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-12, 1e12, math.inf])
def test_values_without_a_bucket_of_their_own_are_counted(value: float) -> None:
    spread = Distribution("seconds", "Times.")
    spread.series().observe(value, time.perf_counter())
    assert parsed(spread)["seconds_count"][labels()] == 1


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.floats(1e-3, 1e3)), max_size=20),
        min_size=1,
        max_size=4,
    )
)
def test_processes_are_added_up(processes: list[list[tuple[str, float]]]) -> None:
    def families(events: list[tuple[str, float]]) -> list[Samples]:
        counter, spread = Counter("asked", "Questions.", ["service"]), Distribution("seconds", "Times.", ["service"])
        for service, seconds in events:
            counter.add(service)
            spread.series(service).observe(seconds, time.perf_counter())
        return [*counter.samples(), *spread.samples()]

    sent = [msgspec.msgpack.encode(families(events)) for events in processes]
    together = read(merged(msgspec.msgpack.decode(each, type=list[Samples]) for each in sent))
    alone = read(families([event for events in processes for event in events]))
    assert together.keys() == alone.keys()
    for name, series in alone.items():
        _assert_close(together[name], series)


def _assert_close(
    found: Mapping[frozenset[tuple[str, str]], float], wanted: Mapping[frozenset[tuple[str, str]], float]
) -> None:
    assert found == {key: pytest.approx(value) for key, value in wanted.items()}
