"""What helpers of bulk scoring are told, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sfs_core.batch import Batch, Schema
from sfs_core.codec.prediction import PredictReply, PredictRequest
from sfs_core.errors import ErrorCode, RequestError
from sfs_core.proto import tools_pb2
from sfs_core.server import bulk

SCORES = Schema([("score", pa.float64())])


class Helper:
    """Ready once `is_ready` says so; `told` gets what it is told."""

    def __init__(self, is_ready: Any) -> None:
        self.is_ready = is_ready
        self.told: list[int] = []

    async def control(self, request: tools_pb2.ControlRequest, timeout: float) -> tools_pb2.ControlResponse:
        self.told.append(request.type)
        answer = tools_pb2.ControlResponse()
        refuses = request.type == tools_pb2.CM_INIT and not self.is_ready()
        answer.status.code = ErrorCode.NOT_READY if refuses else ErrorCode.OK
        answer.init_msg.row_num = 1
        return answer


async def _predict(request: PredictRequest) -> PredictReply:
    return PredictReply(request.service, Batch.from_rows(SCORES, [(0.5,)]))


async def test_a_helper_hears_from_the_requester_while_another_one_gets_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "KEEPALIVE_SECONDS", 0)
    bob = Helper(lambda: True)
    carol = Helper(lambda: bob.told.count(tools_pb2.CM_KEEPALIVE) > 2)
    rows = await bulk.score_in_bulk(
        "alice",
        "svc",
        1,
        {"bob": bob, "carol": carol},
        _predict,
        tmp_path / "scores.csv",
        block_rows=10,
        timeout=1.0,
        progress=lambda *_: None,
    )
    assert rows == 1
    for helper in (bob, carol):
        assert (helper.told[0], helper.told[-1]) == (tools_pb2.CM_INIT, tools_pb2.CM_STOP)


async def test_helpers_end_at_once_where_files_differ_in_rows(tmp_path: Path) -> None:
    bob = Helper(lambda: True)
    with pytest.raises(RequestError, match="differ in rows: alice 2, bob 1"):
        await bulk.score_in_bulk(
            "alice",
            "svc",
            2,
            {"bob": bob},
            _predict,
            tmp_path / "scores.csv",
            block_rows=10,
            timeout=1.0,
            progress=lambda *_: None,
        )
    assert (bob.told[0], bob.told[-1]) == (tools_pb2.CM_INIT, tools_pb2.CM_STOP)
    assert not (tmp_path / "scores.csv").exists()
