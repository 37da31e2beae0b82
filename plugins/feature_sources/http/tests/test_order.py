"""Rows in another order, or of another request: never scored where the service tells the ids."""

from __future__ import annotations

import asyncio
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sfs_feature_http.messages import AnswerReader

from sfs_core import ErrorCode, FeatureQuery, Schema, SfsError

from .conftest import http

X = Schema([("x", pa.float64())])


def answer(ids, *, type_=6, header=None):
    """What a service says of ids, whose feature x is the id's number."""
    values = {"ss": ids} if type_ == 6 else {"i64s": ids}
    features = [
        {"field": {"name": "x", "type": 5}, "value": {"ds": [float(id_) for id_ in ids]}},
        {"field": {"name": "customer", "type": type_}, "value": values},
    ]
    return {"features": features, "header": {"data": header or {}}}


def read(body, ids):
    reader = AnswerReader(X, pytest.fail, id_field="customer")
    return reader.read(json.dumps(body).encode(), ids)


@settings(max_examples=100)
@given(
    data=st.data(), ids=st.lists(st.integers(0, 999).map(str), min_size=1, max_size=8), type_=st.sampled_from([3, 6])
)
def test_answers_hold_the_rows_asked_for_or_are_refused(data, ids, type_):
    told = data.draw(st.one_of(st.permutations(ids), st.lists(st.sampled_from([*ids, "1000"]), max_size=10)))
    try:
        rows = read(answer(told, type_=type_), ids).batch.rows()
    except SfsError as error:
        assert (told != ids, error.code) == (True, ErrorCode.FS_INTERNAL_ERROR)  # noqa: PT017  either is right
    else:
        assert rows == [(float(id_),) for id_ in ids]


def test_ids_of_the_rows_that_there_are():
    result = read(answer(["1", "3"], header={"sfs-missing-rows": "010"}), ["1", "2", "3"])
    assert (result.batch.rows(), result.missing) == ([(1.0,), (3.0,)], [False, True, False])
    with pytest.raises(SfsError, match="does not hold the ids"):
        read(answer(["1", "3"], header={"sfs-missing-rows": "001"}), ["1", "2", "3"])
    for wrong in (answer(["01"]), answer([])):
        with pytest.raises(SfsError, match="does not hold the ids"):
            read(wrong, ["1"])
    with pytest.raises(SfsError, match="'customer' is missing, which should hold the ids") as caught:
        read({"features": answer(["1"])["features"][:1]}, ["1"])
    assert caught.value.code == ErrorCode.UNEXPECTED_ERROR


@pytest.mark.parametrize("schema", [X, Schema([("customer", pa.int64()), ("x", pa.float64())])])
async def test_an_answer_to_another_request_over_the_same_connection(make, service, schema):
    """A proxy may answer once too often; HTTP does not say which request an answer belongs to."""

    def twice(asked):
        ids = asked.json["param"]["query_datas"]
        asyncio.get_running_loop().call_later(0.01, writer().write, http(answer(["7"])))
        return http(answer(ids, type_=6 if schema is X else 3))

    def writer():
        return list(service.serving.values())[-1]

    service.answers = [twice]
    source = make(schema, service, id_field="customer")
    outcomes = []
    while service.connections < 2 or outcomes[-1] is not None:
        (found,) = await asyncio.gather(source.fetch(FeatureQuery(["5"])), return_exceptions=True)
        assert isinstance(found, SfsError) or found.batch.to_arrow()["x"].to_pylist() == [5.0]
        outcomes.append(found.code if isinstance(found, SfsError) else None)
        await asyncio.sleep(0.02)
    assert set(outcomes) <= {None, ErrorCode.FS_INTERNAL_ERROR, ErrorCode.NETWORK_ERROR}
    names = [field["name"] for field in service.asked[0].json["feature_fields"]]
    assert names == (["x", "customer"] if schema is X else ["customer", "x"])


async def test_others_are_answered_where_one_gets_an_answer_to_another_request(make, service):
    """The connections are given up for one answer, but not the requests under way or waiting for a connection."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def first(_):
        asked.set()
        await answered.wait()
        return http(answer(["7"]))

    service.answers = [first, lambda request: http(answer(request.json["param"]["query_datas"]))]
    source = make(X, service, id_field="customer", pool_size=1)
    pending = [asyncio.ensure_future(source.fetch(FeatureQuery([id_]))) for id_ in ("5", "6", "8")]
    await asked.wait()
    answered.set()
    refused, *found = await asyncio.gather(*pending, return_exceptions=True)
    assert refused.code == ErrorCode.FS_INTERNAL_ERROR
    assert [each.batch.rows() for each in found] == [[(6.0,)], [(8.0,)]]
