"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from google.protobuf.message import Message

from sfs_core.client.credentials import sent_headers
from sfs_core.client.errors import DeadlineError, UnavailableError, service_error
from sfs_core.client.requests import Features, Ids, build_request, row_count
from sfs_core.client.results import Prediction, joined, prediction_of
from sfs_core.client.tables import Table, scored_table, table_columns
from sfs_core.client.target import parse_target
from sfs_core.client.tls import Tls, channel_tls
from sfs_core.errors import ErrorCode
from sfs_core.link.channel import Channel, open_channel
from sfs_core.link.outgoing import TransportError
from sfs_core.link.retry import FailureKind, RetryPolicy, exponential_backoff
from sfs_core.proto import apis_pb2, serving_pb2

__all__ = ["AsyncClient"]

M = TypeVar("M", bound=Message)

_APIS: Final = "secretflow.serving.apis"
_CONNECT_SECONDS: Final = 5.0
_FIRST_WAIT: Final = 0.05
_LOOK_SECONDS: Final = 2.0
"""Between two looks at the files of certificates."""
_TABLE_REQUESTS: Final = 4
"""Requests under way at a time for one table."""


class AsyncClient:
    """Asks one server for scores; keeps its connections open between calls.

    Belongs to the event loop that first uses it. Close it, or use it in `async with`.

    Args:
        url: where callers are answered, by a scheme that says how: `http://HOST:PORT` (protobuf bodies), `http+json`,
            `grpc`, `baidu_std`; over TLS `https`, `https+json`, `grpcs`, `baidu_stds`.
        service: the service id; each call may name another.
        parties: everybody who looks ids up, for calls that give one list of ids for all.
        timeout: seconds for everything that a request takes: connecting, retries, the answer.
        retries: how often a request is sent again that cannot have run, because no connection came about or the server
            refused it for being busy or stopping. Nothing that may have run is sent again.
        api_key: sent as `X-API-Key`.
        token: sent as `Authorization: Bearer …`.
        headers: further HTTP headers or gRPC metadata of every request; `baidu_std` has no place for any.
        tls: whom to believe and what to show, for URLs over TLS; by default what this machine trusts, and nothing.
            Files that change are read again, for new connections.
        plain_credentials: send credentials without TLS to other machines, too; only for ways that something else
            protects.

    Raises:
        ConfigError: the URL is no server's address; credentials have no place in its protocol, or would go to another
            machine in the clear; a certificate or key cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        service: str = "",
        parties: Sequence[str] = (),
        timeout: float = 10.0,
        retries: int = 2,
        api_key: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        plain_credentials: bool = False,
    ) -> None:
        target = parse_target(url)
        self._service = service
        self._parties = tuple(parties)
        self._timeout = timeout
        self._headers = sent_headers(target, api_key, token, headers, plain_credentials=plain_credentials)
        self._tls = channel_tls(target, tls)
        self._next_look = 0.0
        self._retry = RetryPolicy(retries, exponential_backoff(_FIRST_WAIT))
        self._target = target
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls under way fail. The next call would open them again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def predict(
        self,
        ids: Ids | None = None,
        *,
        features: Features | None = None,
        contexts: Mapping[str, str] | None = None,
        service: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """The scores of some rows, in one request.

        Args:
            ids: what every party looks up, or by party, in row order: `["17"]` or `{"alice": ["17"], "bob": ["x9"]}`.
            features: values by feature, of the party that is asked, which then looks nothing up; `ids` names the other
                parties. Types are sent as they are: Python's int as INT64 and float as DOUBLE, NumPy's by dtype.
            contexts: free text by party for its feature source.
            service: instead of the client's.
            headers: entries of the request's header map, some of which parties hand on to their feature sources.
            timeout: seconds, instead of the client's.

        Raises:
            ServiceError: the server answered with a code.
            DeadlineError: no answer came in time.
            UnavailableError: no answer came for another reason.
            RequestError, FeatureError: the request makes no sense; nothing was sent.
            PeerError: the answer does not fit the request.
        """
        name = self._service if service is None else service
        request = build_request(name, self._parties, ids, features, contexts or {}, headers or {})
        rows = row_count(request)
        response = await self._call("PredictionService", "Predict", request, apis_pb2.PredictResponse, timeout)
        if response.status.code != ErrorCode.OK:
            raise service_error(response.status.code, response.status.msg)
        return prediction_of(response, rows)

    async def predict_table(
        self,
        table: Table,
        *,
        ids: str | Mapping[str, str] = "id",
        features: Sequence[str] = (),
        rows_per_request: int = 1000,
        service: str | None = None,
        timeout: float | None = None,
    ) -> Table:
        """A table with the scores of its rows as further columns: a pandas DataFrame of one, else an Arrow table.

        Args:
            table: a pandas DataFrame, or a pyarrow Table or RecordBatch.
            ids: the column that every party looks up, or the column by party.
            features: columns to send along as features of the party that is asked.
            rows_per_request: the table is cut into requests of so many rows; four are under way at a time.
            service: instead of the client's.
            timeout: seconds for each request, instead of the client's.

        Raises:
            RequestError: a column is not there, or would be there twice.
            SfsError: as of `predict`; the other requests are given up.
        """
        columns = table_columns(table, [*([ids] if isinstance(ids, str) else ids.values()), *features])
        total = len(table)
        gate = asyncio.Semaphore(_TABLE_REQUESTS)

        async def part(begin: int) -> Prediction:
            cut = {name: values[begin : begin + rows_per_request] for name, values in columns.items()}
            asked = cut[ids] if isinstance(ids, str) else {party: cut[name] for party, name in ids.items()}
            async with gate:
                return await self.predict(
                    asked, features={name: cut[name] for name in features}, service=service, timeout=timeout
                )

        tasks = [asyncio.ensure_future(part(begin)) for begin in range(0, total, rows_per_request)]
        try:
            parts = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        scored: Table = scored_table(table, joined(parts) if parts else None)
        return scored

    async def model_info(self, service: str | None = None, timeout: float | None = None) -> serving_pb2.ModelInfo:
        """What the server tells of its model: name, description, graph without weights.

        Raises:
            ServiceError, UnavailableError: as of `predict`.
        """
        request = apis_pb2.GetModelInfoRequest()
        request.service_spec.id = self._service if service is None else service
        response = await self._call("ModelService", "GetModelInfo", request, apis_pb2.GetModelInfoResponse, timeout)
        if response.status.code != ErrorCode.OK:
            raise service_error(response.status.code, response.status.msg)
        return response.model_info

    async def _call(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[M],
        timeout: float | None,
    ) -> M:
        if self._channel is None:
            self._channel = open_channel(
                self._target.address,
                self._target.address,
                self._target.protocol,
                connect_timeout=_CONNECT_SECONDS,
                retry=self._retry,
                tls=self._tls,
            )
        seconds = self._timeout if timeout is None else timeout
        name = f"{_APIS}.{service}"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if self._tls is not None and loop.time() >= self._next_look:
            self._next_look = loop.time() + _LOOK_SECONDS
            self._tls.context.refresh()
        try:
            return await self._channel.call(name, method, request, response_type, seconds, self._headers)
        except TransportError as error:
            address = self._target.address
            text = error.message.replace(f"peer {address!r}", f"the server at {address}", 1)
            if error.kind is FailureKind.FINAL and loop.time() >= deadline:
                raise DeadlineError(text) from None
            raise UnavailableError(text, may_have_run=not error.kind.cannot_have_run) from None
