"""Rows that a party lacks, over real servers: what callers get, who learns what, and what other policies do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sfs_core.link.rpc import CallInfo
from sfs_core.proto import apis_pb2
from sfs_core.server.execute import ExecuteHandler
from tests.cli.sfs import sfs, sfs_here
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files, write_csv
from tests.support.in_process import serving_here
from tests.support.processes import Party

IDS = ["a", "b", "c", "d"]
COLUMNS = {"alice": {"x": [1.0, 2.0, 3.0, 4.0]}, "bob": {"y": [10.0, 20.0, 30.0, 40.0]}}
JSON = {"Content-Type": "application/json"}


def files_without(folder: Path, policies: Mapping[str, Any]) -> ClusterFiles:
    """The sum of x and y plus 0.5; alice has no row of b, bob none of c and no value in d."""
    files = linear_files(folder, IDS, COLUMNS)
    write_csv(folder / "alice.csv", ["a", "c", "d"], {"x": [1.0, 3.0, 4.0]})
    write_csv(folder / "bob.csv", ["a", "b", "d"], {"y": [10.0, 20.0, ""]})
    for party, policy in policies.items():
        files.configs[party]["services"][0]["features"] |= policy
    return files


def ask(files: ClusterFiles, party: str, ids: Any, path: str = "/PredictionService/Predict", trace: str = "") -> Answer:
    ids = ids if isinstance(ids, dict) else dict.fromkeys(COLUMNS, ids)
    entries = {"sfs-per-row": "1"} | ({"X-B3-TraceId": trace, "X-B3-SpanId": trace[:16]} if trace else {})
    body: dict[str, Any] = {"service_spec": {"id": "linear"}, "header": {"data": entries}}
    body["fs_params"] = {each: {"query_datas": own} for each, own in ids.items()}
    return exchange(files.service_port(party), path, json.dumps(body).encode(), headers=JSON)


def scores(answer: Answer) -> list[float | None]:
    return [row["scores"][0]["value"] if row["scores"] else None for row in answer.json()["results"]]


@pytest.fixture(scope="module")
def per_row(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFiles]:
    policy = {"missing": "per_row"}
    files = files_without(tmp_path_factory.mktemp("per_row"), dict.fromkeys(COLUMNS, policy))
    with serving_here(files):
        yield files


@pytest.mark.parametrize("party", COLUMNS)
def test_the_other_rows_are_scored_and_nobody_says_who_lacks_one(per_row: ClusterFiles, party: str) -> None:
    answer = ask(per_row, party, IDS)
    assert (answer.code, answer.message) == (1, "")
    assert scores(answer) == [11.5, None, None, None]
    assert answer.json()["header"]["data"] == {"sfs-unscored-rows": "1,2,3"}
    alone = [ask(per_row, party, [id_]).json() for id_ in "bcd"]
    assert alone[0]["results"] == [{"scores": []}]
    assert alone[0] == alone[1] == alone[2]
    assert scores(ask(per_row, party, ["a", "a"])) == [11.5, 11.5]


def test_the_answer_as_a_message(per_row: ClusterFiles) -> None:
    request = apis_pb2.PredictRequest()
    request.service_spec.id = "linear"
    for party in COLUMNS:
        request.fs_params[party].query_datas.extend(["c", "a", "b"])
    body = request.SerializeToString()
    answer = exchange(
        per_row.service_port("alice"),
        "/PredictionService/Predict",
        body,
        headers={"Content-Type": "application/proto"},
    )
    message = apis_pb2.PredictResponse.FromString(answer.body)
    assert [[score.value for score in row.scores] for row in message.results] == [[], [11.5], []]


def test_the_command_leaves_cells_empty(per_row: ClusterFiles) -> None:
    result = sfs_here("predict", per_row.paths["alice"], "b", "a", "c")
    assert result.stdout.split() == ["id,score", "b,", "a,11.5", "c,"]
    assert "2 of 3 ids have no scores" in result.stderr
    assert sfs_here("predict", per_row.paths["alice"], "b", "c").stdout.split() == ["id", "b", "c"]


def test_a_requester_that_did_not_announce_it_gets_an_error(per_row: ClusterFiles) -> None:
    """As one that runs the reference, whatever its callers put into headers."""
    request = apis_pb2.ExecuteRequest(requester_id="bob")
    request.service_spec.id = "linear"
    request.feature_source.type = apis_pb2.FS_SERVICE
    request.feature_source.fs_param.query_datas.extend(["a", "b"])
    port = per_row.communication_port("alice")
    headers = {"Content-Type": "application/proto"}

    def status() -> Any:
        answer = exchange(port, "/ExecutionService/Execute", request.SerializeToString(), headers=headers)
        return apis_pb2.ExecuteResponse.FromString(answer.body)

    assert status().status.code == 3
    request.header.data["sfs-per-row"] = "1"
    assert dict(status().header.data) == {"sfs-missing-rows": "01"}


@pytest.mark.parametrize("protocol", ["baidu_std", "http", "http:proto", "h2:grpc"])
def test_what_the_other_party_gets_does_not_depend_on_which_rows_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Nor does what the caller gets depend on who lacks them: with joined and cached sources, and precomputed rows."""
    columns = {"alice": {"x": [1.0, 2.0], "z": [100.0, 200.0]}, "bob": {"y": [10.0, 20.0]}}
    files = linear_files(tmp_path, ["a", "c"], columns, link={"protocol": protocol})
    ages = write_csv(tmp_path / "ages.csv", IDS[:3], {"x": [1.0, 5.0, 2.0]})
    incomes = write_csv(tmp_path / "incomes.csv", ["a", "c"], {"z": [100.0, 200.0]})
    alice, bob = (files.configs[party]["services"][0]["features"] for party in columns)
    del alice["source"]
    alice |= {"missing": "per_row", "cache": {"ttl": "1 min", "missing_ttl": 60}}
    alice["sources"] = [
        {"source": {"name": "csv", "path": str(ages)}, "features": ["x"]},
        {"source": {"name": "csv", "path": str(incomes)}},
    ]
    bob |= {"missing": "per_row", "precompute": {}}
    calls: list[bytes] = []
    execute = ExecuteHandler.__call__

    def recorded(self: ExecuteHandler, body: bytes, info: CallInfo) -> Any:
        calls.append(body)
        return execute(self, body, info)

    monkeypatch.setattr(ExecuteHandler, "__call__", recorded)
    with serving_here(files):
        for requester, other in (("alice", "bob"), ("bob", "alice")):
            answers, sent = [], []
            for lacking in ([], [requester], [other], [requester, other]):
                for _ in range(2):  # the second time from the cache, and from what was precomputed
                    calls.clear()
                    ids = {party: ["a", "b" if party in lacking else "c"] for party in columns}
                    answer = ask(files, requester, ids, trace="0af7651916cd43dd8448eb211c80319c")
                    assert scores(answer) == [111.5, None if lacking else 222.5]
                    answers.append(answer.body)
                    (body,) = calls
                    sent.append((other in lacking, body))
            assert len(set(answers[2:])) == 1
            for asked_for_b in (False, True):
                bodies = [body for with_b, body in sent if with_b is asked_for_b]
                assert len(bodies) == 4
                assert len(set(map(sorted_bytes, bodies))) == 1


def sorted_bytes(body: bytes) -> bytes:
    """Whatever the order in which a map was written."""
    return bytes(sorted(body))


@pytest.mark.parametrize("policy", [{}, {"missing": "default", "defaults": {"y": 0.25}}])
def test_parties_that_differ_in_policy(tmp_path: Path, policy: Mapping[str, Any]) -> None:
    files = files_without(tmp_path, {"alice": {"missing": "per_row"}, "bob": policy})
    if not policy:  # such a party refuses a file with empty cells
        write_csv(tmp_path / "bob.csv", ["a", "b"], {"y": [10.0, 20.0]})
    with serving_here(files):
        for party in COLUMNS:
            answer = ask(files, party, ["a", "b"])
            if party == "alice":  # lacks the row herself: that needs nobody's agreement
                assert scores(answer) == [11.5, None]
            else:
                assert answer.code == 4
                assert "1 of 2 ids have no row at this party" in answer.message
            answer = ask(files, party, ["a", "c"])
            if policy:
                assert scores(answer) == [11.5, 3.75]
                assert scores(ask(files, party, ["d", "a", "c"])) == [4.75, 11.5, 3.75]
            else:
                assert answer.code in (3, 4)
                assert "1 of 2 ids have no row at this party" in answer.message


def test_default_values_are_checked_at_load(tmp_path: Path) -> None:
    for defaults, message in (
        ({}, "1 feature(s) of the model have no default, 'x' is one"),
        ({"x": "much"}, "the default of feature 'x' is no double"),
    ):
        files = files_without(tmp_path, {"alice": {"missing": "default", "defaults": defaults}})
        result = sfs_here("check", files.write("alice"))
        assert result.returncode == 1
        assert message in result.stderr


def test_bulk_scoring_leaves_cells_empty(tmp_path: Path) -> None:
    files = files_without(tmp_path, {party: {"missing": "per_row"} for party in COLUMNS})
    write_csv(tmp_path / "alice.csv", IDS, {"x": [1.0, "", 3.0, 4.0]})
    write_csv(tmp_path / "bob.csv", IDS, {"y": [10.0, 20.0, 30.0, ""]})
    for party in COLUMNS:
        source = {"name": "streaming", "path": str(tmp_path / f"{party}.csv")}
        files.configs[party]["services"][0]["features"]["source"] = source
    paths = {party: files.write(party) for party in COLUMNS}
    helper = Party(paths["bob"], files.service_port("bob"), ("--bulk-requester", "alice"))
    try:
        result = sfs("bulk", paths["alice"], tmp_path / "scores.csv", "--block-rows", "2")
        assert result.returncode == 0, result.stderr
    finally:
        helper.stop()
    assert (tmp_path / "scores.csv").read_text().split() == ["score", "11.5", '""', "33.5", '""']


def test_several_sources_with_a_cache_and_defaults(tmp_path: Path) -> None:
    """Alice's features come from two files; what one of them lacks is filled in."""
    columns = {"alice": {"x": [1.0, 2.0], "z": [100.0, 200.0]}, "bob": {"y": [10.0, 20.0]}}
    files = linear_files(tmp_path, IDS[:2], columns)
    ages = write_csv(tmp_path / "x.csv", ["a", "b"], {"x": [1.0, 2.0]})
    incomes = write_csv(tmp_path / "z.csv", ["b"], {"other": [0], "z": [200.0]})
    features = files.configs["alice"]["services"][0]["features"]
    del features["source"]
    features |= {
        "missing": "default",
        "defaults": {"x": 0.0, "z": 0.5},
        "cache": {"ttl": "1 min", "missing_ttl": 60},
        "sources": [
            {"source": {"name": "csv", "path": str(incomes)}, "features": ["z"]},
            {"source": {"name": "csv", "path": str(ages)}},
        ],
    }
    with serving_here(files):
        for _ in range(2):
            assert scores(ask(files, "alice", ["a", "b"])) == [12.0, 222.5]
        assert scores(ask(files, "bob", ["b"])) == [222.5]
    features["sources"][1]["features"] = ["w"]
    result = sfs_here("check", files.write("alice"))
    assert "no source gives 1 feature(s) of the model, 'x' is one" in result.stderr
    lines = files.paths["alice"].read_text().splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if '"sources"' in text)
    assert f"alice.json:{line} features.sources" in result.stderr
    features["sources"][1]["features"] = ["x", "z"]
    result = sfs_here("check", files.write("alice"))
    assert result.returncode == 1
    assert "several sources are to give z" in result.stderr
    assert "alice.json:" in result.stderr
