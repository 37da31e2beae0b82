"""`sfs spi`, as people run it: serving what they have, and judging it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfs_core.spi import openapi_document
from tests.cli.sfs import sfs_here
from tests.support.clusters import linear_files, write_csv
from tests.support.in_process import serving_here
from tests.support.processes import SFS, wait_for
from tests.support.same_scores import TwoParties

from .conftest import FIELDS, IDS, TABLE, good_answer, serving

COLUMNS = {name: [TABLE[id_][name] for id_ in IDS] for name in FIELDS}


@contextmanager
def spi_serve(*arguments: object, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of a running `sfs spi serve`."""
    log = folder / f"spi-{len(list(folder.glob('spi-*.log')))}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [SFS, "spi", "serve", *map(str, arguments), "--port", "0"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        ready = wait_for(
            lambda: re.search(r"post to (\S+)", log.read_text()) or process.poll() is not None, "the service"
        )
        assert not isinstance(ready, bool), log.read_text()
        yield ready[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()
        assert "Traceback" not in log.read_text()
        assert not any(id_ in log.read_text() for id_ in ("u10", "u11"))
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def probe_file(probe: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(probe))
    return path


def targets(folder: Path) -> dict[str, list[object]]:
    """The same table in every form that can be served."""
    table = write_csv(folder / "table.csv", IDS, COLUMNS)
    parquet = pa.table({"id": IDS, **COLUMNS}).set_column(1, "age", pa.array(COLUMNS["age"], pa.int16()))
    pq.write_table(parquet, folder / "table.parquet")
    with sqlite3.connect(folder / "table.db") as database:
        database.execute("create table people (id text, age integer, rate real, name text)")
        rows = [(id_, *TABLE[id_].values()) for id_ in IDS]
        database.executemany("insert into people values (?, ?, ?, ?)", rows)
    database.close()
    config = linear_files(folder, IDS, {"alice": {"age": COLUMNS["age"]}, "bob": {"rate": COLUMNS["rate"]}})
    config.configs["alice"]["services"][0]["features"]["source"]["path"] = str(table)
    return {
        "parquet": [folder / "table.parquet"],
        "sql": [f"sqlite:///{folder}/table.db", "--table", "people"],
        "config": [config.write("alice")],
    }


@pytest.mark.parametrize("form", ["parquet", "sql", "config"])
def test_what_is_served_passes_the_judge(form: str, tmp_path: Path, probe_file: Path) -> None:
    with spi_serve(*targets(tmp_path)[form], folder=tmp_path) as url:
        result = sfs_here("spi", "check", url, "--config", probe_file)
    assert result.returncode == 0, result.stdout
    assert "fail" not in result.stdout
    assert "not judged" not in result.stdout  # the rows that there are come with marks of those that are not
    assert "rows/s" in result.stdout


def test_tokens(probe: dict[str, Any], tmp_path: Path) -> None:
    table = write_csv(tmp_path / "table.csv", IDS, COLUMNS)
    path = tmp_path / "probe.json"
    with spi_serve(table, folder=tmp_path, environment={"SFS_SPI_TOKEN": "t0ken"}) as url:
        for token, code in (("t0ken", 0), ("other", 1)):
            path.write_text(json.dumps(probe | {"http_headers": {"Authorization": f"Bearer {token}"}}))
            result = sfs_here("spi", "check", url, "--config", path)
            assert result.returncode == code
            assert ("status.code 16" in result.stdout) == (code == 1)


def test_verdicts_as_json(probe_file: Path) -> None:
    with serving(lambda asked: (500, b"") if asked is None else good_answer(asked)) as url:
        result = sfs_here("spi", "check", url, "--config", probe_file, "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert not report["passed"]
    assert [each["rule"] for each in report["verdicts"] if each["outcome"] == "fail"] == ["malformed"]
    assert report["latencies"][0]["rows"] == 1


def test_probes_and_targets_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text("features: {age: FIELD_INT}\nids: [u1]\ntimout: 5\n")
    result = sfs_here("spi", "check", "http://127.0.0.1:9", "--config", path)
    assert result.returncode == 1
    for place in (f"{path}:1 features.age", f"{path}:2 ids", f"{path}:3 timout"):
        assert place in result.stderr
    for target in (tmp_path / "none.csv", tmp_path / "none.yaml", "sqlite:///x.db"):
        assert sfs_here("spi", "serve", target).returncode == 2
    (tmp_path / "bad.parquet").write_bytes(b"no Parquet")
    assert "cannot be read as Parquet" in sfs_here("spi", "serve", tmp_path / "bad.parquet").stderr


@pytest.mark.parametrize(("ids", "text"), [(["a", "a"], "twice"), (["a", None], "none"), ([1, 2], "'id'")])
def test_parquet_files_that_cannot_be_served(ids: list[Any], text: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"key" if text == "'id'" else "id": ids}), tmp_path / "table.parquet")
    result = sfs_here("spi", "serve", tmp_path / "table.parquet")
    assert result.returncode == 1
    assert text in result.stderr


def test_the_openapi_document_is_printed() -> None:
    assert sfs_here("spi", "openapi").stdout == openapi_document().decode() + "\n"


def test_two_parties_whose_features_are_served(tmp_path: Path) -> None:
    columns = {
        "alice": {"age": [0.1 * i for i in range(12)], "debt": [7.0 / (i + 1) for i in range(12)]},
        "bob": {"rate": [1.5**i for i in range(12)]},
    }
    files = linear_files(tmp_path, IDS, columns)
    asked = [IDS[i] for i in (7, 3, 11, 3, *range(12))]
    rows = zip(*columns["alice"].values(), *columns["bob"].values(), strict=True)
    expected = dict(zip(IDS, (0.5 + sum(row) for row in rows), strict=True))
    with (
        spi_serve(files.write("alice"), folder=tmp_path) as alice,
        spi_serve(tmp_path / "bob.csv", folder=tmp_path) as bob,
    ):
        for party, url in (("alice", alice), ("bob", bob)):
            source = {"name": "http", "endpoint": url, "timeout": 60, "connect_timeout": 60}
            files.configs[party]["services"][0]["features"]["source"] = source
        with serving_here(files):
            parties = TwoParties(files, IDS)
            assert parties.scores("linear", asked) == pytest.approx([expected[id_] for id_ in asked], rel=1e-12)
            assert parties.ask("linear", ["nobody"]).code in {4, 103}  # 4: the peer's failure was first


def test_what_cannot_be_served_is_said_at_once(tmp_path: Path) -> None:
    twice = tmp_path / "twice.csv"
    twice.write_text("id,age\nu1,1\nu1,2\n")
    result = sfs_here("spi", "serve", twice, "--port", "0")
    assert result.returncode == 1
    assert "have the id of another row: lines 2 and 3" in result.stderr
    result = sfs_here("spi", "serve", twice, "--id-column", "customer", "--port", "0")
    assert "the file has no column 'customer'" in result.stderr
    config = linear_files(tmp_path, ["a"], {"alice": {"x": [1.0]}, "bob": {"y": [1.0]}})
    config.configs["alice"]["services"][0]["features"]["source"]["name"] = "streaming"
    result = sfs_here("spi", "serve", config.write("alice"), "--port", "0")
    assert "rows in their order" in result.stderr
    assert "ready" not in result.stdout
