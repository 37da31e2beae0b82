"""The reference's logging and trace files, as they are and escaped once more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sfs_core.config.reference_telemetry import read_logging, read_trace
from sfs_core.config.telemetry import Logging, Tracing
from sfs_core.errors import ConfigError

from .conftest import Write

LOGGING = {"systemLogPath": "logs/s.log", "logLevel": "WARN_LOG_LEVEL", "maxLogFileSize": "1024", "maxLogFileCount": 3}
TRACE = {
    "traceLogEnable": True,
    "traceLogConf": {"traceLogPath": "t.log", "maxTraceLogFileSize": 9 << 31, "maxTraceLogFileCount": 2},
}


def escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


@pytest.mark.parametrize("form", [str, escaped])
def test_files_are_read_in_both_forms(form: type, write: Write) -> None:
    assert read_logging(write(form(json.dumps(LOGGING)))) == Logging(
        file=Path("logs/s.log"), level="warning", max_file_bytes=1024, max_files=3
    )
    assert read_trace(write(form(json.dumps(TRACE))), interval=0.5) == Tracing(
        file=Path("t.log"), max_file_bytes=9 << 31, max_files=2, interval=0.5
    )


def test_defaults(write: Write) -> None:
    assert read_logging(None) == read_logging(write(" \n")) == read_logging(write("{}"))
    assert read_logging(None) == Logging(file=Path("serving.log"), max_file_bytes=524288000, max_files=10)
    assert read_trace(None) is read_trace(write('{"trace_log_conf": {}}')) is None
    assert read_trace(write('{"trace_log_enable": "true"}')) == Tracing(file=Path("trace.log"))


def test_genuine_escapes_are_kept(write: Write) -> None:
    assert read_logging(write(r'{"systemLogPath": "a\\b\u0041"}')).file == Path("a\\bA")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"logLevel": "LOUD"}', "1 logLevel: one of INVALID_LOG_LEVEL"),
        ('{\n"logPath": ""}', "2 logPath: there is no such option"),
        ('{"maxLogFileCount": -1}', "max_files"),
        ('{"maxLogFileSize": 1e30}', "maxLogFileSize: a whole number of at most 64 bits"),
    ],
)
def test_mistakes(text: str, expected: str, write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        read_logging(write(text))
    assert expected in str(caught.value.problems)
