"""Joined rounds: whatever arrives when, everybody gets what they would have got alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core import Batch, FeatureError, PeerError, RequestError, Schema
from sfs_core.codec.features import Feature, FeatureField, FeatureValue
from sfs_core.codec.prediction import FeatureParam, PredictReply, PredictRequest
from sfs_core.engine.batcher import LARGE_ROWS, MOST_TURNS, Batcher, Outcome
from sfs_core.errors import BusyError, PeerAnswerError

SCORE = Schema([("score", pa.float64())])


@dataclass
class Parties:
    """Stands for a predictor: scores are computed from ids, headers and context; some ids are refused."""

    turns: int = 1
    unreachable: bool = False
    parties: tuple[str, ...] = ("alice", "bob")
    rounds: list[PredictRequest] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def rows_of(self, request: PredictRequest) -> int:
        if request.predefined_features:
            return 1
        counts = {len(request.fs_params[party].query_datas) for party in self.parties}
        if len(counts) != 1:
            raise RequestError("unequal")
        return counts.pop()

    async def predict(self, request: PredictRequest, deadline: float) -> PredictReply:
        self.rounds.append(request)
        self.deadlines.append(deadline)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        self.under_way -= 1
        return answer(request, self.unreachable)


def answer(request: PredictRequest, unreachable: bool = False) -> PredictReply:
    """What the parties say to a request that is alone."""
    if unreachable:
        raise PeerError("not there")
    alice, bob = request.fs_params["alice"], request.fs_params["bob"]
    if any(id_.startswith("bad") for id_ in alice.query_datas):
        raise FeatureError("no row")
    if any(id_.startswith("worse") for id_ in bob.query_datas):
        raise PeerAnswerError("peer 'bob' answered code 3")
    tenant, context = float(request.headers.get("tenant", 0)), float(alice.query_context or 0)
    pairs = zip(alice.query_datas, bob.query_datas, strict=True)
    rows = [(float(a) + 1000 * float(b) + 1e6 * tenant + 1e8 * context,) for a, b in pairs]
    return PredictReply(request.service, Batch.from_rows(SCORE, rows), headers={"seen": str(tenant)})


def request(alice: list[str], bob: list[str] | None = None, tenant: str = "", context: str = "") -> PredictRequest:
    made = PredictRequest.of("svc", {"alice": FeatureParam(alice, context), "bob": FeatureParam(bob or alice, context)})
    if tenant:
        made.header.data = {"tenant": tenant}
    return made


class Caller:
    """Waits for an outcome."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.arrived = asyncio.Event()

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.arrived.set()

    async def outcome(self) -> Any:
        async with asyncio.timeout(60):
            await self.arrived.wait()
        (only,) = self.outcomes
        return only


def alone(asked: PredictRequest, unreachable: bool = False) -> Any:
    try:
        return answer(asked, unreachable)
    except Exception as error:  # noqa: BLE001
        return error


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, Exception):
        assert (type(found), str(found)) == (type(expected), str(expected))
    else:
        assert list(found.scores.rows()) == list(expected.scores.rows())
        assert (found.service, found.code, found.headers) == (expected.service, expected.code, expected.headers)


ids = st.lists(st.sampled_from(["1", "2", "3", "4", "bad", "worse"]), min_size=1, max_size=4)
good_ids = st.lists(st.sampled_from(["1", "2", "3"]), min_size=1, max_size=4)
requests = st.builds(
    lambda alice, alike, tenant, context: request(alice, None if alike else alice[::-1], tenant, context),
    st.one_of(ids, good_ids),
    st.booleans(),
    st.sampled_from(["", "1", "2"]),
    st.sampled_from(["", "7"]),
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(requests, st.integers(0, 3)), min_size=1, max_size=25),
    st.integers(0, 5),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
)
def test_everybody_gets_what_they_would_get_alone(
    arrivals: list[tuple[PredictRequest, int]], turns: int, max_rows: int, unreachable: bool, join: bool
) -> None:
    async def main() -> None:
        parties = Parties(turns, unreachable)
        batcher = Batcher(parties, max_rows=max_rows, join=join)  # type: ignore[arg-type]
        callers = []
        for asked, pause in arrivals:
            callers.append(Caller())
            batcher.submit(asked, callers[-1])
            for _ in range(pause):
                await asyncio.sleep(0)
        for (asked, _), caller in zip(arrivals, callers, strict=True):
            assert_same(await caller.outcome(), alone(asked, unreachable))
        for asked in parties.rounds:
            rows = list(zip(asked.fs_params["alice"].query_datas, asked.fs_params["bob"].query_datas, strict=True))
            assert len(rows) <= max(max_rows, 4)

    asyncio.run(main())


async def test_requests_of_one_turn_make_one_round_without_repeated_rows() -> None:
    parties = Parties()
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    callers = [Caller() for _ in range(10)]
    for i, caller in enumerate(callers):
        batcher.submit(request([str(i % 3), "7"]), caller)
    for i, caller in enumerate(callers):
        assert_same(await caller.outcome(), alone(request([str(i % 3), "7"])))
    (only,) = parties.rounds
    assert sorted(only.fs_params["alice"].query_datas) == ["0", "1", "2", "7"]


async def test_requests_of_different_traces_are_joined() -> None:
    parties = Parties()
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    callers = [Caller() for _ in range(4)]
    for i, caller in enumerate(callers):
        asked = request([str(i)], tenant="1")
        asked.header.data |= {"X-B3-TraceId": f"{i + 1:032x}", "x-b3-spanid": f"{i + 1:016x}"}
        batcher.submit(asked, caller)
    for i, caller in enumerate(callers):
        assert_same(await caller.outcome(), alone(request([str(i)], tenant="1")))
    assert len(parties.rounds) == 1


async def test_what_arrives_while_rounds_are_under_way_forms_the_next() -> None:
    parties = Parties(turns=50)
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    callers = [Caller() for _ in range(20)]
    for i, caller in enumerate(callers):
        batcher.submit(request([str(i)]), caller)
        await asyncio.sleep(0)
    for caller in callers:
        await caller.outcome()
    assert len(parties.rounds) <= 5
    assert parties.most_under_way == 2


async def submit_one_per_turn(batcher: Batcher, number: int) -> list[Caller]:
    callers = [Caller() for _ in range(number)]
    for i, caller in enumerate(callers):
        batcher.submit(request([str(i)]), caller)
        await asyncio.sleep(0)
    return callers


async def test_a_joined_round_is_followed_by_one_that_waits_for_those_who_come_turn_by_turn() -> None:
    parties = Parties()
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    both = [Caller(), Caller()]
    for caller in both:
        batcher.submit(request(["1"]), caller)
    for caller in [*both, *await submit_one_per_turn(batcher, 3 * MOST_TURNS)]:
        await caller.outcome()
    sizes = [len(asked.fs_params["alice"].query_datas) for asked in parties.rounds]
    assert max(sizes) <= MOST_TURNS + 1
    assert len(sizes) <= 5


async def test_a_single_caller_waits_for_no_company() -> None:
    parties = Parties(turns=0)
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    for i in range(3):
        caller = Caller()
        batcher.submit(request([str(i)]), caller)
        await asyncio.sleep(0)
        assert len(parties.rounds) == i + 1
        await caller.outcome()


async def test_large_requests_and_predefined_features_stay_alone() -> None:
    parties = Parties()
    batcher = Batcher(parties, max_rows=10_000)  # type: ignore[arg-type]
    large = request([str(i) for i in range(LARGE_ROWS + 1)])
    predefined = request(["5"])
    predefined.predefined_features = [Feature(FeatureField("x", "FIELD_DOUBLE"), FeatureValue(ds=[1.0]))]
    callers = [Caller() for _ in range(4)]
    for asked, caller in zip([request(["1"]), large, predefined, request(["2"])], callers, strict=True):
        batcher.submit(asked, caller)
    for caller in callers:
        await caller.outcome()
    assert sorted(len(r.fs_params["alice"].query_datas) for r in parties.rounds) == [1, 2, LARGE_ROWS + 1]


async def test_rows_that_wait_are_limited() -> None:
    parties = Parties(turns=5)
    batcher = Batcher(parties, max_rows=10, max_waiting_rows=20)  # type: ignore[arg-type]
    answered = [Caller() for _ in range(4)]
    for caller in answered:
        batcher.submit(request([str(i) for i in range(5)]), caller)
    with pytest.raises(BusyError, match="too many rows are waiting"):
        batcher.submit(request(["1"]), Caller())
    for caller in answered:
        await caller.outcome()
    answered = [Caller() for _ in range(4)]
    for tenant, caller in enumerate(answered):  # all rows are given back, those of requests passed over, too
        batcher.submit(request([str(i) for i in range(5)], tenant=str(tenant)), caller)
    for caller in answered:
        await caller.outcome()
    assert batcher.waiting_rows == 0


async def test_a_bad_request_is_refused_at_once_and_disturbs_nobody() -> None:
    parties = Parties()
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="unequal"):
        batcher.submit(request(["1"], ["1", "2"]), Caller())
    caller = Caller()
    batcher.submit(request(["1"]), caller)
    assert_same(await caller.outcome(), alone(request(["1"])))


async def test_an_unreachable_peer_is_not_asked_again_for_each_request() -> None:
    parties = Parties(unreachable=True)
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    callers = [Caller() for _ in range(8)]
    for i, caller in enumerate(callers):
        batcher.submit(request([str(i)]), caller)
    for caller in callers:
        assert isinstance(await caller.outcome(), PeerError)
    assert len(parties.rounds) == 1


async def test_nothing_is_begun_for_callers_that_have_gone_or_are_out_of_time() -> None:
    parties = Parties()
    batcher = Batcher(parties, max_rows=100)
    now = asyncio.get_running_loop().time()
    late, gone, one, two = (Caller() for _ in range(4))
    batcher.submit(request(["1"]), late, now - 1)
    give_up = batcher.submit(request(["2"]), gone)
    batcher.submit(request(["3"]), one, now + 50)
    batcher.submit(request(["4"]), two, now + 90)
    give_up()
    assert "time limit" in str(await late.outcome())
    assert_same(await one.outcome(), alone(request(["3"])))
    assert_same(await two.outcome(), alone(request(["4"])))
    assert not gone.outcomes
    assert [asked.fs_params["alice"].query_datas for asked in parties.rounds] == [["3", "4"]]
    assert parties.deadlines == [now + 90]


class Stuck(Parties):
    """Rounds that end when they are cancelled."""

    async def predict(self, request: PredictRequest, deadline: float) -> PredictReply:
        self.rounds.append(request)
        self.under_way += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.under_way -= 1
        raise AssertionError


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("join", [True, False])
async def test_a_round_ends_when_the_last_of_its_callers_has_gone(join: bool) -> None:
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    parties = Stuck()
    batcher = Batcher(parties, max_rows=100, join=join)  # type: ignore[arg-type]
    first, second = (batcher.submit(request([id_]), Caller()) for id_ in "12")
    await turns()
    rounds = 1 if join else 2
    assert parties.under_way == rounds
    first()
    first()  # says nothing new
    await turns()
    assert parties.under_way == 1
    second()
    await turns()
    assert parties.under_way == 0
    second()
    last = []
    for id_ in "345":  # the places of rounds are free again
        last.append(batcher.submit(request([id_]), Caller()))
        await turns()
    assert parties.under_way == (2 if join else 3)
    for give_up in last:
        give_up()
    await turns()
    assert parties.under_way == 0
    assert not problems


async def test_a_round_that_fails_is_repeated_for_those_who_still_wait() -> None:
    parties = Parties(turns=3)
    batcher = Batcher(parties, max_rows=100)  # type: ignore[arg-type]
    gone, bad, good = Caller(), Caller(), Caller()
    give_up = batcher.submit(request(["7"]), gone)
    batcher.submit(request(["bad"]), bad)
    batcher.submit(request(["2"]), good)
    await turns(1)
    give_up()
    assert isinstance(await bad.outcome(), FeatureError)
    assert_same(await good.outcome(), alone(request(["2"])))
    asked = [asked.fs_params["alice"].query_datas for asked in parties.rounds]
    assert asked == [["7", "bad", "2"], ["bad"], ["2"]]
    assert not gone.outcomes
