"""What load asks for, and whether the answers are right."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from sfs_core.client.requests import build_request
from sfs_core.codec.dialect import to_json
from sfs_core.errors import RequestError
from sfs_core.proto import apis_pb2

__all__ = ["Questions", "draw_questions"]

_LEAST: Final = 200
_MOST: Final = 10_000
_RELATIVE: Final = 1e-9
"""Scores may differ in their last digits: servers add in an order that depends on the requests that come together."""


class _Score(msgspec.Struct):
    value: float | str = 0.0  # NaN and infinities are strings


class _Result(msgspec.Struct):
    scores: list[_Score] = []


class _Status(msgspec.Struct):
    code: int = 0


class _Answer(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)
    results: list[_Result] = []


_decode_json: Final = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True)
class Questions:
    """Different requests to one service, and the scores of each.

    Args:
        requests: the requests.
        rows: rows of each.
        expected: first score of each row of each request; None where it is not known.
    """

    requests: Sequence[apis_pb2.PredictRequest]
    rows: int
    expected: Sequence[Sequence[float]] | None = None

    def bodies(self, *, json: bool) -> list[bytes]:
        """The requests as JSON or protobuf."""
        if json:
            return [to_json(request, defaults=False) for request in self.requests]
        return [request.SerializeToString() for request in self.requests]

    def check_json(self, index: int, body: bytes) -> str:
        """What is wrong with an answer in JSON; empty for nothing."""
        try:
            answer = _decode_json(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "unreadable answer"
        if answer.status.code != 1:
            return f"code {answer.status.code}"
        return self._check(index, [float(row.scores[0].value) if row.scores else None for row in answer.results])

    def check_message(self, index: int, body: bytes) -> str:
        """What is wrong with an answer in protobuf; empty for nothing."""
        try:
            answer = apis_pb2.PredictResponse.FromString(body)
        except DecodeError:
            return "unreadable answer"
        if answer.status.code != 1:
            return f"code {answer.status.code}"
        return self._check(index, [row.scores[0].value if row.scores else None for row in answer.results])

    def _check(self, index: int, scores: Sequence[float | None]) -> str:
        if len(scores) != self.rows:
            return "wrong number of rows"
        if None in scores:
            return "rows without scores"
        if self.expected is not None and not all(map(_same, scores, self.expected[index])):
            return "wrong score"
        return ""


def _same(found: float | None, expected: float) -> bool:
    assert found is not None
    return math.isclose(found, expected, rel_tol=_RELATIVE) or (math.isnan(found) and math.isnan(expected))


def draw_questions(
    service: str,
    parties: Sequence[str],
    ids: Sequence[str],
    rows: int,
    *,
    scores: Mapping[str, float] | None = None,
    seed: int = 1,
) -> Questions:
    """Requests for ids drawn at random; there are enough of them to ask for most ids, so that no cache answers.

    Args:
        service: the service id.
        parties: all who look the ids up.
        ids: what to draw from.
        rows: of each request.
        scores: expected ones by id.
        seed: of the draw; the same one draws the same.

    Raises:
        RequestError: there are no ids or no rows, or an id has no expected score.
    """
    if not ids or rows < 1:
        raise RequestError("a request needs at least one row, and ids to draw it from")
    if scores is not None and (lacking := sum(id_ not in scores for id_ in ids)):
        raise RequestError(f"{lacking} of {len(ids)} ids have no expected score")
    chance = random.Random(seed)  # noqa: S311 - no secret
    count = min(max(_LEAST, -(-len(ids) // rows)), _MOST)
    drawn = [chance.choices(ids, k=rows) for _ in range(count)]
    requests = [build_request(service, parties, each, None, {}, {}) for each in drawn]
    expected = [[scores[id_] for id_ in each] for each in drawn] if scores is not None else None
    return Questions(requests, rows, expected)
