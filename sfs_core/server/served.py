"""A model that this party serves: what the request handlers need to know of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sfs_core.engine.batcher import Batcher
from sfs_core.engine.executor import Executor
from sfs_core.engine.predictor import Predictor
from sfs_core.model.graph import Graph
from sfs_core.observe.server_metrics import UNKNOWN
from sfs_core.proto.serving_pb2 import ModelInfo
from sfs_core.server.desired import Package
from sfs_core.server.keys import Preparation

__all__ = ["ServedModel", "ServedModels", "service_label"]


@dataclass(slots=True)
class ServedModel:
    """One service of this party.

    Attributes:
        service: the service id.
        version: what its models have in common at all parties, see `model_version`.
        id: names this party's package for that version to other parties.
        package: what it was loaded from.
        info: what other parties may know of the model.
        graph: this party's graph.
        executor: this party's part of requests.
        predictor: whole predictions; None until every party agreed on the model.
        batcher: joins callers' requests for the predictor; None as long as that is.
        agreed: set together with these two.
        preparation: how far operators are with what they make of the parties' keys, as long as they do.
        extensions: what its operators can do beyond the reference's protocol, with parties that can do it, too.
        per_row: whether this party scores the rows that are there when others are missing (`features.missing`).
    """

    service: str
    version: str
    id: str
    info: ModelInfo
    graph: Graph
    executor: Executor
    package: Package
    extensions: frozenset[str] = frozenset()
    per_row: bool = False
    predictor: Predictor | None = None
    batcher: Batcher | None = None
    agreed: asyncio.Event = field(default_factory=asyncio.Event)
    preparation: Preparation | None = None


class ServedModels(dict[str, ServedModel]):
    """What callers of each service get, by service id; and beside it further versions, that peers may name."""

    def __init__(self) -> None:
        super().__init__()
        self._named: dict[tuple[str, str], ServedModel] = {}

    def add(self, model: ServedModel) -> None:
        """Have peers find a model by its id."""
        self._named[model.service, model.id] = model

    def remove(self, model: ServedModel) -> None:
        """Have peers find it no more."""
        self._named.pop((model.service, model.id), None)

    def named(self, service: str, id_: str) -> ServedModel | None:
        """The model with this id."""
        return self._named.get((service, id_))

    def of_version(self, service: str, version: str) -> ServedModel | None:
        """The model of a version, or, where there is none, what callers get; or are to get, when none do yet."""
        current = self.get(service)
        if current is not None and (not version or current.version == version):
            return current
        others = [model for model in self._named.values() if model.service == service]
        exact = (model for model in others if model.version == version)
        return next(exact, None) or current or next(iter(others), None)

    def knows(self, service: str) -> bool:
        """Whether there is any model of a service."""
        return service in self or any(model.service == service for model in self._named.values())

    @property
    def every(self) -> list[ServedModel]:
        """All versions of all services."""
        return list(self._named.values())


def service_label(models: ServedModels, service: str) -> str:
    """A service id that somebody asked for, as it may be written down: only ids of services that there are."""
    return service if service in models else UNKNOWN
