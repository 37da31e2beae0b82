"""`sfs check`, on good configs and on bad ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.sfs import sfs, sfs_here
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.processes import reference_configs

COLUMNS = {"alice": {"age": [1.0]}, "bob": {"debts": [2.0], "visits": [3.0]}}


@pytest.fixture
def files(tmp_path: Path) -> ClusterFiles:
    return linear_files(tmp_path, ["a"], COLUMNS)


def test_good_configs(files: ClusterFiles) -> None:
    result = sfs("check", files.write("alice"), files.write("bob"))
    assert (result.returncode, result.stderr) == (0, "")
    counts = {"alice": 1, "bob": 2}
    assert result.stdout.splitlines() == [
        *(
            f"{files.paths[party]}: service linear: model 'linear', 2 nodes in 2 executions, "
            f"{counts[party]} features of this party"
            for party in COLUMNS
        ),
        "feature sources were not opened: --connect opens them and asks whether they are up",
        "ok",
    ]


def test_feature_sources_are_asked_too(files: ClusterFiles) -> None:
    (files.folder / "alice.csv").write_text("id,age\na,old\n")
    assert sfs_here("check", files.write("alice")).returncode == 0
    result = sfs_here("check", "--connect", files.paths["alice"], files.write("bob"))
    assert result.returncode == 1
    assert f"{files.paths['bob']}: service linear: its feature source is up" in result.stdout
    assert "were not opened" not in result.stdout
    assert "alice.csv:2" in result.stderr
    assert "'age'" in result.stderr
    assert "old" not in result.stderr


def test_a_feature_file_is_looked_for_without_connecting(files: ClusterFiles) -> None:
    (files.folder / "bob.csv").write_text("id,debts\na,1\n")
    (files.folder / "alice.csv").unlink()
    result = sfs_here("check", files.write("alice"), files.write("bob"))
    assert result.returncode == 0  # this may be another machine than the one with the data
    warnings = result.stderr.splitlines()
    for warning, told in zip(
        warnings,
        ("alice.csv: there is no such file; a server", "bob.csv:1: the file has no column 'visits'; a server"),
        strict=True,
    ):
        assert warning.startswith("warning: ")
        assert "features.source (csv)" in warning
        assert told in warning
    result = sfs_here("check", "--connect", files.write("alice"))
    assert result.returncode == 1
    assert "alice.csv: there is no such file" in result.stderr


def test_a_package_that_cannot_be_read_is_told_by_its_place(files: ClusterFiles) -> None:
    (files.folder / "alice-linear.tar.gz").write_bytes(b"no archive")
    result = sfs_here("check", files.write("alice"))
    assert result.returncode == 1
    assert "model.source.path (alice-linear.tar.gz): the package cannot be read" in result.stderr
    (files.folder / "alice-linear.tar.gz").unlink()
    result = sfs_here("check", files.paths["alice"])
    assert re.search(r"alice\.json:\d+ model\.source, .*alice-linear\.tar\.gz: there is no", result.stderr)


def test_the_reference_s_json(files: ClusterFiles, tmp_path: Path) -> None:
    packages = {party: tmp_path / f"{party}-linear.tar.gz" for party in COLUMNS}
    csv = {party: {"csvOpts": {"filePath": str(tmp_path / f"{party}.csv"), "idName": "id"}} for party in COLUMNS}
    configs = reference_configs(tmp_path, list(COLUMNS), packages, csv)
    result = sfs_here("check", *(path for path, _ in configs.values()))
    assert result.returncode == 0, result.stderr
    path = configs["alice"][0]
    config = json.loads(path.read_text())
    config["serverConf"]["servicePrt"] = 1
    path.write_text(json.dumps(config, indent=1))
    result = sfs_here("check", path)
    assert result.returncode == 1
    assert f"{path}:" in result.stderr
    assert "serverConf.servicePrt" in result.stderr
    assert "servicePort" in result.stderr


Change = Callable[[dict[str, Any]], object]
BAD: dict[str, tuple[Change, list[str]]] = {
    "missing": (lambda c: c.pop("party"), ["party"]),
    "two mistakes": (
        lambda c: c["listen"].update(communication="x", servce=1),
        ["listen.communication", "listen.servce", "service"],
    ),
    "source": (lambda c: c["services"][0]["features"]["source"].update(name="cvs"), ["features.source.name", "csv"]),
    "option": (lambda c: c["services"][0]["features"]["source"].update(pth="x"), ["pth", "path"]),
    "package": (lambda c: c["services"][0]["model"]["source"].update(path="/nowhere.tar.gz"), ["nowhere.tar.gz"]),
    "archive": (lambda c: c["services"][0]["model"]["source"].update(path=__file__), ["package"]),
    "hash": (lambda c: c["services"][0]["model"].update(sha256="0" * 64), ["sha256"]),
    "mapping": (lambda c: c["services"][0]["features"].update(mapping={"x": "age", "y": "age"}), ["mapping", "age"]),
    "protocol": (lambda c: c.update(link={"protocol": "h3"}), ["link.protocol", "baidu_std"]),
    "plugin": (lambda c: c.update(plugins={"allow": ["sfs-nothing"]}), ["plugins.allow"]),
}


def test_bad_configs_are_told_apart(files: ClusterFiles) -> None:
    """Each with its file's name and all of its problems; the good one among them is checked, too."""
    good = files.write("bob")
    bad = {}
    for name, (change, _) in BAD.items():
        config = json.loads(json.dumps(files.configs["alice"]))
        change(config)
        bad[name] = files.folder / f"{name}.json"
        bad[name].write_text(json.dumps(config, indent=1))
    result = sfs("check", *bad.values(), good)
    assert result.returncode == 1
    assert result.stdout.startswith(f"{good}: service linear")
    assert "ok" not in result.stdout.splitlines()
    told = dict(zip(BAD, result.stderr.split("error: ")[1:], strict=True))
    for name, (_, parts) in BAD.items():
        assert told[name].startswith(str(bad[name]))
        for part in parts:
            assert part in told[name].replace(str(files.folder), "")


def test_files_that_are_no_configs(tmp_path: Path) -> None:
    contents = (b"", b"[1, 2]", b"{", b"\xff\xfe\x00", b"a: [1", b"!!python/object/apply:os.getcwd []")
    paths = [tmp_path / f"bad{i}.yaml" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    result = sfs("check", *paths)
    assert (result.returncode, result.stdout) == (1, "")
    for path, told in zip(paths, result.stderr.split("error: ")[1:], strict=True):
        assert told.startswith(str(path))


@pytest.mark.parametrize("arguments", [["check"], ["check", "nowhere.yaml"], ["chekc"]])
def test_wrong_usage(arguments: list[str]) -> None:
    result = sfs_here(*arguments)
    assert result.returncode == 2
    assert "Usage: sfs" in result.stderr
