"""Two parties whose features come from one feature service over HTTP, made by `spi_app`."""

from __future__ import annotations

import socket
import threading

import pytest
import uvicorn

from sfs_core.spi import spi_app
from tests.support.same_scores import columns_of, two_parties

IDS, COLUMNS = columns_of()
ROW = {id_: i for i, id_ in enumerate(IDS)}


def fetch(ids, fields, context):
    """Columns of the ids that are known; bob has no row of u1."""
    own = COLUMNS[context.party]
    known = [id_ in ROW and (context.party, id_) != ("bob", "u1") for id_ in ids]
    context.missing.extend(not each for each in known)
    context.answer_headers[f"from-{context.party}"] = context.headers.get("x-tenant", "")
    context.answer_headers["sfs-unscored-rows"] = "0"  # nothing that a service may say for a party
    context.answer_headers["sfs-unknown-model"] = "1"
    rows = [ROW[id_] for id_, is_known in zip(ids, known, strict=True) if is_known]
    return {field.name: [own[field.name][row] for row in rows] for field in fields}


@pytest.fixture(scope="module")
def endpoint():
    server = uvicorn.Server(uvicorn.Config(spi_app(fetch), log_level="error", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield "{}:{}/BatchFeatureService/BatchFetchFeature".format(*listener.getsockname())
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module", params=["error", "per_row"])
def parties(request, endpoint, tmp_path_factory):
    features = {"source": {"name": "http", "endpoint": endpoint, "timeout": 60}, "missing": request.param}
    with two_parties(tmp_path_factory.mktemp(request.param), IDS, COLUMNS, lambda _: features) as running:
        yield running


def test_scores_are_those_of_csv(parties):
    ids = [id_ for id_ in parties.ids if id_ != "u1"]
    parties.assert_same_scores(ids)


def test_header_entries_go_through_but_not_ours(parties):
    answer = parties.ask("other", ["u5", "u2"], **{"x-tenant": "t1", "sfs-model": "x", "sfs-per-row": "1"})
    assert answer.json()["header"]["data"] == {"from-alice": "t1", "from-bob": "t1"}
    assert parties.scores("other", ["u5", "u2"]) == pytest.approx(parties.scores("csv", ["u5", "u2"]), rel=1e-12)


@pytest.mark.parametrize("asked", ["alice", "bob"])
def test_rows_that_one_party_or_both_lack(parties, asked):
    ids = ["u5", "u1", "s3cret", "u2"]
    answer = parties.ask("other", ids, asked)
    if parties.files.configs["alice"]["services"][1]["features"]["missing"] == "error":
        assert answer.code in {4, 103}  # 4: the peer's failure was first
        assert "s3cret" not in answer.message
        return
    rows = [[score["value"] for score in row["scores"]] for row in answer.json()["results"]]
    first, last = parties.scores("csv", ["u5", "u2"])
    assert rows == [[pytest.approx(first, rel=1e-12)], [], [], [pytest.approx(last, rel=1e-12)]]
    assert answer.json()["header"]["data"]["sfs-unscored-rows"] == "1,2"
