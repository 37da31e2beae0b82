"""Several targets under the same load, in alternating slices, so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sfs_core.client.load.generator import Arrivals, Callers, Generator, Samples

__all__ = ["Contender", "compare"]


@dataclass(frozen=True)
class Contender:
    """A target by name, and the load generator aimed at it."""

    name: str
    generator: Generator


async def compare(
    contenders: Sequence[Contender],
    load: Callable[[float], Callers | Arrivals],
    *,
    seconds: float,
    slices: int,
    warm_up: float,
    after_slice: Callable[[Contender, Samples], None] = lambda _contender, _samples: None,
) -> dict[str, list[Samples]]:
    """Each target's slices by its name.

    Args:
        contenders: the targets.
        load: makes the load of a slice of so many seconds.
        seconds: of all slices of one target together.
        slices: of each target.
        warm_up: seconds of load on each target that are not counted.
        after_slice: called with each slice's target and samples.
    """
    measured: dict[str, list[Samples]] = {contender.name: [] for contender in contenders}
    try:
        if warm_up > 0:
            for contender in contenders:
                await contender.generator.run(load(warm_up))
        for _ in range(slices):
            for contender in contenders:
                samples = await contender.generator.run(load(seconds / slices))
                measured[contender.name].append(samples)
                after_slice(contender, samples)
    finally:
        for contender in contenders:
            await contender.generator.close()
    return measured
