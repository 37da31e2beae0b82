from __future__ import annotations

import errno
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfs_core.config.telemetry import Logging
from sfs_core.errors import ConfigError, ErrorCode
from sfs_core.observe.logs import RotatingFile, configure_logs, log_levels, set_log_levels


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    set_log_levels(dict.fromkeys(log_levels(), "default"))


def test_text_lines_are_as_the_reference_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "serving.log"
    configure_logs(Logging(file=file, console=False))
    logging.getLogger("sfs.server").warning("%d peers are away", 2)
    line = file.read_text()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[warning\] \[test_logs\.py:test_\w+:\d+\] 2 peers are away\n", line
    )


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "serving.log"
    configure_logs(Logging(file=file, console=False, format="json"))
    logging.getLogger("sfs.access").info("answered", extra={"fields": {"rows": 3}})
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("sfs.server").exception("failed\nin two lines")
    first, second = map(json.loads, file.read_text().splitlines())
    assert (first["level"], first["logger"], first["message"], first["rows"]) == ("info", "sfs.access", "answered", 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert second["message"] == "failed\nin two lines"
    assert "ValueError: no" in second["exception"]


def test_full_files_are_kept_under_numbers(tmp_path: Path) -> None:
    configure_logs(Logging(file=tmp_path / "serving.log", console=False, max_file_bytes=1000, max_files=2))
    for i in range(100):
        logging.getLogger("sfs.server").info("line %d", i)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serving.1.log", "serving.2.log", "serving.log"]
    lines = "".join((tmp_path / f"serving{n}.log").read_text() for n in (".2", ".1", ""))
    assert lines.rstrip().endswith("line 99")
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_levels_by_room_change_at_run_time(tmp_path: Path) -> None:
    file = tmp_path / "serving.log"
    configure_logs(Logging(file=file, console=False, level="warning", rooms={"link": "debug"}))
    link, predict, library = (logging.getLogger(name) for name in ("sfs.link", "sfs.predict", "library"))
    assert log_levels() == {"": "warning", "link": "debug"}
    link.debug("one")
    predict.info("not this")
    library.info("nor this")
    set_log_levels({"predict": "info", "link": "default"})
    link.debug("nor that")
    predict.info("two")
    assert [line.rsplit("] ", 1)[1] for line in file.read_text().splitlines()] == ["one", "two"]
    assert log_levels() == {"": "warning", "predict": "info"}


def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        configure_logs(Logging(file=tmp_path / "taken" / "serving.log"))
    assert caught.value.code == ErrorCode.IO_ERROR


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_loses_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    handler = RotatingFile(Path("/dev/full"), 0, 1)
    logger = logging.getLogger("sfs.server")
    logging.getLogger().addHandler(handler)
    for _ in range(3):
        logger.error("lost")
    assert capsys.readouterr().err == "warning: 1 log line(s) could not be written: No space left on device\n"
    handler.close()


class FullDisk(io.StringIO):
    """A stream with no room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_nobody_fails_where_standard_error_is_on_the_full_disk_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = RotatingFile(Path("/dev/full"), 0, 1)
    logger = logging.getLogger("sfs.server")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", FullDisk())
        configure_logs(Logging())
        logging.getLogger().addHandler(handler)
        handler.handleError(logging.makeLogRecord({}))
        logger.error("lost")
    logging.getLogger().handlers = [handler]
    logger.error("lost, too")
    assert "log line(s) could not be written: No space left on device" in capsys.readouterr().err
    handler.close()
