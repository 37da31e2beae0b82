"""The reference's logging and trace files, as the parts of a config that say the same here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sfs_core.config.document import Node, read_text, text_of
from sfs_core.config.problems import Problems
from sfs_core.config.reference_messages import LOGGING, TRACE, Fields, Message, message_of
from sfs_core.config.telemetry import Logging, Tracing

__all__ = ["read_logging", "read_reference_file", "read_trace"]

_LEVELS: Final = {
    "DEBUG_LOG_LEVEL": "debug",
    "INFO_LOG_LEVEL": "info",
    "WARN_LOG_LEVEL": "warning",
    "ERROR_LOG_LEVEL": "error",
}
_BYTES: Final = 500 << 20
_FILES: Final = 10
_ESCAPED: Final = re.compile(r"\s*\{\s*\\")


def read_logging(path: Path | None) -> Logging:
    """What a LoggingConfig says: a rotating file, `serving.log` by default, and standard error.

    Args:
        path: the file; None, or a blank file, for the defaults.

    Raises:
        ConfigError: with every problem in `problems`.
    """
    message, problems = read_reference_file(path, LOGGING)
    level = _LEVELS.get(message.get("log_level", ""), "info")
    options = _file(message, "system_log_path", "serving.log", "max_log_file_size", "max_log_file_count")
    logging: Logging = _checked(Logging, {"level": level, **options}, message, problems)
    return logging


def read_trace(path: Path | None, *, interval: float = 2.0) -> Tracing | None:
    """What a TraceConfig says: a rotating file, `trace.log` by default; None where it turns tracing off.

    Args:
        path: the file; None, or a blank file, for the defaults: off.
        interval: seconds between writing spans, which a flag says and not the file.

    Raises:
        ConfigError: with every problem in `problems`.
    """
    message, problems = read_reference_file(path, TRACE)
    conf = message.message("trace_log_conf")
    options = _file(conf, "trace_log_path", "trace.log", "max_trace_log_file_size", "max_trace_log_file_count")
    tracing: Tracing = _checked(Tracing, {"interval": interval, **options}, conf, problems)
    return tracing if message.get("trace_log_enable", False) else None


def read_reference_file(path: Path | None, fields: Fields) -> tuple[Message, Problems]:
    """A message of the reference that a file holds as JSON, and what is wrong with it so far.

    Args:
        path: the file; None, or a blank file, for a message without fields.
        fields: of the message.
    """
    problems = Problems(path or Path())
    text = text_of(path) if path is not None else ""
    if path is None or not text.strip():
        return Message(Node({}, 1)), problems
    if _ESCAPED.match(text):
        text = re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
    return message_of(read_text(path, text, problems), fields, problems), problems


def _file(message: Message, path: str, default: str, size: str, count: str) -> dict[str, Any]:
    """Where to write, and when to rename; 0 stands for the default, as for every field of the reference."""
    return {
        "file": message.get(path, "") or default,
        "max_file_bytes": message.get(size, 0) or _BYTES,
        "max_files": message.get(count, 0) or _FILES,
    }


def _checked(model: Any, options: dict[str, Any], message: Message, problems: Problems) -> Any:
    try:
        checked = model.model_validate(options)
    except ValidationError as error:
        names = ", ".join(sorted(str(each["loc"][0]) for each in error.errors(include_url=False, include_input=False)))
        problems.add(message.node.line, message.node.written, f"a size, a count or a path is out of range ({names})")
    if problems:
        raise problems.error()
    return checked
