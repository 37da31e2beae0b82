"""The gate that callers pass: who they are, what they may ask, how much, and what is written down about it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sfs_core.config.callers import CallerLimits, Callers
from sfs_core.config.loaded import LoadedConfig
from sfs_core.errors import PluginError
from sfs_core.host.placed import placed
from sfs_core.link.refusal import RefusalError
from sfs_core.link.rpc import CallInfo, RpcCode
from sfs_core.observe.audit import AuditLog
from sfs_core.observe.worker import own_file, worker_number
from sfs_core.sdk.authenticator import (
    AuthenticationError,
    Authenticator,
    AuthenticatorContext,
    Caller,
    Credentials,
)
from sfs_core.sdk.context import PluginConfig

__all__ = ["Gate", "Visit", "authenticated", "close_authenticators", "open_authenticators", "open_gate"]

logger = logging.getLogger("sfs.callers")

BURST_SECONDS: Final = 2.0
"""A caller may ask at once for as much as the limit allows in so many seconds."""
DAY: Final = 86_400
NOBODY: Final[frozenset[str]] = frozenset()


@dataclass(slots=True)
class _Usage:
    """What one caller has asked so far."""

    limits: CallerLimits
    burst: float
    tokens: float
    filled: float
    under_way: int = 0
    day_end: float = 0
    rows: int = 0


class Visit:
    """One request of a known caller; it ends with `over`, or with `left` where nothing is to be written down."""

    __slots__ = ("_gate", "_usage", "caller")

    def __init__(self, gate: Gate, caller: Caller, usage: _Usage) -> None:
        self._gate = gate
        self._usage = usage
        self.caller = caller

    def ask(self, service: str, rows: int) -> None:
        """Say what is asked for.

        Raises:
            RefusalError: the caller may not ask this service, or not for so many rows today.
        """
        if self.caller.services is not None and service not in self.caller.services:
            raise RefusalError(RpcCode.PERMISSION, "this caller may not ask that service")
        self._gate.take_rows(self._usage, rows)

    def left(self) -> None:
        """The request is no longer under way."""
        self._usage.under_way -= 1

    def over(self, service: str, rows: int, code: int, request_id: str, ids: Sequence[str]) -> None:
        """The request was answered, or refused after it was let in, with so many scores."""
        self._usage.under_way -= 1
        self._gate.write_down(self.caller.name, service, rows, code, request_id, ids)


class Gate:
    """Lets callers in.

    Args:
        authenticators: tried in their order.
        settings: limits.
        audit: where requests are written down, if anywhere.
        clock: Unix time; days end by it.
        share: one of so many processes: callers get that part of the rows of a day from each.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        settings: Callers,
        audit: AuditLog | None,
        clock: Callable[[], float] = time.time,
        share: int = 1,
    ) -> None:
        self._share = share
        self._authenticators = authenticators
        self._settings = settings
        self._audit = audit
        self._clock = clock
        self._usages: dict[str, _Usage] = {}
        self._rows_before = audit.rows_by_caller(clock() // DAY * DAY) if audit else {}

    def can_record(self) -> bool:
        """Whether requests can be written down, where that is asked for; what could not be is tried again."""
        return self._audit is None or not self._audit.failed or self._audit.try_again()

    def admit(self, info: CallInfo) -> Visit:
        """Let a call in before it is read.

        Raises:
            RefusalError: the caller is not known, or asks too often or too much at a time, or nothing can be written
                down.
        """
        caller = authenticated(self._authenticators, info)
        if not self.can_record():
            raise RefusalError(RpcCode.LIMIT, "requests cannot be written down at the moment", 5.0, reason="audit_log")
        usage = self._usages.get(caller.name) or self._new_usage(caller.name)
        limits = usage.limits
        if limits.concurrency is not None and usage.under_way >= limits.concurrency:
            raise RefusalError(RpcCode.QUOTA, f"this caller may have {limits.concurrency} requests under way", 1.0)
        if limits.requests_per_second is not None:
            self._take_token(usage, limits.requests_per_second)
        usage.under_way += 1
        return Visit(self, caller, usage)

    def recognize(self, info: CallInfo) -> Caller:
        """Who calls.

        Raises:
            RefusalError: nobody who is known.
        """
        return authenticated(self._authenticators, info)

    def _new_usage(self, name: str) -> _Usage:
        limits = self._settings.limits_of.get(name, self._settings.limits)
        burst = max((limits.requests_per_second or 0) * BURST_SECONDS, 1)
        usage = _Usage(limits, burst, burst, time.monotonic(), day_end=_end_of_day(self._clock()))
        usage.rows = self._rows_before.pop(name, 0)
        self._usages[name] = usage
        return usage

    def _take_token(self, usage: _Usage, rate: float) -> None:
        now = time.monotonic()
        tokens = min(usage.tokens + (now - usage.filled) * rate, usage.burst)
        usage.tokens, usage.filled = tokens, now
        if tokens < 1:
            raise RefusalError(RpcCode.QUOTA, f"this caller may ask {rate:g} times per second", (1 - tokens) / rate)
        usage.tokens = tokens - 1

    def take_rows(self, usage: _Usage, rows: int) -> None:
        """Count rows against the day's limit; for `Visit`."""
        limit = usage.limits.rows_per_day
        if limit is None:
            return
        limit //= self._share
        now = self._clock()
        if not usage.day_end - DAY <= now < usage.day_end:
            usage.day_end, usage.rows = _end_of_day(now), 0
        if usage.rows + rows > limit:
            raise RefusalError(
                RpcCode.QUOTA,
                f"this caller may ask for {limit} rows a day, {max(limit - usage.rows, 0)} are left for today (UTC)",
                DAY - now % DAY,
            )
        usage.rows += rows

    def write_down(self, caller: str, service: str, rows: int, code: int, request_id: str, ids: Sequence[str]) -> None:
        """Enter a request into the audit log, if there is one; for `Visit`."""
        if self._audit is not None:
            record = {
                "time": self._clock(),
                "caller": caller,
                "service": service,
                "rows": rows,
                "code": int(code),
                "request_id": request_id,
            }
            self._audit.write(record, ids, asyncio.get_running_loop())

    def close(self) -> None:
        """Close the audit log and the authenticators; blocks."""
        if self._audit is not None:
            self._audit.close()
        close_authenticators(self._authenticators)


def authenticated(authenticators: Sequence[Authenticator], info: CallInfo) -> Caller:
    """Who calls.

    Raises:
        RefusalError: the caller is not known.
        PluginError: an authenticator breaks its contract.
    """
    credentials = Credentials(info.headers, info.names or NOBODY)
    for authenticator in authenticators:
        try:
            caller = authenticator.authenticate(credentials)
        except AuthenticationError as error:
            logger.info("a caller at %s is refused: %s", info.peer, error.message)
            raise RefusalError(RpcCode.AUTHENTICATION, error.message) from None
        except (SystemExit, KeyboardInterrupt) as error:  # raised by a library, no reason to end the server
            raise PluginError(f"{type(authenticator).__name__}.authenticate tried to end the process") from error
        if isinstance(caller, Caller):
            return caller
        if caller is not None:
            kind, returned = type(authenticator).__name__, type(caller).__name__
            raise PluginError(f"{kind}.authenticate returned {returned}, not a Caller or None")
    raise RefusalError(RpcCode.AUTHENTICATION, "this server answers known callers only, and no credentials came")


def _end_of_day(now: float) -> float:
    return (now // DAY + 1) * DAY


def open_authenticators(
    chosen: Sequence[tuple[type[Authenticator], PluginConfig]], loaded: LoadedConfig
) -> list[Authenticator]:
    """Authenticators that a config chooses, ready to be asked. Blocks.

    Raises:
        SfsError: one cannot work.
    """
    context = AuthenticatorContext(loaded.config.party, logger, loaded.base_directory)
    authenticators = []
    for cls, options in chosen:
        with placed(f"authenticator {cls.__name__}", "the authenticator failed to open"):
            authenticator = cls(options, context)
            authenticator.open()
        authenticators.append(authenticator)
    return authenticators


def close_authenticators(authenticators: Sequence[Authenticator]) -> None:
    """Close them all, also when one fails at it, which the log tells. Blocks."""
    for authenticator in authenticators:
        try:
            authenticator.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's code; its text may quote anything
            logger.warning("%s failed to close (%s)", type(authenticator).__name__, type(error).__name__)


def open_gate(loaded: LoadedConfig) -> Gate:
    """The gate that a config describes. Blocks.

    Raises:
        SfsError: an authenticator cannot work, or the audit log cannot be written.
    """
    settings = loaded.config.callers
    assert settings is not None
    authenticators = open_authenticators(loaded.authenticators, loaded)
    audit = settings.audit
    log = None
    if audit is not None:
        path = own_file(loaded.base_directory / audit.file)
        log = AuditLog(path, audit.key.get_secret_value(), audit.max_file_bytes)
    share = 1 if worker_number() is None else loaded.config.workers
    return Gate(authenticators, settings, log, share=share)
