"""Bulk scoring: whole files scored block by block, under the reference's control protocol.

All parties hold the same rows in the same order and stream them (feature source `streaming`, or `mock`). The
requester tells its peers when to begin (CM_INIT, answered with their row counts), that it is alive (CM_KEEPALIVE) and
when to end (CM_STOP). In this mode `query_datas` holds no ids but the block's row count, once per row, and
`query_context` the offset of its first row.
"""

from __future__ import annotations

import asyncio
import csv
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from sfs_core.codec.dialect import BodyError
from sfs_core.codec.prediction import FeatureParam, PredictReply, PredictRequest
from sfs_core.errors import ConfigError, ErrorCode, PeerError, RequestError, SfsError
from sfs_core.link.rpc import CallInfo
from sfs_core.proto import tools_pb2
from sfs_core.server.errors import decode_body, encode_body
from sfs_core.server.tls import PartyIdentities

__all__ = ["SCORES_ALONE", "ControlPeer", "ControlService", "ResultColumns", "score_in_bulk"]

logger = logging.getLogger("sfs.bulk")

KEEPALIVE_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 30.0
"""A helper that hears nothing for so long gives up."""
INIT_ATTEMPTS: Final = 60


class ControlService:
    """InferenceControlService.Push of a helper: a party that computes its part while another one asks.

    Attributes:
        finished: set when the requester said stop; holds an error when it fell silent.
    """

    def __init__(self, requester: str, row_count: Callable[[], int | None], identities: PartyIdentities) -> None:
        """`row_count` gives the rows of this party's source (-1: any number), None until the server is ready."""
        self._requester = requester
        self._identities = identities
        self._row_count = row_count
        self._watchdog: asyncio.TimerHandle | None = None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, body: bytes, info: CallInfo) -> bytes:
        request = tools_pb2.ControlRequest()
        answer = tools_pb2.ControlResponse()
        try:
            decode_body(body, info, request)
            self._identities.check(self._requester, info)
            self._push(request, answer)
            answer.status.code = ErrorCode.OK
        except BodyError:
            raise
        except SfsError as error:
            answer.status.code, answer.status.msg = error.code, error.public_text()
        return encode_body(answer, info, defaults=False)

    def _push(self, request: tools_pb2.ControlRequest, answer: tools_pb2.ControlResponse) -> None:
        if request.party_id != self._requester:
            raise SfsError("bulk scoring is driven by another party", where="party_id")
        if request.type == tools_pb2.CM_INIT:
            rows = self._row_count()
            if rows is None:
                raise SfsError("this party is not ready yet")
            answer.init_msg.row_num = rows
        elif request.type == tools_pb2.CM_STOP:
            self._finish(None)
            return
        elif request.type != tools_pb2.CM_KEEPALIVE:
            raise SfsError("unknown control message", where="type")
        self._listen()

    def _listen(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        silent = PeerError(f"the requester said nothing for {SILENCE_SECONDS:.0f} s", party=self._requester)
        self._watchdog = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._finish, silent)

    def _finish(self, error: SfsError | None) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)


class ControlPeer(Protocol):
    """A helper, as the requester sees it."""

    def control(self, request: tools_pb2.ControlRequest, timeout: float) -> Awaitable[tools_pb2.ControlResponse]:
        """Send a control message; raises PeerError."""


@dataclass(frozen=True, slots=True)
class ResultColumns:
    """What is written of each row.

    Args:
        score: the name of the column of scores, of which only the first is written; empty for all, by their own names.
        file: a CSV file with the same rows; None for nothing of one.
        names: its columns that are written beside the scores.
    """

    score: str = ""
    file: Path | None = None
    names: tuple[str, ...] = ()

    def rows(self) -> Iterator[list[str]]:
        """What the file has for each row.

        Raises:
            ConfigError: it cannot be read, or lacks a column.
        """
        if self.file is None:
            while True:
                yield []
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                header = next(reader, [])
                if lacking := [name for name in self.names if name not in header]:
                    raise ConfigError(f"it has no column {lacking[0]!r}", where=str(self.file))
                places = [header.index(name) for name in self.names]
                yield from ([row[place] for place in places] for row in reader if row)
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise ConfigError(
                f"it cannot be read: {type(error).__name__}", code=ErrorCode.IO_ERROR, where=str(self.file)
            ) from None


SCORES_ALONE: Final = ResultColumns()


async def score_in_bulk(
    party: str,
    service: str,
    row_count: int,
    peers: Mapping[str, ControlPeer],
    predict: Callable[[PredictRequest], Awaitable[PredictReply]],
    result: Path,
    *,
    block_rows: int,
    timeout: float,
    progress: Callable[[int, int], None],
    columns: ResultColumns = SCORES_ALONE,
) -> int:
    """Score every row of all parties' files and write the scores as CSV, in file order; empty cells for those missing.

    Args:
        party: this party, the requester.
        service: the service id.
        row_count: rows of this party's source; -1 where it has any number (mock).
        peers: the helpers by party id.
        predict: scores one block.
        result: the file to write; it appears when all rows are scored, or not at all.
        block_rows: rows per block.
        timeout: seconds that a helper may take for a control message.
        progress: told the rows done and the rows in all.
        columns: what is written of each row.

    Returns:
        How many rows were scored.

    Raises:
        PeerError: a helper did not become ready, or broke off.
        RequestError: the parties' row counts differ, or nobody knows how many rows there are.
    """
    async with _driven(party, peers, timeout) as counts:
        rows = _agreed_rows({party: row_count, **counts})
        parties = sorted([party, *peers])
        await _write_scores(party, service, rows, parties, predict, result, block_rows, progress, columns)
        return rows


@asynccontextmanager
async def _driven(party: str, peers: Mapping[str, ControlPeer], timeout: float) -> AsyncIterator[dict[str, int]]:
    """The rows of each helper, once all are ready; each hears from this party from when it is ready until the end."""
    kept: dict[str, asyncio.Task[None]] = {}

    async def begin(name: str, peer: ControlPeer) -> int:
        rows = await _initialise(party, name, peer, timeout)
        kept[name] = asyncio.ensure_future(_keep_alive(party, name, peer, timeout))
        return rows

    beginning = [asyncio.ensure_future(begin(name, peer)) for name, peer in peers.items()]
    try:
        yield dict(zip(peers, await asyncio.gather(*beginning), strict=True))
    finally:
        for task in (*beginning, *kept.values()):
            task.cancel()
        await asyncio.gather(*(_stop(party, name, peers[name], timeout) for name in kept), return_exceptions=True)


def _agreed_rows(counts: Mapping[str, int]) -> int:
    known = {party: count for party, count in counts.items() if count >= 0}
    if not known:
        raise RequestError("no party has a file that says how many rows to score")
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{party} {count}" for party, count in sorted(known.items()))
        raise RequestError(f"the parties' files differ in rows: {listed}", hint="all files need the same rows in order")
    return next(iter(known.values()))


async def _initialise(party: str, name: str, peer: ControlPeer, timeout: float) -> int:
    problem = told = ""
    for _ in range(INIT_ATTEMPTS):
        try:
            answer = await peer.control(_message(party, tools_pb2.CM_INIT), timeout)
        except PeerError as error:
            problem = error.message
        else:
            if answer.status.code == ErrorCode.OK:
                return answer.init_msg.row_num
            problem = f"it answered code {answer.status.code}"
        if problem != told:
            logger.info("waiting for %s to be ready for bulk scoring: %s", name, problem)
            told = problem
        await asyncio.sleep(KEEPALIVE_SECONDS)
    raise PeerError(
        f"did not get ready for bulk scoring: {problem}",
        party=name,
        hint=f"there it is: sfs serve CONFIG --bulk-requester {party}",
    )


async def _keep_alive(party: str, name: str, peer: ControlPeer, timeout: float) -> None:
    while True:
        try:
            await peer.control(_message(party, tools_pb2.CM_KEEPALIVE), timeout)
        except PeerError as error:
            logger.warning("keepalive to %s failed: %s", name, error.message)
        await asyncio.sleep(KEEPALIVE_SECONDS)


async def _stop(party: str, name: str, peer: ControlPeer, timeout: float) -> None:
    answer = await peer.control(_message(party, tools_pb2.CM_STOP), timeout)
    if answer.status.code != ErrorCode.OK:
        logger.warning("%s answered code %d to the stop message", name, answer.status.code)


def _message(party: str, kind: tools_pb2.ControlMessageType) -> tools_pb2.ControlRequest:
    return tools_pb2.ControlRequest(party_id=party, type=kind)


async def _write_scores(
    party: str,
    service: str,
    rows: int,
    parties: Sequence[str],
    predict: Callable[[PredictRequest], Awaitable[PredictReply]],
    result: Path,
    block_rows: int,
    progress: Callable[[int, int], None],
    columns: ResultColumns,
) -> None:
    handle, temporary = tempfile.mkstemp(dir=result.parent, prefix=f".{result.name}.")
    try:
        with os.fdopen(handle, "w", newline="") as file:
            writer, beside = csv.writer(file), columns.rows()
            for offset in range(0, rows, block_rows):
                count = min(block_rows, rows - offset)
                reply = await predict(_block(service, parties, count, offset))
                scores = reply.scores
                if scores is None:
                    raise PeerError("a block came back without scores", party=party)
                names = [columns.score] if columns.score else scores.schema.names
                if offset == 0:
                    writer.writerow([*names, *columns.names])
                scored = iter(scores.matrix().tolist())
                missing = reply.missing or [False] * count
                others = list(islice(beside, count))
                if len(others) < count:
                    raise RequestError(f"{columns.file} has fewer rows than were scored")
                for is_missing, other in zip(missing, others, strict=True):
                    own = [""] * len(names) if is_missing else next(scored)[: len(names)]
                    writer.writerow([*own, *other])
                progress(offset + count, rows)
        Path(temporary).replace(result)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _block(service: str, parties: Sequence[str], count: int, offset: int) -> PredictRequest:
    param = FeatureParam([str(count)] * count, str(offset))
    return PredictRequest.of(service, dict.fromkeys(parties, param))
