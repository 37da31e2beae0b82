"""Metrics as the text that Prometheus reads; those of several processes that share a port are added up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from sfs_core.observe.metrics import BUCKETS_PER_DOUBLING, LEAST_EXPONENT, Labels, Samples, Spread, Together

__all__ = ["ended", "merged", "render"]

QUANTILES: Final = (0.5, 0.9, 0.99)
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


def _middle(bucket: int) -> float:
    """The value that stands for a bucket's."""
    exponent, part = divmod(bucket, BUCKETS_PER_DOUBLING)
    return math.ldexp(1 + (part + 0.5) / BUCKETS_PER_DOUBLING, exponent + LEAST_EXPONENT)


def _histogram_lines(family: Samples, labels: Labels, spread: Spread) -> Iterable[str]:
    """Bounds are powers of two, from the one below the least value ever to the one above the greatest."""
    total = 0
    counts = sorted(spread.ever.items())
    for exponent in _HISTOGRAM_EXPONENTS:
        while counts and counts[0][0] < (exponent - LEAST_EXPONENT) * BUCKETS_PER_DOUBLING:
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
