"""Counters and distributions: plain numbers while requests are served, Prometheus text when somebody asks.

A family is a metric's name with one series per combination of label values. Whoever counts chooses the values from
bounded sets; nothing that a caller sent becomes a label.

Several processes that share a port are added up: each gives its families' `Samples`, see `merged`.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Counter", "Distribution", "Family", "Gauge", "Samples", "ended", "merged", "render"]

Labels = tuple[str, ...]
Counts = npt.NDArray[np.int64]
"""By bucket."""
Kind = Literal["counter", "gauge", "distribution"]
Together = Literal["sum", "least", "greatest"]

SLICE_SECONDS: Final = 10
SLICES: Final = 6
"""Quantiles are of the last SLICES * SLICE_SECONDS seconds."""
QUANTILES: Final = (0.5, 0.9, 0.99)

MOST_NOTED: Final = 512
"""Values that wait to be counted."""
_PARTS: Final = 16
"""Buckets per doubling: a quantile is off by at most 1/32 of its value."""
_LEAST: Final = -20
_MOST: Final = 30
"""Values from 2**_LEAST to 2**_MOST have buckets of their own; what lies outside goes into the outermost."""
_BUCKETS: Final = (_MOST - _LEAST) * _PARTS
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
        self._name, self._help, self._labels, self._constant = name, help_, tuple(labels), dict(constant)
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count `amount` more for the series of these label values."""
        values = self._values
        values[labels] = values.get(labels, 0) + amount

    def samples(self) -> Iterable[Samples]:
        """As of `Family`."""
        yield Samples(self._name, "counter", self._help, self._labels, self._constant, dict(self._values))


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


class Distribution:
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
        self._name, self._help, self._labels, self._constant = name, help_, tuple(labels), dict(constant)
        self._summary, self._summary_scale = summary, summary_scale
        self._series: dict[Labels, _Series] = {}

    def observe(self, value: float, now: float, *labels: str) -> None:
        """Take a value into the series of these label values; `now` is `time.perf_counter()`, which callers have."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(now)
        series.observe(value, now)

    def samples(self) -> Iterable[Samples]:
        """As of `Family`: a histogram, a summary, or both."""
        now = time.perf_counter()
        spreads = {labels: series.spread(now) for labels, series in self._series.items()}
        shown = Samples("", "distribution", self._help, self._labels, self._constant, spreads=spreads)
        if self._name is not None:
            yield msgspec.structs.replace(shown, name=self._name)
        if self._summary is not None:
            yield msgspec.structs.replace(shown, name=self._summary, summary=True, scale=self._summary_scale)


class _Series:
    """Values of one series, in buckets whose width grows with the value; those of late also by slices of time.

    Values are only noted at first, and counted many at a time: that costs a tenth.
    """

    __slots__ = ("_current", "_earlier", "_ever", "_noted", "_slice", "_slice_end", "_sum")

    def __init__(self, now: float) -> None:
        self._slice = now // SLICE_SECONDS
        self._slice_end = (self._slice + 1) * SLICE_SECONDS
        self._noted: list[float] = []
        self._current = _no_counts()
        self._earlier: deque[tuple[float, Counts]] = deque(maxlen=SLICES - 1)
        self._ever = _no_counts()
        self._sum = 0.0

    def observe(self, value: float, now: float) -> None:
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
    parts = np.ceil((fractions - 0.5) * 2 * _PARTS).astype(np.int64)
    buckets = (exponents.astype(np.int64) - 1 - _LEAST) * _PARTS + parts - 1
    return np.clip(np.where(values > 0, buckets, 0), 0, _BUCKETS - 1)


def _sparse(counts: Counts) -> dict[int, int]:
    return {int(bucket): int(counts[bucket]) for bucket in np.flatnonzero(counts)}


def _middle(bucket: int) -> float:
    """The value that stands for a bucket's."""
    exponent, part = divmod(bucket, _PARTS)
    return math.ldexp(1 + (part + 0.5) / _PARTS, exponent + _LEAST)


# ------------------------------------------------------------------------------------------ several processes, text
_TOGETHER: Final[Mapping[Together, Callable[[tuple[float, float]], float]]] = {
    "sum": sum,
    "least": min,
    "greatest": max,
}


def ended(process: Iterable[Samples]) -> list[Samples]:
    """What is left of a process that ended: what it counted, without what it was at."""
    left = [msgspec.structs.replace(family) for family in process if family.kind != "gauge"]
    for family in left:
        family.spreads = {labels: msgspec.structs.replace(spread, late={}) for labels, spread in family.spreads.items()}
    return left


def merged(processes: Iterable[Iterable[Samples]]) -> list[Samples]:
    """The families of several processes as if they were one: numbers of equal series are put together."""
    families: dict[str, Samples] = {}
    for process in processes:
        for family in process:
            known = families.get(family.name)
            if known is None:
                families[family.name] = msgspec.structs.replace(
                    family, numbers=dict(family.numbers), spreads=dict(family.spreads)
                )
                continue
            put_together = _TOGETHER[family.together]
            for labels, number in family.numbers.items():
                had_number = known.numbers.get(labels)
                known.numbers[labels] = number if had_number is None else put_together((had_number, number))
            for labels, spread in family.spreads.items():
                had = known.spreads.get(labels)
                known.spreads[labels] = spread if had is None else had.plus(spread)
    return list(families.values())


def render(families: Iterable[Samples]) -> str:
    """Prometheus text format, version 0.0.4.

    Names are written as they are: the reference's counters have no `_total` at their end.
    """
    lines: list[str] = []
    for family in families:
        shown = family.kind if family.kind != "distribution" else "summary" if family.summary else "histogram"
        lines += (f"# HELP {family.name} {_escaped_help(family.help)}", f"# TYPE {family.name} {shown}")
        for labels, number in sorted(family.numbers.items()):
            lines.append(f"{family.name}{_labels(family, labels)} {_number(number)}")
        for labels, spread in sorted(family.spreads.items()):
            write = _summary_lines if family.summary else _histogram_lines
            lines += write(family, labels, spread)
    return "\n".join(lines) + "\n"


def _summary_lines(family: Samples, labels: Labels, spread: Spread) -> Iterable[str]:
    for quantile in QUANTILES:
        shown = _labels(family, labels, quantile=f"{quantile:g}")
        yield f"{family.name}{shown} {_number(_quantile(spread.late, quantile) * family.scale)}"
    yield f"{family.name}_sum{_labels(family, labels)} {_number(spread.sum * family.scale)}"
    yield f"{family.name}_count{_labels(family, labels)} {sum(spread.ever.values())}"


def _quantile(counts: Mapping[int, int], quantile: float) -> float:
    left = quantile * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return _middle(bucket)
    return math.nan


def _histogram_lines(family: Samples, labels: Labels, spread: Spread) -> Iterable[str]:
    """Bounds are powers of two, from the one below the least value ever to the one above the greatest."""
    total = 0
    counts = sorted(spread.ever.items())
    for exponent in _HISTOGRAM_EXPONENTS:
        while counts and counts[0][0] < (exponent - _LEAST) * _PARTS:
            total += counts.pop(0)[1]
        yield f"{family.name}_bucket{_labels(family, labels, le=_number(2.0**exponent))} {total}"
    count = sum(spread.ever.values())
    yield f"{family.name}_bucket{_labels(family, labels, le='+Inf')} {count}"
    yield f"{family.name}_sum{_labels(family, labels)} {_number(spread.sum)}"
    yield f"{family.name}_count{_labels(family, labels)} {count}"


_HISTOGRAM_EXPONENTS: Final = range(-14, 13)
"""From 61 us to 68 min where the unit is a second; 1 to 4096 of a thing that is counted."""


def _labels(family: Samples, values: Labels, **more: str) -> str:
    pairs = {**family.constant, **dict(zip(family.labels, values, strict=True)), **more}
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items())
    return f"{{{text}}}" if text else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
