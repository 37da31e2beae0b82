"""Rows and values that a party lacks: what the policies make of them, and that nobody else's scores change."""

from __future__ import annotations

import asyncio
import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core import Batch, FeatureError, FeatureResult, Schema
from sfs_core.codec.features import Feature, FeatureField, FeatureValue
from sfs_core.codec.prediction import FeatureParam, PredictReply, PredictRequest, encode_json, encode_message
from sfs_core.engine.batcher import Batcher, Outcome
from sfs_core.engine.missing import DefaultValues, leave_out, refuse, repeated
from sfs_core.engine.predictor import Predictor
from sfs_core.model.package import write_package
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.testing import predictors
from tests.support.clusters import registry

PARTIES = ("alice", "bob", "carol")
ROWS = 16
SCHEMA = Schema([("x", pa.float64()), ("n", pa.int32()), ("t", pa.utf8())])


def is_missing(party: str, id_: str) -> bool:
    """Bits of the id say who lacks it: bit 0 alice, bit 1 bob, bit 2 carol."""
    return bool(int(id_) & (1 << PARTIES.index(party)))


def lacks_value(party: str, id_: str) -> bool:
    """Bit 3 takes a value from carol's row."""
    return party == "carol" and bool(int(id_) & 8)


# ------------------------------------------------------------------------------------------------ whole models
def linear_graphs() -> Mapping[str, Any]:
    weights = {party: {f"{party}_0": 1.5, f"{party}_1": -0.25} for party in PARTIES}
    return split_linear(registry().operator, weights, label_holder="bob", intercept=0.125)


def tree_graphs() -> Mapping[str, Any]:
    owners = {f"{party}_{i}": party for party in PARTIES for i in range(2)}
    names, chance = list(owners), random.Random(4)
    trees = [
        Tree([1, 3, -1, -1, -1], [2, 4, -1, -1, -1], [names[k], names[-k], "", "", ""],
             [chance.uniform(-1, 1), chance.uniform(-1, 1), 0, 0, 0], [0, 0, 0.5 * k, 1.0 + k, -2.0 * k])
        for k in range(1, 6)
    ]  # fmt: skip
    return split_trees(registry().operator, trees, owners, parties=PARTIES, label_holder="bob")


@pytest.fixture(scope="module", params=["linear", "trees"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Mapping[str, Predictor], Mapping[str, Predictor]]]:
    """Each party's predictor over files that lack rows, and over whole files."""
    folder: Path = tmp_path_factory.mktemp("missing")
    graphs = linear_graphs() if request.param == "linear" else tree_graphs()
    chance = random.Random(5)
    packages, partly, whole = {}, {}, {}
    for party, graph in graphs.items():
        packages[party] = folder / f"{party}.tar.gz"
        write_package(packages[party], "m", "", graph)
        rows = [[str(i), chance.gauss(0, 1), chance.gauss(0, 1)] for i in range(ROWS)]
        header = ["id", f"{party}_0", f"{party}_1"]
        there = [row for row in rows if not is_missing(party, str(row[0]))]
        cut = [[*row[:2], ""] if lacks_value(party, str(row[0])) else row for row in there]
        for name, content, sources in (("whole", rows, whole), ("partly", cut, partly)):
            path = folder / f"{party}-{name}.csv"
            with path.open("w", newline="") as file:
                csv.writer(file).writerows([header, *content])
            sources[party] = {"name": "csv", "path": str(path)}
    with ThreadPoolExecutor(2) as pool:
        yield (
            predictors(packages, partly, registry(), pool, per_row=True),
            predictors(packages, whole, registry(), pool),
        )


def request(ids: Mapping[str, Sequence[str]]) -> PredictRequest:
    return PredictRequest.of("svc", {party: FeatureParam(list(own)) for party, own in ids.items()})


def expected(reference: Predictor, ids: Mapping[str, Sequence[str]]) -> list[float | None]:
    """Scores of whole files, None where a party lacks the row."""
    scores = asyncio.run(reference.predict(request(ids))).scores
    assert scores is not None
    gone = [
        any(is_missing(party, own[i]) or lacks_value(party, own[i]) for party, own in ids.items())
        for i in range(scores.num_rows)
    ]
    return [None if lost else score for lost, score in zip(gone, scores.float64(0).tolist(), strict=True)]


def found(outcome: Outcome) -> list[float | None]:
    assert isinstance(outcome, PredictReply), outcome
    assert outcome.scores is not None
    scores = iter(outcome.scores.float64(0).tolist())
    missing = outcome.missing or [False] * outcome.scores.num_rows
    values = [None if is_lost else next(scores) for is_lost in missing]
    assert next(scores, None) is None
    return values


def assert_close(left: Sequence[float | None], right: Sequence[float | None]) -> None:
    assert [value is None for value in left] == [value is None for value in right]
    assert [v for v in left if v is not None] == pytest.approx([v for v in right if v is not None], rel=1e-12)


rows = st.tuples(*[st.integers(0, ROWS - 1).map(str)] * 3)
asked = st.lists(rows, min_size=1, max_size=6).map(
    lambda them: dict(zip(PARTIES, zip(*them, strict=True), strict=True))
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PARTIES), st.lists(asked, min_size=1, max_size=5), st.booleans())
def test_joined_or_alone_everybody_gets_the_scores_of_the_rows_that_are_there(
    models: tuple[Mapping[str, Predictor], Mapping[str, Predictor]],
    requester: str,
    requests: list[dict[str, tuple[str, ...]]],
    join: bool,
) -> None:
    partly, whole = models

    async def ask() -> list[Outcome]:
        batcher = Batcher(partly[requester], max_rows=20, join=join)
        futures: list[asyncio.Future[Outcome]] = []
        for ids in requests:
            futures.append(asyncio.get_running_loop().create_future())
            batcher.submit(request(ids), futures[-1].set_result)
        return list(await asyncio.gather(*futures))

    for ids, outcome in zip(requests, asyncio.run(ask()), strict=True):
        assert_close(found(outcome), expected(whole[requester], ids))


async def test_sent_features_have_no_missing_rows(
    models: tuple[Mapping[str, Predictor], Mapping[str, Predictor]],
) -> None:
    asked_for = request({"bob": ["0", "2"], "carol": ["0", "8"]})
    asked_for.predefined_features = [
        Feature(FeatureField(f"alice_{i}", "FIELD_DOUBLE"), FeatureValue(ds=[1.0, 2.0])) for i in range(2)
    ]
    partly, whole = models
    reply = await partly["alice"].predict(asked_for)
    complete = (await whole["alice"].predict(asked_for)).scores
    assert complete is not None
    assert_close(found(reply), [complete.float64(0)[0], None])


@pytest.mark.parametrize(("lacking", "id_"), [("alice", "1"), ("bob", "2")])
async def test_only_who_may_learn_of_missing_rows_does(
    models: tuple[Mapping[str, Predictor], Mapping[str, Predictor]], lacking: str, id_: str
) -> None:
    executor = models[0][lacking]._executor
    allowed, executor.per_row_parties = executor.per_row_parties, frozenset()
    try:
        with pytest.raises(FeatureError, match=r"1 of 2 ids have no row at this party \(.*: 1\)"):
            await models[0]["alice"].predict(request(dict.fromkeys(PARTIES, ("0", id_))))
    finally:
        executor.per_row_parties = allowed


# ------------------------------------------------------------------------------------------------- the answer
def reply(missing: Sequence[bool]) -> PredictReply:
    schema = Schema([("score", pa.float64())])
    scores = Batch.from_rows(schema, [(float(i),) for i, is_lost in enumerate(missing) if not is_lost])
    return PredictReply("svc", scores, headers={"x": "y"}, missing=missing)


@given(st.lists(st.booleans(), min_size=1, max_size=8).filter(any))
def test_the_answer_keeps_every_row_in_its_place(missing: list[bool]) -> None:
    written = orjson.loads(encode_json(reply(missing)))
    places = [float(i) for i in range(len(missing))]
    wanted = [None if is_lost else place for place, is_lost in zip(places, missing, strict=True)]
    assert [row["scores"][0]["value"] if row["scores"] else None for row in written["results"]] == wanted
    lost = ",".join(str(i) for i, is_lost in enumerate(missing) if is_lost)
    assert written["header"]["data"] == {"x": "y", "sfs-unscored-rows": lost}
    message = encode_message(reply(missing))
    assert [row.scores[0].value if row.scores else None for row in message.results] == wanted
    assert dict(message.header.data) == written["header"]["data"]


# -------------------------------------------------------------------------------------------------- policies
values = st.tuples(
    st.one_of(st.none(), st.floats(allow_nan=False)), st.one_of(st.none(), st.integers(-5, 5)), st.sampled_from("ab")
)
DEFAULTS = {"x": -1.5, "n": 7, "t": "none"}


@given(st.lists(st.one_of(st.none(), values), min_size=1, max_size=8), st.booleans())
def test_policies_on_any_rows(rows: list[tuple[Any, ...] | None], keeps_nulls: bool) -> None:
    def result() -> FeatureResult:
        batch = Batch.from_rows(SCHEMA, [row for row in rows if row is not None])
        return FeatureResult(batch, missing=[row is None for row in rows] if None in rows else None)

    filled = DefaultValues(SCHEMA, DEFAULTS)(result(), keeps_nulls)
    wanted = [
        tuple(DEFAULTS.values())
        if row is None
        else tuple(d if v is None and not keeps_nulls else v for v, d in zip(row, DEFAULTS.values(), strict=True))
        for row in rows
    ]
    assert filled.missing is None
    assert [tuple(row.values()) for row in filled.batch.to_arrow().to_pylist()] == wanted

    lost = [row is None or (None in row and not keeps_nulls) for row in rows]
    left = leave_out(result(), keeps_nulls)
    assert list(left.missing or [False] * len(rows)) == lost
    kept = [row for row, is_lost in zip(rows, lost, strict=True) if not is_lost]
    assert [tuple(row.values()) for row in left.batch.to_arrow().to_pylist()] == kept
    if left.missing is not None and kept:
        everywhere = repeated(left.batch, left.missing).to_arrow().to_pylist()
        there = iter(kept)
        assert [tuple(r.values()) for r in everywhere] == [kept[0] if is_lost else next(there) for is_lost in lost]

    if any(lost):
        with pytest.raises(FeatureError, match=r"no row at this party|there is no value"):
            refuse(result(), keeps_nulls)
    else:
        assert refuse(result(), keeps_nulls).batch.num_rows == len(rows)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.int32(), 1.5), (pa.int32(), True), (pa.int8(), 300), (pa.float64(), "1"), (pa.float64(), False),
        (pa.float32(), 1e300), (pa.bool_(), 1), (pa.utf8(), 1), (pa.uint8(), -1), (pa.int64(), 1.0),
    ],
)  # fmt: skip
def test_defaults_of_another_type_are_refused(type_: Any, value: Any) -> None:
    with pytest.raises(FeatureError, match=f"the default of feature 'f' is no {type_}") as caught:
        DefaultValues(Schema([("f", type_)]), {"f": value})
    assert repr(value) not in str(caught.value).replace("'f'", "")


@pytest.mark.parametrize(
    ("type_", "value"),
    [(pa.float64(), 1), (pa.float32(), float("inf")), (pa.binary(), "a"), (pa.bool_(), True), (pa.int8(), None)],
)
def test_defaults_that_fit(type_: Any, value: Any) -> None:
    schema = Schema([("f", type_)])
    filled = DefaultValues(schema, {"f": value})(FeatureResult(Batch.from_rows(schema, []), missing=[True]), False)
    assert filled.batch.to_arrow().column(0).to_pylist() == [value.encode() if value == "a" else value]
