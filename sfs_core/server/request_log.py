"""Lines in the log for requests answered: all of them, or those that took long."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final

from sfs_core.config.telemetry import Logging
from sfs_core.sdk.hookspecs import PredictionEvent

__all__ = ["request_log"]

_WHOLE_EXECUTION: Final = re.compile(r"execution \d+")
_access = logging.getLogger("sfs.access")
_slow = logging.getLogger("sfs.slow")


def request_log(settings: Logging) -> Callable[[PredictionEvent], None] | None:
    """What is to be told of every request answered; None where nothing is to be logged."""
    if settings.access:
        return lambda event: _log(_slow if settings.slow and event.seconds > settings.slow else _access, event)
    if settings.slow:
        slow = settings.slow
        return lambda event: _log(_slow, event) if event.seconds > slow else None
    return None


def _log(logger: logging.Logger, event: PredictionEvent) -> None:
    fields: dict[str, Any] = {
        "request_id": event.request_id,
        "party": event.party,
        "rows": event.rows,
        "code": event.code,
        "milliseconds": round(event.seconds * 1000, 3),
    }
    if logger is _slow:
        fields |= _steps(event)
    logger.log(
        logging.WARNING if logger is _slow else logging.INFO,
        "%s %s",
        "slow request:" if logger is _slow else "answered:",
        " ".join(f"{name}={value}" for name, value in fields.items()),
        extra={"fields": fields},
    )


def _steps(event: PredictionEvent) -> dict[str, float]:
    """Milliseconds per step: first those that the request waited, or was read or written."""
    seconds: dict[str, float] = {"waiting": event.seconds}
    for step, took in event.steps:
        seconds[step] = seconds.get(step, 0.0) + took
        if _WHOLE_EXECUTION.fullmatch(step):
            seconds["waiting"] -= took
    return {f"{step.replace(' ', '_')}_ms": round(1000 * took, 3) for step, took in seconds.items()}
