"""Lines in the log for requests answered: all of them, or those that took long."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sfs_core.config.telemetry import Logging
from sfs_core.sdk.hookspecs import PredictionEvent

__all__ = ["request_log"]

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
    fields = {
        "request_id": event.request_id,
        "party": event.party,
        "rows": event.rows,
        "code": event.code,
        "milliseconds": round(event.seconds * 1000, 3),
    }
    logger.log(
        logging.WARNING if logger is _slow else logging.INFO,
        "%s %s",
        "slow request:" if logger is _slow else "answered:",
        " ".join(f"{name}={value}" for name, value in fields.items()),
        extra={"fields": fields},
    )
