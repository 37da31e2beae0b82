"""What the parties agree on for a model: reached before it is served, and anew when a peer's model has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from sfs_core.codec.execution import EXTENSIONS, MODEL, MODEL_EXTENSION, PER_ROW_EXTENSION
from sfs_core.config.schema import ServerConfig
from sfs_core.engine.batcher import Batcher
from sfs_core.engine.predictor import Predictor
from sfs_core.errors import GraphError, PeerModelError, SfsError
from sfs_core.link.peer import PeerClient
from sfs_core.model.consistency import specified_parties
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.proto.apis_pb2 import GetModelInfoResponse
from sfs_core.proto.serving_pb2 import ModelInfo
from sfs_core.sdk.operator import Operator
from sfs_core.server.extensions import agreed_extensions
from sfs_core.server.handshake import Patience, agree
from sfs_core.server.keys import Preparation, cluster_of, prepare_operators
from sfs_core.server.observed import ObservedPredictor
from sfs_core.server.served import ServedModel

__all__ = ["Agreements", "rows_of_a_round"]

logger = logging.getLogger("sfs.handshake")

_PART_OF_BODY: Final = 0.7
"""Of the bytes that a message may have; in JSON, tables take a third more."""

Answers = Mapping[str, GetModelInfoResponse]


class Agreements:
    """Brings this party's models to agreement with its peers.

    Args:
        config: this party's.
        peers: the other parties.
        metrics: what is counted into, if anything.

    Attributes:
        fall_back: gives another version to serve instead of one that peers have no more, if there is one.
    """

    def __init__(self, config: ServerConfig, peers: Mapping[str, PeerClient], metrics: ServerMetrics | None) -> None:
        self._config = config
        self._metrics = metrics
        self._peers = peers
        self.fall_back: Callable[[ServedModel], ServedModel | None] = lambda _: None
        self._renewals: dict[str, asyncio.Task[Predictor]] = {}
        self._retries: set[asyncio.Task[None]] = set()

    async def reach(self, model: ServedModel, patience: Patience | None = None) -> Predictor:
        """Wait until every peer has a model that fits, then make it ready to serve.

        Args:
            model: this party's.
            patience: how long to wait; by default as the config says.

        Raises:
            GraphError, PeerError: as of `agree`.
            SfsError: an operator cannot work with what the peers told.
        """
        config, link = self._config, self._config.link
        patience = patience or Patience(link.handshake_attempts, link.handshake_interval, link.timeout)
        answers = await agree(config.party, model.service, model.info, model.version, self._peers, patience)
        infos = {party: answer.model_info for party, answer in answers.items()}
        told = {party: frozenset(_extensions(answer)) for party, answer in answers.items()}
        await self._prepare(model, infos, agreed_extensions(model.service, model.extensions, told))
        predictor = (Predictor if config.logging.slow is None else ObservedPredictor)(
            config.party,
            model.graph,
            model.executor,
            self._peers,
            specified_parties({config.party: model.info} | infos),
            timeout=link.timeout,
            max_rows=config.limits.max_rows,
            per_row_parties=self._agree_per_row(model, answers),
            models={party: answers[party].header.data[MODEL] for party in _announcing(MODEL_EXTENSION, answers)},
            renew=partial(self._renewed, model),
            entries=link.answer_entries,
        )
        # In bulk scoring ids are no ids: rows must reach the sources as they come.
        join = config.batching.enabled and config.bulk_scoring is None
        model.batcher = Batcher(
            predictor,
            max_rows=rows_of_a_round(config, model.executor.operators.values()),
            join=join,
            max_waiting_rows=config.limits.max_waiting_rows,
            observe_round=self._metrics.joined(model.service).observe if self._metrics else None,
        )
        model.predictor = predictor
        model.agreed.set()
        logger.info("%s: %s agreed with %s", config.party, model.service, ", ".join(sorted(infos)))
        return predictor

    async def _prepare(self, model: ServedModel, infos: Mapping[str, ModelInfo], extensions: frozenset[str]) -> None:
        operators = model.executor.operators
        preparation = model.preparation = Preparation(model.service, len(operators))
        cluster = cluster_of(self._config.party, model.graph, infos, preparation, extensions)
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, prepare_operators, operators, cluster, preparation)
        finally:
            model.preparation = None

    async def wait_for_all(self, model: ServedModel, patience: Patience) -> None:
        """Wait until peers answer as `patience` wants it; raises as of `agree`."""
        await agree(self._config.party, model.service, model.info, model.version, self._peers, patience)

    def _agree_per_row(self, model: ServedModel, answers: Answers) -> frozenset[str]:
        """The parties that may leave out rows, for each other: all that say so, if this one does."""
        if not model.per_row:
            return frozenset()
        able = _announcing(PER_ROW_EXTENSION, answers)
        if unable := sorted(answers.keys() - able):
            logger.warning(
                "%s: %s not serve requests per row: one whose row is missing there fails as a whole",
                model.service,
                f"{', '.join(unable)} {'does' if len(unable) == 1 else 'do'}",
            )
        model.executor.per_row_parties = frozenset({self._config.party, *able})
        return model.executor.per_row_parties

    # ------------------------------------------------------------------------------------ a peer's model has changed
    def _renewed(self, model: ServedModel, error: PeerModelError) -> asyncio.Future[Predictor]:
        """What to answer with instead; requests that find out at the same time share one handshake."""
        renewal = self._renewals.get(model.service)
        if renewal is None:
            logger.warning("%s: %s; agreeing anew", model.service, error.public_text())
            renewal = self._renewals[model.service] = asyncio.ensure_future(self._renew(model))
            renewal.add_done_callback(lambda _: self._renewals.pop(model.service, None))
        return asyncio.shield(renewal)

    async def _renew(self, model: ServedModel) -> Predictor:
        timeout = self._config.link.timeout
        try:
            return await self.reach(model, Patience(1, timeout, timeout))
        except SfsError as error:
            other = self.fall_back(model)
            if other is not None and other.predictor is not None:
                return other.predictor
            if not isinstance(error, GraphError):
                raise
            model.predictor = model.batcher = None
            model.agreed.clear()
            retry = asyncio.ensure_future(self._reach_some_time(model))
            self._retries.add(retry)
            retry.add_done_callback(self._retries.discard)
            raise

    async def _reach_some_time(self, model: ServedModel) -> None:
        while model.predictor is None:
            await asyncio.sleep(self._config.link.handshake_interval)
            try:
                await self.reach(model)
            except SfsError as error:
                logger.warning("%s cannot be served: %s", model.service, error.public_text())

    async def close(self) -> None:
        """Stop trying."""
        tasks = [*self._renewals.values(), *self._retries]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def rows_of_a_round(config: ServerConfig, operators: Iterable[Operator]) -> int:
    """Most rows that requests are joined up to: no more than a message with all operators' outputs can hold."""
    row_bytes = sum(operator.row_bytes for operator in operators)
    fitting = int(_PART_OF_BODY * config.limits.max_body) // row_bytes if row_bytes else config.batching.max_rows
    return max(1, min(config.batching.max_rows, fitting))


def _announcing(extension: str, answers: Answers) -> set[str]:
    """The parties that told that they know an extension."""
    return {party for party, answer in answers.items() if extension in _extensions(answer)}


def _extensions(answer: GetModelInfoResponse) -> list[str]:
    return answer.header.data.get(EXTENSIONS, "").split(",")
