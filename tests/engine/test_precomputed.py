"""What the first execution makes of a row, remembered: the same tables come out, and only what may be is kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import (
    Batch,
    ComputeContext,
    FeatureContext,
    FeatureError,
    FeatureQuery,
    FeatureResult,
    FeatureSource,
    Operator,
    PluginConfig,
    Schema,
)
from sfs_core.codec.execution import ExecuteCall, ExecuteReply
from sfs_core.engine.executor import Executor
from sfs_core.engine.features import FeatureLookup
from sfs_core.engine.joined import JoinedSource
from sfs_core.engine.missing import leave_out
from sfs_core.engine.precomputed import PrecomputedRows
from sfs_core.engine.sources import PolicySource, Source
from sfs_core.model.builder import GraphBuilder
from sfs_core.model.graph import Dispatch
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.model.validation import CheckedGraph, check_graph
from tests.cli.sfs import sfs
from tests.support.clusters import exchange, linear_files, registry

NAMES = [f"x{i}" for i in range(4)]
PARTIES = ["alice", "bob"]
PLENTY = 1 << 20
X = Schema([("x0", pa.float64())])
TREES = [
    Tree([1, -1, -1], [2, -1, -1], ["x0", "", ""], [3.0, 0, 0], [0, 1.0, 2.0]),
    Tree([1, -1, -1], [2, -1, -1], ["y", "", ""], [0.0, 0, 0], [0, 1.0, 2.0]),
    Tree(
        [2 * i + 1 if i < 15 else -1 for i in range(31)],
        [2 * i + 2 if i < 15 else -1 for i in range(31)],
        [NAMES[i % 4] for i in range(31)],
        [i / 2 for i in range(31)],
        [float(i) for i in range(31)],
    ),
]


class Static(FeatureSource):
    """Whole numbers that follow from id and column; lacks ids with a `-`."""

    blocking = False
    static = True

    def __init__(self, schema: Schema, headers: Mapping[str, str] | None = None) -> None:
        context = FeatureContext("svc", "alice", logging.getLogger("test"), Path(), schema, None, True)  # type: ignore[arg-type]
        super().__init__(PluginConfig(), context)
        self.headers = headers or {}
        self.asked = 0

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        self.asked += 1
        there = [id_ for id_ in query.ids if "-" not in id_]
        rows = [tuple(float(int(id_) * 7 % 16 + len(name)) for name in self.schema.names) for id_ in there]
        return FeatureResult(Batch.from_rows(self.schema, rows), self.headers, ["-" in id_ for id_ in query.ids])


class Listed(Static):
    """The same, but it tells its ids; with the row of `refused` something is wrong."""

    refused = ""

    def ids(self) -> Collection[str]:
        return ["1", "2", "-6", "3", "4", "5"]

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        if self.refused in query.ids:
            raise FeatureError("a row holds something else")
        return super().fetch_rows(query)


class Later(Static):
    """The same, but it waits."""

    async def fetch_rows(self, query: FeatureQuery) -> FeatureResult:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().fetch_rows(query)


class Chance(Operator, name="CHANCE", version="1", inputs=["x"], output="x", returnable=True, mergeable=True):
    """Does not say that it works row by row."""

    def input_schemas(self) -> list[Schema]:
        return [X]

    def output_schema(self) -> Schema:
        return X

    def compute(self, context: ComputeContext, *inputs: Any) -> Batch:
        raise NotImplementedError


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def linear() -> CheckedGraph:
    weights = {"alice": dict.fromkeys(NAMES, 0.5), "bob": {"y": 1.0}}
    operator = registry().operator
    return check_graph(split_linear(operator, weights, label_holder="alice")["alice"], operator)


def trees() -> CheckedGraph:
    operator = registry().operator
    owner = dict.fromkeys(NAMES, "alice") | {"y": "bob"}
    return check_graph(split_trees(operator, TREES, owner, parties=PARTIES, label_holder="bob")["alice"], operator)


def executor(checked: CheckedGraph, source: Source, pool: ThreadPoolExecutor, max_bytes: int = PLENTY) -> Executor:
    made = Executor("alice", PARTIES, checked, FeatureLookup(checked.feature_schema, {}, source), pool, max_bytes)
    made.per_row_parties = frozenset(PARTIES)
    return made


def run(executor: Executor, ids: Sequence[str], **more: Any) -> ExecuteReply:
    async def answer() -> ExecuteReply:
        reply = executor.execute(ExecuteCall("svc", "bob", ids=list(ids), per_row=True, **more))
        return reply if isinstance(reply, ExecuteReply) else await reply

    return asyncio.run(answer())


def shown(reply: ExecuteReply) -> Any:
    tables = {name: table.to_arrow() for name, table in reply.outputs.items()}
    return tables, dict(reply.headers), reply.missing and list(reply.missing)


def joined(schema: Schema) -> JoinedSource:
    fields = list(zip(schema.names, schema.types, strict=True))
    return JoinedSource(schema, [Static(Schema(fields[:1])), Later(Schema(fields[1:]))])


queries = st.lists(st.lists(st.sampled_from(["1", "2", "3", "4", "5", "-6"]), min_size=1, max_size=12), max_size=6)


@pytest.mark.parametrize("model", [linear, trees])
@pytest.mark.parametrize("source", [Static, Later, joined])
def test_the_same_tables_come_out(model: Any, source: Any, pool: ThreadPoolExecutor) -> None:
    checked = model()

    @given(queries, st.sampled_from([700, PLENTY]))
    def check(asked: list[list[str]], max_bytes: int) -> None:
        made = PolicySource(source(checked.feature_schema), leave_out)
        fresh = executor(checked, made, pool, 0)
        remembering = executor(checked, made, pool, max_bytes)
        assert remembering.precomputed is not None
        for ids in asked:
            assert shown(run(remembering, ids)) == shown(run(fresh, ids))
            assert remembering.precomputed.size <= max_bytes

    check()


@pytest.mark.parametrize("model", [linear, trees])
def test_known_rows_are_not_fetched_again_whoever_asks(model: Any, pool: ThreadPoolExecutor) -> None:
    checked = model()
    source = Static(checked.feature_schema)
    remembering = executor(checked, source, pool)
    run(remembering, ["1", "2", "3"])
    run(remembering, ["3", "1", "1"], context="other", headers={"x-tenant": "other"})
    assert source.asked == 1
    assert remembering.precomputed is not None
    assert (remembering.precomputed.hits, len(remembering.precomputed)) == (1, 3)


def listed(schema: Schema) -> JoinedSource:
    fields = list(zip(schema.names, schema.types, strict=True))
    return JoinedSource(schema, [Listed(Schema(fields[:1])), Listed(Schema(fields[1:]))])


@pytest.mark.parametrize("model", [linear, trees])
@pytest.mark.parametrize("source", [Listed, listed])
@pytest.mark.parametrize("refused", ["", "3"])
def test_rows_are_computed_ahead(
    model: Any, source: Any, refused: str, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = model()
    made = PolicySource(source(checked.feature_schema), leave_out)
    fresh, ahead = executor(checked, made, pool, 0), executor(checked, made, pool)
    expected = {id_: shown(run(fresh, [id_])) for id_ in "12345"}
    monkeypatch.setattr(Listed, "refused", refused)
    assert ahead.precompute() == 6
    assert ahead.precomputed is not None
    monkeypatch.setattr(Listed, "refused", "2")
    for id_ in set("12345") - {refused}:
        assert shown(run(ahead, [id_])) == expected[id_]
    assert ahead.precomputed.hits == len(ahead.precomputed) == 5 - bool(refused)
    assert run(ahead, ["1", "-6"]).missing == [False, True]


def test_no_more_is_computed_ahead_than_there_is_memory_for(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listed, "ids", lambda self: [str(i) for i in range(10_000)])
    checked = linear()
    source = Listed(checked.feature_schema)
    ahead = executor(checked, source, pool, 700)
    assert ahead.precompute() == 10_000
    assert ahead.precomputed is not None
    assert 0 < ahead.precomputed.size <= 700
    assert source.asked == 1


@pytest.mark.parametrize("source", [Static, joined])
def test_nothing_is_computed_ahead_of_sources_that_tell_no_ids(source: Any, pool: ThreadPoolExecutor) -> None:
    checked = linear()
    ahead = executor(checked, source(checked.feature_schema), pool)
    assert ahead.precompute() == len(ahead.precomputed or ()) == 0


def test_missing_rows_and_rows_with_header_entries_are_not_kept(pool: ThreadPoolExecutor) -> None:
    checked = linear()
    remembering = executor(checked, Static(checked.feature_schema), pool)
    assert run(remembering, ["1", "-6"]).missing == [False, True]
    tagged = executor(checked, Static(checked.feature_schema, {"from": "service"}), pool)
    assert run(tagged, ["1"]).headers == run(tagged, ["1"]).headers == {"from": "service"}
    assert [len(each.precomputed or ()) for each in (remembering, tagged)] == [0, 0]


def test_the_oldest_rows_make_room() -> None:
    memory = PrecomputedRows({"n": X}, 1000)
    for i in range(100):
        memory.learn([str(i)], {"n": Batch.from_rows(X, [(float(i),)])})
    assert 0 < memory.size <= 1000
    assert memory.find(["0"]) is None
    found = memory.find(["99", "98"])
    assert found is not None
    assert found["n"].rows() == [(99.0,), (98.0,)]
    PrecomputedRows({"n": X}, 10).learn(["1"], {"n": Batch.from_rows(X, [(1.0,)])})  # not one fits


def test_an_operator_must_say_that_it_works_row_by_row(pool: ThreadPoolExecutor) -> None:
    operators = {"CHANCE": Chance}
    built = GraphBuilder(operators.__getitem__).add_node("a", "CHANCE").begin_execution(Dispatch.ANYONE)
    checked = check_graph(built.add_node("b", "CHANCE", parents=["a"]).build(), operators.__getitem__)
    assert executor(checked, Static(X), pool).precomputed is None


def test_errors_are_those_of_the_request(pool: ThreadPoolExecutor) -> None:
    checked = linear()
    remembering = executor(checked, Static(checked.feature_schema), pool)
    run(remembering, ["1"])
    remembering.per_row_parties = frozenset()
    with pytest.raises(
        FeatureError, match=r"1 of 2 ids have no row at this party \(their places in the query, from 0: 1"
    ):
        run(remembering, ["1", "-6"])


def test_servers_precompute_where_a_config_asks_for_it(tmp_path: Path) -> None:
    files = linear_files(tmp_path, ["a", "b"], {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [10.0, 20.0]}})
    for party, at in zip(PARTIES, ["load", "first_use"], strict=True):
        files.configs[party]["services"][0]["features"]["precompute"] = {"max_memory": 1 << 20, "at": at}
    body = {"service_spec": {"id": "linear"}, "fs_params": {p: {"query_datas": ["b", "a"]} for p in PARTIES}}
    with files.running() as parties:
        answers = [
            exchange(files.service_port("alice"), "/PredictionService/Predict", json.dumps(body).encode()).json()
            for _ in range(2)
        ]
    assert [[row["scores"][0]["value"] for row in answer["results"]] for answer in answers] == [[22.5, 11.5]] * 2
    assert all("precomputed" not in party.log.read_text() for party in parties.values())
    ahead = ["2 of 2 rows computed ahead" in parties[party].log.read_text() for party in PARTIES]
    assert ahead == [True, False]


def test_a_source_must_say_that_its_rows_never_change(tmp_path: Path) -> None:
    files = linear_files(tmp_path, ["a"], {"alice": {"x": [1.0]}, "bob": {"y": [10.0]}})
    features = files.configs["alice"]["services"][0]["features"]
    features |= {"source": {"name": "mock"}, "precompute": {}}
    result = sfs("check", str(files.write("alice")))
    assert result.returncode != 0
    assert "features.precompute: a source does not say that its rows never change" in result.stdout + result.stderr
