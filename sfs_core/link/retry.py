"""Whether and when a failed call is tried again.

A call that may have run is not repeated unless the policy asks for it: a lost answer is no proof that nothing was done.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from sfs_core.errors import ConfigError

if TYPE_CHECKING:
    from sfs_core.config.network import Retry  # slow to import, which callers' programs need not pay

__all__ = [
    "Backoff",
    "FailureKind",
    "RetryPolicy",
    "exponential_backoff",
    "fixed_backoff",
    "random_backoff",
    "retry_policy",
]

Backoff = Callable[[int], float]
"""Seconds to wait before retry 1, 2, …"""

_LONGEST_WAIT: Final = 60.0


class FailureKind(Enum):
    """What a failure says about the call."""

    NOT_RUN = auto()
    """It cannot have run: no connection, or the server refused it for being busy or stopping."""
    UNTRUSTED = auto()
    """It cannot have run, and trying again is pointless: TLS shows that the other end is not who it should be."""
    UNAVAILABLE = auto()
    """An HTTP status that usually passes: 408, 429, 500, 502, 503, 504."""
    OTHER = auto()
    """It may have run: the connection was lost, or the answer is a failure."""
    FINAL = auto()
    """Its time is up, or trying again is pointless."""

    @property
    def cannot_have_run(self) -> bool:
        """Whether the server did nothing for the call."""
        return self in (FailureKind.NOT_RUN, FailureKind.UNTRUSTED)


def fixed_backoff(seconds: float = 0.01) -> Backoff:
    """The same wait before every retry."""
    _check(seconds >= 0, "the interval is negative")
    return lambda _: seconds


def exponential_backoff(initial: float = 0.01, factor: float = 2.0) -> Backoff:
    """`initial`, then `factor` times the wait before; at most a minute."""
    _check(initial >= 0, "the first wait is negative")
    _check(factor >= 1, "the factor is below 1")

    def wait(retry: int) -> float:
        try:
            return min(initial * factor ** (retry - 1), _LONGEST_WAIT)
        except OverflowError:
            return _LONGEST_WAIT

    return wait


def random_backoff(least: float = 0.01, most: float = 0.05) -> Backoff:
    """Any wait between the two, all alike likely."""
    _check(0 <= least <= most, "the least wait is negative or above the longest")
    return lambda _: random.uniform(least, most)  # noqa: S311  no secret


def _check(good: bool, why: str) -> None:
    if not good:
        raise ConfigError(f"retry back-off: {why}")


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again.

    Args:
        retries: attempts after the first; 0 for none.
        backoff: the wait before each.
        unavailable: also after HTTP statuses that usually pass (the reference's `retry_custom`).
        anything: also after any other failure but a timeout; calls may then run twice (`retry_aggressive`).
        budget: retries per call in the long run.
    """

    retries: int = 3
    backoff: Backoff = field(default_factory=fixed_backoff)
    unavailable: bool = False
    anything: bool = False
    budget: float = 0.1

    def __post_init__(self) -> None:
        _check(self.retries >= 0, "the number of retries is negative")

    def wait_before(self, retry: int, kind: FailureKind) -> float | None:
        """Seconds to wait before this retry (1 is the first); None where there is to be none."""
        if retry > self.retries or not self._covers(kind):
            return None
        return self.backoff(retry)

    def _covers(self, kind: FailureKind) -> bool:
        if kind in (FailureKind.FINAL, FailureKind.UNTRUSTED):
            return False
        if kind is FailureKind.NOT_RUN or self.anything:
            return True
        return self.unavailable and kind is FailureKind.UNAVAILABLE


def retry_policy(options: Retry) -> RetryPolicy:
    """The policy that the options of a config ask for."""
    backoff = {
        "fixed": lambda: fixed_backoff(options.interval),
        "exponential": lambda: exponential_backoff(options.interval, options.factor),
        "random": lambda: random_backoff(options.interval, options.longest),
    }[options.backoff]()
    return RetryPolicy(options.retries, backoff, options.unavailable, options.anything, options.budget)
