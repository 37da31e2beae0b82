"""What a run comes to: rates, latencies, problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sfs_core.client.load.generator import Samples

__all__ = ["PERCENTILES", "Figures", "figures_of"]

PERCENTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)


@dataclass(frozen=True)
class Figures:
    """A target's figures over all its slices.

    Args:
        target: its name.
        requests: how many were due.
        right: how many got a right answer.
        problems: numbers of the others, by what was wrong.
        seconds: how long requests were begun.
        latency_ms: by percentile, from when a request was due; exact, over every right answer.
        mean_ms: their mean.
        late_ms: by how much requests were sent late by this tool, 99th percentile; part of the latencies.
        slice_rates: right answers per second of each slice.
    """

    target: str
    requests: int
    right: int
    problems: dict[str, int]
    seconds: float
    latency_ms: dict[float, float]
    mean_ms: float
    late_ms: float
    slice_rates: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return self.right / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON; percentiles become names: `p50`, `p99.9`, `max`."""
        return {
            "target": self.target,
            "requests": self.requests,
            "right": self.right,
            "problems": self.problems,
            "seconds": self.seconds,
            "rate": self.rate,
            "slice_rates": list(self.slice_rates),
            "latency_ms": {percentile_name(p): value for p, value in self.latency_ms.items()},
            "mean_ms": self.mean_ms,
            "late_ms": self.late_ms,
        }


def percentile_name(percentile: float) -> str:
    """`p99.9`; `max` for 100."""
    return "max" if percentile == 100 else f"p{percentile:g}"


def figures_of(target: str, slices: Sequence[Samples]) -> Figures:
    """The figures of a target's slices together."""
    total = Samples()
    for each in slices:
        total.add(each)
    latencies = np.asarray(total.latencies) * 1e3
    right, wrong = len(latencies), sum(total.problems.values())
    return Figures(
        target,
        right + wrong,
        right,
        dict(total.problems.most_common()),
        total.seconds,
        dict(zip(PERCENTILES, _percentiles(latencies, PERCENTILES), strict=True)),
        float(latencies.mean()) if right else float("nan"),
        _percentiles(np.asarray(total.lateness) * 1e3, (99.0,))[0],
        tuple(len(each.latencies) / each.seconds for each in slices),
    )


def _percentiles(values: npt.NDArray[np.float64], which: Sequence[float]) -> list[float]:
    """The smallest value that so many percent of all do not exceed."""
    if not len(values):
        return [float("nan")] * len(which)
    found: list[float] = np.percentile(values, which, method="inverted_cdf").tolist()
    return found
