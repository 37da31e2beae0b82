"""The client for programs that do not use asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from sfs_core.client.client import AsyncClient
from sfs_core.client.requests import Features, Ids
from sfs_core.client.results import Prediction
from sfs_core.client.tables import Table
from sfs_core.client.tls import Tls
from sfs_core.proto import serving_pb2

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """Asks one server for scores; keeps its connections open between calls.

    May be shared by threads: their calls go on side by side. A thread of its own does the talking, so it also works
    where an event loop runs already (notebooks). Close it, or use it in `with`.

    Args and errors are those of `AsyncClient`.
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
        self._client = AsyncClient(
            url,
            service=service,
            parties=parties,
            timeout=timeout,
            retries=retries,
            api_key=api_key,
            token=token,
            headers=headers,
            tls=tls,
            plain_credentials=plain_credentials,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sfs-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; calls under way fail. The client cannot be used any more."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def predict(
        self,
        ids: Ids | None = None,
        *,
        features: Features | None = None,
        contexts: Mapping[str, str] | None = None,
        service: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """The scores of some rows, in one request; see `AsyncClient.predict`."""
        return self._run(
            self._client.predict(
                ids, features=features, contexts=contexts, service=service, headers=headers, timeout=timeout
            )
        )

    def predict_table(
        self,
        table: Table,
        *,
        ids: str | Mapping[str, str] = "id",
        features: Sequence[str] = (),
        rows_per_request: int = 1000,
        service: str | None = None,
        timeout: float | None = None,
    ) -> Table:
        """A table with the scores of its rows as further columns; see `AsyncClient.predict_table`."""
        return self._run(
            self._client.predict_table(
                table, ids=ids, features=features, rows_per_request=rows_per_request, service=service, timeout=timeout
            )
        )

    def model_info(self, service: str | None = None, timeout: float | None = None) -> serving_pb2.ModelInfo:
        """What the server tells of its model; see `AsyncClient.model_info`."""
        return self._run(self._client.model_info(service, timeout))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            call.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C must not leave the call under way
            raise
