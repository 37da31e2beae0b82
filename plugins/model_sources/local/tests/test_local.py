"""Copies of real files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import sfs_model_local
from pydantic import ValidationError
from sfs_model_local.source import LocalModelSource

from sfs_core import ErrorCode, PackageError, PluginConfig, PluginContext


@pytest.fixture
def source(tmp_path):
    return LocalModelSource(PluginConfig(), PluginContext("svc", "alice", logging.getLogger("test"), tmp_path))


def ignored(done, total=None):
    pass


def refused(source, path, to):
    with pytest.raises(PackageError) as caught:
        source.download(path, to, ignored)
    return caught.value


def test_declares_one_source():
    (spec,) = sfs_model_local.sfs_model_sources()
    assert (spec.name, spec.factory) == ("local", "sfs_model_local.source:LocalModelSource")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (3 << 20) + 17])
def test_copies_the_file_and_says_how_far_it_is(source, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "package.tar.gz").write_bytes(content)
    steps = []
    source.download("package.tar.gz", tmp_path / "copy", lambda done, total=None: steps.append((done, total)))
    assert (tmp_path / "copy").read_bytes() == content
    assert [total for _, total in steps] == [size] * len(steps)
    assert [done for done, _ in steps] == [min(i << 20, size) for i in range(1, len(steps) + 1)]
    assert len(steps) == -(-size // (1 << 20))


def test_paths_are_relative_to_the_config_file_absolute_or_in_the_home(source, tmp_path, monkeypatch):
    package = tmp_path / "models" / "package.tar.gz"
    package.parent.mkdir()
    package.write_bytes(b"package")
    monkeypatch.setenv("HOME", str(package.parent))
    for i, path in enumerate(["models/package.tar.gz", str(package), "~/package.tar.gz"]):
        to = tmp_path / f"copy {i}"
        source.download(path, to, ignored)
        assert to.read_bytes() == b"package"


def test_links_are_followed(source, tmp_path):
    (tmp_path / "package").write_bytes(b"package")
    (tmp_path / "link").symlink_to("package")
    source.download("link", tmp_path / "copy", ignored)
    assert not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy").read_bytes() == b"package"


@pytest.mark.parametrize("path", ["no.tar.gz", "no/such.tar.gz", "dangling"])
def test_a_missing_file(source, tmp_path, path):
    (tmp_path / "dangling").symlink_to("nowhere")
    error = refused(source, path, tmp_path / "copy")
    assert error.code == ErrorCode.NOT_FOUND
    assert str(tmp_path / path) in str(error)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("path", ["", ".", "folder", "pipe", "/dev/zero"])
def test_a_directory_or_a_device(source, tmp_path, path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    error = refused(source, path, tmp_path / "copy")
    assert error.code == ErrorCode.IO_ERROR
    assert "a directory or a device" in str(error)
    assert not (tmp_path / "copy").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read every file")
def test_a_file_that_may_not_be_read(source, tmp_path):
    (tmp_path / "package").write_bytes(b"package")
    (tmp_path / "package").chmod(0)
    error = refused(source, "package", tmp_path / "copy")
    assert error.code == ErrorCode.IO_ERROR
    assert "Permission denied" in str(error)


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file whose reading fails")
def test_a_file_whose_reading_fails(source, tmp_path):
    error = refused(source, "/proc/self/mem", tmp_path / "copy")
    assert error.code == ErrorCode.IO_ERROR
    assert "cannot be copied" in str(error)


@pytest.mark.parametrize("to", ["package", "no folder/copy"])
def test_a_copy_that_cannot_be_written(source, tmp_path, to):
    (tmp_path / "package").write_bytes(b"package")
    error = refused(source, "package", tmp_path / to)
    assert error.code == ErrorCode.IO_ERROR
    assert "cannot be copied" in str(error)
    assert (tmp_path / "package").read_bytes() == b"package"


def test_there_are_no_options():
    with pytest.raises(ValidationError):
        LocalModelSource.Config(timeout=1)
