"""Pages that say how a server is: `/health` (alive) and `/ready` (answers predictions)."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from sfs_core.link.rpc import Page
from sfs_core.server.served import ServedModels

__all__ = ["alive", "communication_pages", "service_pages"]


def alive() -> tuple[int, str, bytes]:
    """The page `/health` of ports that the reference leaves to brpc."""
    return 200, "text/plain", b"OK"


def communication_pages(models: ServedModels) -> Mapping[str, Page]:
    """Pages of the communication port, `/health` worded as the reference words it there."""
    return {"/health": lambda: (200, "text/plain", b"http status code = 200"), "/ready": lambda: _ready(models)}


def service_pages(models: ServedModels) -> Mapping[str, Page]:
    """Pages of the service port."""
    return {"/health": alive, "/ready": lambda: _ready(models)}


def _ready(models: ServedModels) -> tuple[int, str, bytes]:
    waiting = sorted(service for service, model in models.items() if model.predictor is None)
    body = {"ready": not waiting, "services": sorted(models), "waiting_for_peers": waiting}
    return 503 if waiting else 200, "application/json", orjson.dumps(body)
