"""Counters and distributions: plain numbers while requests are served, `Samples` of them when somebody asks.

A family is a metric's name with one series per combination of label values. Whoever counts chooses the values from
bounded sets; nothing that a caller sent becomes a label.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Counter", "Distribution", "Family", "Gauge", "Samples", "Series", "Timed"]

Labels = tuple[str, ...]
Counts = npt.NDArray[np.int64]
"""By bucket."""
Kind = Literal["counter", "gauge", "distribution"]
Together = Literal["sum", "least", "greatest"]

SLICE_SECONDS: Final = 10
SLICES: Final = 6
"""Quantiles are of the last SLICES * SLICE_SECONDS seconds."""

MOST_NOTED: Final = 512
"""Values that wait to be counted."""
BUCKETS_PER_DOUBLING: Final = 16
"""Buckets per doubling: a quantile is off by at most 1/32 of its value."""
LEAST_EXPONENT: Final = -20
_MOST: Final = 30
"""Values from 2**LEAST_EXPONENT to 2**_MOST have buckets of their own; what lies outside goes into the outermost."""
_BUCKETS: Final = (_MOST - LEAST_EXPONENT) * BUCKETS_PER_DOUBLING
_BEYOND: Final = 2.0**_MOST


class Samples(msgspec.Struct):
    """What one process counted for one family.

    Args:
        name: the metric's name.
        kind: what the numbers are.
        help: one sentence.
        labels: names of the labels.
        constant: labels with the same value on every series.
        numbers: by label values, of counters and gauges.
        spreads: by label values, of distributions.
        summary: a distribution is shown as a summary (quantiles of the last minute), else as a histogram.
        scale: multiplies a distribution's values and sums when shown.
        together: what is shown of the numbers of several processes: their sum, the least or the greatest.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels
    constant: dict[str, str]
    numbers: dict[Labels, float] = {}
    spreads: dict[Labels, Spread] = {}
    summary: bool = False
    scale: float = 1.0
    together: Together = "sum"


class Spread(msgspec.Struct):
    """A distribution's numbers: values per bucket ever and of late, buckets without any left out, and their sum."""

    ever: dict[int, int]
    late: dict[int, int]
    sum: float

    def plus(self, other: Spread) -> Spread:
        """Both together."""
        return Spread(_added(self.ever, other.ever), _added(self.late, other.late), self.sum + other.sum)


def _added(first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
    result = dict(first)
    for bucket, count in second.items():
        result[bucket] = result.get(bucket, 0) + count
    return result


class Family(Protocol):
    """Anything that can be scraped."""

    def samples(self) -> Iterable[Samples]:
        """The numbers at this moment."""


class Counter:
    """A family of counts that only grow."""

    def __init__(self, name: str, help_: str, labels: Sequence[str] = (), constant: Mapping[str, str] = {}) -> None:
        self.labels = tuple(labels)
        self._name, self._help, self._constant = name, help_, dict(constant)
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count `amount` more for the series of these label values."""
        values = self._values
        values[labels] = values.get(labels, 0) + amount

    def samples(self) -> Iterable[Samples]:
        """As of `Family`."""
        yield self.shown(dict(self._values))

    def shown(self, values: dict[Labels, float]) -> Samples:
        """This family with other numbers than its own."""
        return Samples(self._name, "counter", self._help, self.labels, self._constant, values)


class Gauge:
    """A family of numbers that are read when they are asked for."""

    def __init__(
        self,
        name: str,
        help_: str,
        labels: Sequence[str],
        read: Callable[[], Mapping[Labels, float]],
        constant: Mapping[str, str] = {},
        *,
        kind: Literal["counter", "gauge"] = "gauge",
        together: Together = "sum",
    ) -> None:
        self._name, self._help, self._labels, self._read, self._kind = name, help_, tuple(labels), read, kind
        self._constant, self._together = dict(constant), together

    def samples(self) -> Iterable[Samples]:
        """As of `Family`."""
        yield Samples(
            self._name,
            self._kind,
            self._help,
            self._labels,
            self._constant,
            dict(self._read()),
            together=self._together,
        )


class _SeriesByLabels:
    """Events and how large each was, by the values of labels."""

    def __init__(self) -> None:
        self._series: dict[Labels, Series] = {}

    def series(self, *labels: str) -> Series:
        """The series of these label values."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Series()
        return series


class Distribution(_SeriesByLabels):
    """A family of distributions of values, for example of times.

    Args:
        name: shown as a histogram under this name; None for no histogram.
        help_: one sentence.
        labels: names of the labels.
        constant: labels with the same value on every series.
        summary: shown as a summary, quantiles of the last minute, under this name as well.
        summary_scale: multiplies the summary's values, for names that have another unit.
    """

    def __init__(
        self,
        name: str | None,
        help_: str,
        labels: Sequence[str] = (),
        constant: Mapping[str, str] = {},
        *,
        summary: str | None = None,
        summary_scale: float = 1.0,
    ) -> None:
        self.labels = tuple(labels)
        self._name, self._help, self._constant = name, help_, dict(constant)
        self._summary, self._summary_scale = summary, summary_scale
        super().__init__()

    def samples(self) -> Iterable[Samples]:
        """As of `Family`: a histogram, a summary, or both; series without any value yet are left out."""
        now = time.perf_counter()
        spreads = {labels: series.spread(now) for labels, series in self._series.items()}
        return self.shown({labels: spread for labels, spread in spreads.items() if spread.ever})

    def shown(self, spreads: dict[Labels, Spread]) -> Iterable[Samples]:
        """This family with other values than its own."""
        shown = Samples("", "distribution", self._help, self.labels, self._constant, spreads=spreads)
        if self._name is not None:
            yield msgspec.structs.replace(shown, name=self._name)
        if self._summary is not None:
            yield msgspec.structs.replace(shown, name=self._summary, summary=True, scale=self._summary_scale)


class Timed(_SeriesByLabels):
    """Two families of the same events, at the price of one: how many there were, and how long they took.

    Their series have `count`'s labels; each time that one gets is an event.

    Args:
        count: the one of numbers.
        times: the one of times; its labels are some of `count`'s.
    """

    def __init__(self, count: Counter, times: Distribution) -> None:
        self._count, self._times = count, times
        self._kept = [count.labels.index(name) for name in times.labels]
        super().__init__()

    def samples(self) -> Iterable[Samples]:
        """As of `Family`: both."""
        now = time.perf_counter()
        numbers: dict[Labels, float] = {}
        spreads: dict[Labels, Spread] = {}
        for labels, series in self._series.items():
            spread = series.spread(now)
            numbers[labels] = sum(spread.ever.values())
            kept = tuple(labels[place] for place in self._kept)
            spreads[kept] = spread if kept not in spreads else spreads[kept].plus(spread)
        yield self._count.shown(numbers)
        yield from self._times.shown(spreads)


class Series:
    """Values of one series, in buckets whose width grows with the value; those of late also by slices of time.

    Values are only noted at first, and counted many at a time: that costs a tenth.
    """

    __slots__ = ("_current", "_earlier", "_ever", "_noted", "_slice", "_slice_end", "_sum")

    def __init__(self) -> None:
        self._slice = self._slice_end = 0.0
        self._noted: list[float] = []
        self._current = _no_counts()
        self._earlier: deque[tuple[float, Counts]] = deque(maxlen=SLICES - 1)
        self._ever = _no_counts()
        self._sum = 0.0

    def observe(self, value: float, now: float) -> None:
        """Take a value in; `now` is `time.perf_counter()`, which callers have."""
        if now >= self._slice_end:
            self._turn(now // SLICE_SECONDS)
        noted = self._noted
        noted.append(value)
        if len(noted) >= MOST_NOTED:
            self._count()

    def _count(self) -> None:
        noted, self._noted = self._noted, []
        self._sum += sum(noted)
        self._current += np.bincount(_buckets(np.array(noted)), minlength=_BUCKETS)

    def _turn(self, slice_: float) -> None:
        self._count()
        self._ever += self._current
        self._earlier.append((self._slice, self._current))
        self._slice, self._current = slice_, _no_counts()
        self._slice_end = (slice_ + 1) * SLICE_SECONDS

    def spread(self, now: float) -> Spread:
        """All values up to now."""
        self._count()
        late = _no_counts()
        for slice_, counts in [*self._earlier, (self._slice, self._current)]:
            if slice_ > now // SLICE_SECONDS - SLICES:
                late += counts
        return Spread(_sparse(self._ever + self._current), _sparse(late), self._sum)


def _no_counts() -> Counts:
    return np.zeros(_BUCKETS, np.int64)


def _buckets(values: npt.NDArray[np.float64]) -> Counts:
    """A bucket's upper bound belongs to it, as in Prometheus' histograms."""
    fractions, exponents = np.frexp(np.clip(values, 0.0, _BEYOND))
    parts = np.ceil((fractions - 0.5) * 2 * BUCKETS_PER_DOUBLING).astype(np.int64)
    buckets = (exponents.astype(np.int64) - 1 - LEAST_EXPONENT) * BUCKETS_PER_DOUBLING + parts - 1
    return np.clip(np.where(values > 0, buckets, 0), 0, _BUCKETS - 1)


def _sparse(counts: Counts) -> dict[int, int]:
    return {int(bucket): int(counts[bucket]) for bucket in np.flatnonzero(counts)}
