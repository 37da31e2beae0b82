"""What is kept of changes: whole, or with a clear error; and a config that was edited goes before."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.loader import load
from sfs_core.errors import ConfigError
from sfs_core.server.desired import Change, Desired, Package, StateFile, package_of, plan, with_package
from tests.server.reloading import COLUMNS, IDS
from tests.support.clusters import ClusterFiles, linear_files

JUNE = Package("june.tar.gz", "0" * 64, "june")
MAY = Package("may.tar.gz", "1" * 64, "")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ClusterFiles:
    return linear_files(tmp_path_factory.mktemp("desired"), IDS, COLUMNS)


@pytest.fixture
def loaded(files: ClusterFiles) -> LoadedConfig:
    return load(files.write("alice"))


def changed(loaded: LoadedConfig) -> Desired:
    change = Change(package_of(loaded.services[0]), serving=JUNE, previous=MAY)
    return Desired(services={"linear": change})


def test_what_is_written_is_read_and_planned(loaded: LoadedConfig, tmp_path: Path) -> None:
    file = StateFile(tmp_path / "deep" / "state.json")
    assert file.read(loaded) == Desired()
    file.write(changed(loaded))
    (plan_,) = plan(loaded, file.read(loaded))
    assert (plan_.package, plan_.previous, plan_.waiting, plan_.new) == (JUNE, MAY, None, False)
    before = with_package(plan_.service, plan_.previous or JUNE).config.model
    assert (before.source.path, before.sha256, before.version) == ("may.tar.gz", "1" * 64, "")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.json"]


def test_a_config_that_was_edited_goes_before(
    files: ClusterFiles, loaded: LoadedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(tmp_path / "state.json")
    file.write(changed(loaded))
    monkeypatch.setitem(files.configs["alice"]["services"][0]["model"], "version", "july")
    edited = load(files.write("alice"))
    assert file.read(edited) == Desired()
    assert [each.service for each in plan(edited, file.read(edited))] == list(edited.services)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format": 1, "services": {"linear": {"serving": 1}}}', b'{"format": 2}', b"\xff", b"[]"]
)
def test_a_damaged_file_is_named(loaded: LoadedConfig, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        StateFile(path).read(loaded)
    assert caught.value.where == str(path)
    assert "remove it" in caught.value.hint


def test_a_file_that_cannot_be_written_stays_as_it_was(loaded: LoadedConfig, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.mkdir()  # nothing can be renamed to it
    with pytest.raises(ConfigError) as caught:
        StateFile(path).write(changed(loaded))
    assert caught.value.where == str(path)
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]
