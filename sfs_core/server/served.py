"""A model that this party serves: what the request handlers need to know of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from sfs_core.engine.batcher import Batcher
from sfs_core.engine.executor import Executor
from sfs_core.engine.predictor import Predictor
from sfs_core.model.graph import Graph
from sfs_core.observe.server_metrics import UNKNOWN
from sfs_core.proto.serving_pb2 import ModelInfo

__all__ = ["ServedModel", "ServedModels", "service_label"]


@dataclass(slots=True)
class ServedModel:
    """One service of this party.

    Attributes:
        service: the service id.
        info: what other parties may know of the model.
        graph: this party's graph.
        executor: this party's part of requests.
        predictor: whole predictions; None until every party agreed on the model.
        batcher: joins callers' requests for the predictor; None as long as that is.
        agreed: set together with these two.
        per_row: whether this party scores the rows that are there when others are missing (`features.missing`).
    """

    service: str
    info: ModelInfo
    graph: Graph
    executor: Executor
    per_row: bool = False
    predictor: Predictor | None = None
    batcher: Batcher | None = None
    agreed: asyncio.Event = field(default_factory=asyncio.Event)


ServedModels = Mapping[str, ServedModel]
"""By service id."""


def service_label(models: ServedModels, service: str) -> str:
    """A service id that somebody asked for, as it may be written down: only ids of services that there are."""
    return service if service in models else UNKNOWN
