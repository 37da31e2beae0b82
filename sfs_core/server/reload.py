"""Another version of a service's model, loaded while the one before serves, and used once all parties have it.

Requests are bound to the models of one version at all parties: whichever party switches first, none is answered by a
mixture. The version before stays at hand, for peers that have not switched yet, and to go back to.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, replace
from typing import Any, Final

from sfs_core.config.loader import LoadedConfig, LoadedService
from sfs_core.errors import ConfigError, ErrorCode, RequestError, SfsError
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.agreement import Agreements
from sfs_core.server.handshake import Patience
from sfs_core.server.loading import check_model, open_model
from sfs_core.server.served import ServedModel, ServedModels

__all__ = ["NewModel", "Reloads"]

logger = logging.getLogger("sfs.reload")

_EVER: Final = 1 << 31
"""Attempts to find that all peers have a new version."""


@dataclass(frozen=True, slots=True)
class NewModel:
    """What to load instead of what a config says; empty for the same.

    Args:
        path: what to fetch, in the terms of the service's model source.
        sha256: what the package must hash to.
        version: name of the export, the same at all parties.
    """

    path: str = ""
    sha256: str = ""
    version: str = ""


@dataclass(slots=True)
class _Versions:
    """Of one service, beside what its callers get: the version to come, and the one before."""

    loading: bool = False
    next: ServedModel | None = None
    switching: asyncio.Task[None] | None = None
    previous: ServedModel | None = None


class Reloads:
    """Changes what services are served with.

    Args:
        loaded: the config.
        models: what is served, which is changed.
        agreements: with the peers.
        pool: for what takes long.
        metrics: what is counted into, if anything.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        models: ServedModels,
        agreements: Agreements,
        pool: Pool,
        metrics: ServerMetrics | None,
    ) -> None:
        self._loaded, self._models, self._agreements = loaded, models, agreements
        self._pool, self._metrics = pool, metrics
        self._versions = {each.config.service: _Versions() for each in loaded.services}
        self._closing: set[asyncio.Task[None]] = set()
        agreements.fall_back = self._fall_back

    def status(self) -> list[dict[str, Any]]:
        """Per service what is served, what waits for the other parties, and what can be gone back to."""
        return [
            {
                "service": service,
                "serving": _shown(self._models.get(service)),
                "waiting": _shown(versions.next),
                "previous": _shown(versions.previous),
            }
            for service, versions in self._versions.items()
        ]

    async def reload(self, service: str, new: NewModel) -> str:
        """Load a new version; callers get it as soon as all parties have it, and the one before until then.

        Returns:
            The model's id.

        Raises:
            RequestError: there is no such service, or a new version waits already.
            SfsError: the model or its feature source cannot be used, or peers could not tell it from what is served.
        """
        versions = self._of(service)
        if versions.loading or versions.next is not None:
            raise RequestError(
                "another version waits for the other parties already", hint="`sfs admin unload` drops it"
            )
        versions.loading = True
        try:
            model = await self._load(service, new)
        finally:
            versions.loading = False
        versions.next = model
        self._models.add(model)
        versions.switching = asyncio.ensure_future(self._switch(model, versions))
        return model.id

    async def _load(self, service: str, new: NewModel) -> ServedModel:
        loop = asyncio.get_running_loop()
        changed = _changed(next(each for each in self._loaded.services if each.config.service == service), new)
        checked = await loop.run_in_executor(None, check_model, self._loaded, changed, self._pool, self._metrics)
        model = await loop.run_in_executor(None, open_model, self._loaded, changed, checked, self._pool, self._metrics)
        versions = self._of(service)
        if model.version in {each.version for each in (self._models[service], versions.previous) if each is not None}:
            await self._close(model)
            raise ConfigError(
                "the other parties cannot tell the new model from one that is here already",
                hint="name it with --version, the same at all parties",
            )
        return model

    async def _switch(self, model: ServedModel, versions: _Versions) -> None:
        """Wait until every party has the version, then until every party knows that; then use it."""
        link = self._loaded.config.link
        patience = Patience(_EVER, link.handshake_interval, link.timeout, new_version=True)
        try:
            await self._agreements.reach(model, patience)
            await self._agreements.wait_for_all(model, replace(patience, agreed=True))
        except SfsError as error:
            logger.warning("%s: the new version is dropped: %s", model.service, error.public_text())
            versions.next = versions.switching = None
            self._drop(model)
            return
        before, versions.next, versions.switching = versions.previous, None, None
        versions.previous, self._models[model.service] = self._models[model.service], model
        logger.info("%s: callers get %s from now on", model.service, model.id)
        if before is not None:
            self._drop(before)

    def roll_back(self, service: str) -> str:
        """Have callers get the version before; that which they get now becomes the one before.

        Returns:
            The id of what they get from now on.

        Raises:
            RequestError: there is no such service, or no version before.
        """
        versions = self._of(service)
        if versions.previous is None:
            raise RequestError("there is no version to go back to", code=ErrorCode.NOT_FOUND)
        versions.previous, self._models[service] = self._models[service], versions.previous
        logger.info("%s: callers get %s again", service, self._models[service].id)
        return self._models[service].id

    def unload(self, service: str) -> str:
        """Drop the version that waits for the other parties.

        Returns:
            Its id.

        Raises:
            RequestError: there is no such service, or nothing waits.
        """
        versions = self._of(service)
        waiting = versions.next
        if waiting is None or versions.switching is None:
            raise RequestError("no version waits for the other parties", code=ErrorCode.NOT_FOUND)
        versions.switching.cancel()
        versions.next = versions.switching = None
        self._drop(waiting)
        return waiting.id

    def _fall_back(self, model: ServedModel) -> ServedModel | None:
        """Peers have a version no more: the one before is served, if it was this one that callers get."""
        versions = self._versions[model.service]
        if self._models[model.service] is model and versions.previous is not None:
            self.roll_back(model.service)
        other = self._models[model.service]
        return None if other is model else other

    def _of(self, service: str) -> _Versions:
        if service not in self._versions or service not in self._models:
            raise RequestError("there is no such service", code=ErrorCode.NOT_FOUND)
        return self._versions[service]

    def _drop(self, model: ServedModel) -> None:
        self._models.remove(model)
        closing = asyncio.ensure_future(self._close_later(model))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close_later(self, model: ServedModel) -> None:
        """Requests under way get as long as they do when the server stops."""
        try:
            await asyncio.sleep(self._loaded.config.shutdown.grace)
        finally:
            await self._close(model)

    async def _close(self, model: ServedModel) -> None:
        source = model.executor.features.source
        if source is not None:
            await asyncio.get_running_loop().run_in_executor(None, source.close)

    async def close(self) -> None:
        """Stop waiting for peers; close what was dropped."""
        tasks = [*self._closing, *(each.switching for each in self._versions.values() if each.switching)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _changed(service: LoadedService, new: NewModel) -> LoadedService:
    """The service with another model."""
    package = service.config.model
    path = new.path or package.source.path
    # What a config says of the package before does not hold for another one.
    model = package.model_copy(
        update={
            "source": package.source.model_copy(update={"path": path}),
            "sha256": new.sha256 or (None if new.path else package.sha256),
            "version": new.version or package.version,
        }
    )
    return replace(service, config=service.config.model_copy(update={"model": model}))


def _shown(model: ServedModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {"id": model.id, "model": model.info.name, "agreed": model.predictor is not None}
