from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfs_core.errors import ConfigError
from sfs_core.observe.audit import AuditError, AuditKeys, AuditLog, audit_files, verify
from sfs_core.observe.worker import own_file
from tests.cli.sfs import sfs_here

KEY = "a secret"


def write(path: Path, count: int, *, max_file_bytes: int = 1 << 20) -> None:
    log = AuditLog(path, KEY, max_file_bytes)
    for i in range(count):
        log.write({"time": time.time(), "caller": "shop", "rows": i}, ["id-1", "id-2"])
        log.flush()
    log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit.jsonl"


def test_what_was_written_is_verified(path: Path) -> None:
    write(path, 3)
    first = verify(audit_files(path), KEY)
    write(path, 2)
    second = verify(audit_files(path), KEY)
    assert (first.lines, second.lines, second.torn) == (3, 5, 0)
    assert first.chain in path.read_text()
    assert second.chain != first.chain
    assert path.stat().st_mode & 0o777 == 0o600


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_line_can_be_changed_removed_moved_or_added(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "audit.jsonl"
    path.unlink(missing_ok=True)
    write(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, 4))
    how = data.draw(st.sampled_from(["change", "remove", "repeat", "swap"]))
    if how == "change":
        digit = data.draw(st.integers(0, 150))
        line = bytearray(lines[at])
        line[digit] ^= 1
        lines[at] = bytes(line)
    elif how == "remove":
        if at == 4:
            return  # the end that is missing cannot be seen, as the documentation says
        del lines[at]
    elif how == "repeat":
        lines.insert(at, lines[at])
    else:
        lines[at - 1], lines[at] = lines[at], lines[at - 1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(AuditError):
        verify([path], KEY)


def test_another_key_verifies_nothing_and_writes_nothing(path: Path) -> None:
    write(path, 3)
    with pytest.raises(AuditError):
        verify([path], "another")
    with pytest.raises(ConfigError, match="another key"):
        AuditLog(path, "another", 1000)
    assert verify([path], KEY).lines == 3


@pytest.mark.parametrize("cut", [1, 2, 30, 90])
def test_a_line_that_a_crash_cut_off_is_told_from_one_that_was_changed(path: Path, cut: int) -> None:
    write(path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    write(path, 1)
    found = verify([path], KEY)
    assert found.torn == (cut > 1)
    write(path, 1)
    assert verify([path], KEY).lines == found.lines + 1


def test_full_files_are_renamed_and_the_chain_goes_on(path: Path) -> None:
    write(path, 40, max_file_bytes=2000)
    files = audit_files(path)
    assert len(files) > 3
    assert [file.name for file in files[:2]] == ["audit.1.jsonl", "audit.2.jsonl"]
    write(path, 1, max_file_bytes=2000)
    assert verify(audit_files(path), KEY).lines == 41
    with pytest.raises(AuditError):
        verify(files[1:], KEY)


def test_ids_are_only_hashes(path: Path) -> None:
    write(path, 1)
    text = path.read_text()
    assert "id-1" not in text
    assert AuditKeys(KEY).id_hash("id-1") in text
    assert AuditKeys("another").id_hash("id-1") not in text


def test_rows_of_today_are_counted_again(path: Path) -> None:
    write(path, 4)
    log = AuditLog(path, KEY, 1000)
    assert log.rows_by_caller(0) == {"shop": 6}
    assert log.rows_by_caller(2e9) == {}
    log.close()


def test_a_log_belongs_to_one_process(path: Path) -> None:
    log = AuditLog(path, KEY, 1000)
    with pytest.raises(ConfigError, match="another process"):
        AuditLog(path, KEY, 1000)
    log.close()
    log.close()
    AuditLog(path, KEY, 1000).close()


async def test_lines_of_one_turn_are_written_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(path, KEY, 1 << 20)
    writes = []
    write_ = os.write
    monkeypatch.setattr(os, "write", lambda file, data: writes.append(data) or write_(file, data))
    for i in range(10):
        log.write({"time": time.time(), "caller": "shop", "rows": i}, loop=asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert len(writes) == 1
    log.close()
    assert verify([path], KEY).lines == 10


def test_what_cannot_be_written_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(path, KEY, 1 << 20)
    write_, room = os.write, 7

    def filling_up(file: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        taken = write_(file, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", filling_up)
    log.write({"time": time.time(), "caller": "shop", "rows": 1})
    log.flush()
    assert log.failed
    assert not log.try_again()
    assert [record.message for record in caplog.records] == [
        "the audit log cannot be written: No space left on device; callers are refused until it can"
    ]
    room = 7
    assert not log.try_again()
    monkeypatch.setattr(os, "write", write_)
    assert log.try_again()
    log.close()
    assert verify([path], KEY).lines == 1


def test_logs_of_several_workers_are_verified_and_shown_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFS_AUDIT_KEY", KEY)
    for number in (1, 2):
        write(own_file(path, number), 2, max_file_bytes=1)
    verified = sfs_here("audit", "verify", path)
    assert not verified.returncode
    assert [line.partition(": ")[0] for line in verified.stdout.splitlines()] == [
        str(own_file(path, number)) for number in (1, 2)
    ]
    assert sfs_here("audit", "show", path).stdout.count("shop") == 4
    log = path.parent / "audit.worker2.1.jsonl"
    log.write_text(log.read_text().replace("shop", "bank"))
    assert "does not follow" in sfs_here("audit", "verify", path).stderr
