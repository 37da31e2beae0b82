"""The process's log: where it goes, what it looks like, how much of it there is.

All loggers of this software are below `sfs`, one per room: `sfs.link`, `sfs.predict`, `sfs.source.<service>`, …
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import orjson

from sfs_core.errors import ConfigError, ErrorCode
from sfs_core.observe.worker import own_file, worker_number

if TYPE_CHECKING:
    from sfs_core.config.telemetry import Logging

__all__ = ["RotatingFile", "configure_logs", "log_levels", "set_log_levels"]

ROOT: Final = "sfs"
COMPLAIN_SECONDS: Final = 60.0
"""Between two words on standard error about a log file that cannot be written."""
_LEVELS: Final = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "critical"}


class TextFormatter(logging.Formatter):
    """Lines as the reference writes them: `2026-01-31 23:59:59.123 [info] [file.py:function:12] message`."""

    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s [%(level)s] [%(filename)s:%(funcName)s:%(lineno)d] %(message)s")
        self._worker = worker_number()

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several where an exception's traceback is logged."""
        record.level = _level_name(record.levelno)
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """The line; of one of several workers with its number before the message."""
        if self._worker is not None:
            record.message = f"worker {self._worker}: {record.message}"
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, place, message, and what `extra` adds; of one of
    several workers its number, too."""

    def __init__(self) -> None:
        super().__init__()
        number = worker_number()
        self._fields = {} if number is None else {"worker": number}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": _level_name(record.levelno),
            "logger": record.name,
            "place": f"{record.filename}:{record.funcName}:{record.lineno}",
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line |= self._fields | getattr(record, "fields", {})
        return orjson.dumps(line, default=str).decode()


def _level_name(number: int) -> str:
    return _LEVELS.get(logging.getLevelName(number), "info")


class RotatingFile(RotatingFileHandler):
    """A file that is renamed when it is full: `serving.log` to `serving.1.log`, that to `serving.2.log`, and so on.

    What cannot be written, for example because the disk is full, is left out; standard error says so now and then.

    Args:
        path: the file; its folder is made.
        max_bytes: the size at which it is renamed.
        files: how many old files are kept.

    Raises:
        ConfigError: it cannot be written (code 10).
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self._lost = 0
        self._complained = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path, maxBytes=max_bytes, backupCount=files, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror or type(error).__name__}",
                code=ErrorCode.IO_ERROR,
                hint="choose a file in a folder that this user may write to",
            ) from None

    def rotation_filename(self, default_name: str) -> str:
        """`serving.log.1` becomes `serving.1.log`."""
        path, _, number = default_name.rpartition(".")
        file = Path(path)
        return str(file.with_name(f"{file.stem}.{number}{file.suffix}"))

    def close(self) -> None:
        """Close the file; what the disk has no room for is lost."""
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Count what was lost, and say so at most once a minute, as soon as it can be said."""
        self._lost += 1
        now = time.monotonic()
        if not self._complained or now - self._complained > COMPLAIN_SECONDS:
            error = sys.exc_info()[1]
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            with contextlib.suppress(OSError):  # standard error may go to the same disk
                print(f"warning: {self._lost} log line(s) could not be written: {reason}", file=sys.stderr)  # noqa: T201
                self._complained = now


class Console(logging.StreamHandler[TextIO]):
    """Standard error; what it does not take is left out, for there is nobody else to tell."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Nothing."""


def configure_logs(settings: Logging) -> None:
    """Make the process log as its config says; replaces what was configured before.

    Raises:
        ConfigError: the file cannot be written (code 10).
    """
    handlers: list[logging.Handler] = []
    if settings.console:
        handlers.append(Console(sys.stderr))
    if settings.file is not None:
        handlers.append(RotatingFile(own_file(settings.file), settings.max_file_bytes, settings.max_files))
    for handler in handlers:
        handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    _replace_handlers(handlers)
    set_log_levels({"": settings.level, **settings.rooms})


def _replace_handlers(handlers: Iterable[logging.Handler]) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)  # of libraries


def set_log_levels(levels: Mapping[str, str]) -> None:
    """Change how much is logged from now on.

    Args:
        levels: by room (`link`, `predict`, …; empty for all others): debug, info, warning, error, or `default`, which
            takes a room's own level back.
    """
    for room, level in levels.items():
        logging.getLogger(f"{ROOT}.{room}" if room else ROOT).setLevel(
            logging.NOTSET if level == "default" else level.upper()
        )


def log_levels() -> dict[str, str]:
    """The levels that are set, by room; the empty name stands for all rooms without one."""
    own = {"": _level_name(logging.getLogger(ROOT).getEffectiveLevel())}
    for name, logger in sorted(logging.root.manager.loggerDict.items()):
        if name.startswith(f"{ROOT}.") and isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            own[name.removeprefix(f"{ROOT}.")] = _level_name(logger.level)
    return own
