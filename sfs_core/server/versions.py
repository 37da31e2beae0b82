"""The versions of models that this process has open: loaded while others serve, and used once all parties have them.

Requests are bound to the models of one version at all parties: whichever party switches first, none is answered by a
mixture. The version before stays at hand, for peers that have not switched yet, and to go back to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, replace
from typing import Final

from sfs_core.config.loaded import LoadedConfig, LoadedService
from sfs_core.config.loader import load_service
from sfs_core.errors import ConfigError, ErrorCode, RequestError, SfsError
from sfs_core.observe.logs import log_levels, set_log_levels
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.agreement import Agreements
from sfs_core.server.desired import Package, ServicePlan, with_package
from sfs_core.server.handshake import Patience
from sfs_core.server.keys import check_keys
from sfs_core.server.loading import check_looks_up, check_model, open_model
from sfs_core.server.orders import Order, Outcome, ServiceStatus, VersionStatus
from sfs_core.server.served import ServedModel, ServedModels

__all__ = ["ModelVersions"]

logger = logging.getLogger("sfs.reload")

_EVER: Final = 1 << 31
"""Attempts to find that all peers have a new version."""


@dataclass(slots=True)
class _Versions:
    """Of one service, beside what its callers get: the version to come, and the one before."""

    service: LoadedService
    next: ServedModel | None = None
    agreeing: asyncio.Task[None] | None = None
    previous: ServedModel | None = None


class ModelVersions:
    """Opens, uses and closes versions.

    Args:
        loaded: the config.
        models: what is served, which is changed.
        agreements: with the peers.
        pool: for what takes long.
        metrics: what is counted into, if anything.

    Attributes:
        fell_back: told the service and the id of the version that callers get, when peers lost the one that they got.
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
        link = loaded.config.link
        self._patience = Patience(_EVER, link.handshake_interval, link.timeout, new_version=True)
        self._versions: dict[str, _Versions] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.fell_back: Callable[[str, str], None] = lambda *_: None
        agreements.fall_back = self._fall_back
        self.is_up = True

    # ------------------------------------------------------------------------------------------------- the start
    async def load_all(self, plans: Iterable[ServicePlan]) -> None:
        """Load what is to be served from the start, and what else was at hand before.

        Raises:
            SfsError: what callers are to get cannot be used.
        """
        for each in plans:
            versions = _Versions(each.service)
            model = await self._load(with_package(each.service, each.package))
            self._versions[model.service] = versions
            self._models.add(model)
            if self._metrics is not None:
                self._metrics.add_service(model.service)
            if each.new:
                versions.next = model
            else:
                self._models[model.service] = model
            logger.info("%s: %s loaded, model %r", self._loaded.config.party, model.service, model.info.name)
            versions.previous = await self._load_again(versions, each.previous)
            versions.next = versions.next or await self._load_again(versions, each.waiting)

    async def _load_again(self, versions: _Versions, package: Package | None) -> ServedModel | None:
        """A version beside the one that callers get; the server can do without it."""
        if package is None:
            return None
        service = versions.service
        try:
            model = await self._load_another(versions, package)
        except SfsError as error:
            logger.warning("%s: another version is not there any more: %s", service.config.service, error.public_text())
            return None
        self._models.add(model)
        return model

    def agree_again(self) -> None:
        """Find out, as long as it takes, whether the other parties still have what can be gone back to."""
        for versions in self._versions.values():
            if versions.previous is not None:
                task = asyncio.ensure_future(self._reach_previous(versions.previous))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def _reach_previous(self, model: ServedModel) -> None:
        try:
            await self._agreements.reach(model, self._patience)
        except SfsError as error:
            logger.warning("%s: the version before cannot be gone back to: %s", model.service, error.public_text())

    # -------------------------------------------------------------------------------------------------- orders
    async def wait_up(self) -> None:
        """As of `Managed`."""

    async def carry_out(self, order: Order) -> Outcome:
        """As of `Managed`."""
        if order.do == "prepare":
            return Outcome(prepared=_shown(await self._prepare(order)))
        if order.do == "status":
            return Outcome(services=self.status())
        if order.do == "log_levels":
            set_log_levels(order.levels)
            return Outcome(levels=log_levels())
        if order.do == "agree":
            await self._agree(order.service)
        elif order.do == "use":
            self._use(order.service, order.id)
        else:
            {"announce": self._announce, "drop": self._forget, "remove": self._remove}[order.do](order.service)
        return Outcome()

    def status(self) -> list[ServiceStatus]:
        """Of every service."""
        return [
            ServiceStatus(name, _shown(self._models.get(name)), _shown(versions.next), _shown(versions.previous))
            for name, versions in self._versions.items()
        ]

    async def _prepare(self, order: Order) -> ServedModel:
        if order.service in self._versions:
            service = self._versions[order.service].service
        elif order.definition:
            service = load_service(self._loaded, order.definition, "the definition")
        else:
            service = next(each for each in self._loaded.services if each.config.service == order.service)
        versions = self._versions.get(order.service) or _Versions(service)
        model = versions.next = await self._load_another(versions, order.package)
        self._versions[model.service] = versions
        if self._metrics is not None:
            self._metrics.add_service(model.service)
        return model

    async def _load_another(self, versions: _Versions, package: Package) -> ServedModel:
        """A version that other parties can tell from all others of the service."""
        model = await self._load(with_package(versions.service, package))
        known = (self._models.get(model.service), versions.previous)
        if model.version in {each.version for each in known if each is not None}:
            await self._close(model)
            raise ConfigError(
                "the other parties cannot tell the new model from one that is here already",
                hint="name it with --version, the same at all parties",
            )
        return model

    async def _load(self, service: LoadedService) -> ServedModel:
        loop = asyncio.get_running_loop()
        checked = await loop.run_in_executor(None, check_model, self._loaded, service, self._pool, self._metrics)
        await loop.run_in_executor(None, check_keys, self._loaded.config.party, checked.graph)
        model = await loop.run_in_executor(None, open_model, self._loaded, service, checked, self._pool, self._metrics)
        try:
            check_looks_up(self._loaded, service, model.executor.features.source)
        except ConfigError:
            await self._close(model)
            raise
        return model

    def _announce(self, service: str) -> None:
        self._models.add(self._waiting(service))

    def _waiting(self, service: str) -> ServedModel:
        versions = self._versions.get(service)
        if versions is None or versions.next is None:
            raise RequestError("no version waits for the other parties", code=ErrorCode.NOT_FOUND)
        return versions.next

    async def _agree(self, service: str) -> None:
        """Wait until every party has the version, then until every party knows that."""
        model = self._waiting(service)
        task = self._versions[service].agreeing = asyncio.ensure_future(self._reach(model))
        await asyncio.wait([task])
        if task.cancelled():
            raise RequestError("the version was dropped meanwhile")
        task.result()

    async def _reach(self, model: ServedModel) -> None:
        await self._agreements.reach(model, self._patience)
        await self._agreements.wait_for_all(model, replace(self._patience, agreed=True))

    def _use(self, service: str, id_: str) -> None:
        versions, current = self._versions[service], self._models.get(service)
        if current is not None and current.id == id_:
            return
        before = versions.previous
        if versions.next is not None and versions.next.id == id_:
            self._models[service], versions.next, versions.agreeing = versions.next, None, None
            if before is not None:
                self._drop(before)
        elif before is not None and before.id == id_:
            self._models[service] = before
        else:
            raise RequestError("there is no such version", code=ErrorCode.NOT_FOUND)
        versions.previous = current
        logger.info("%s: callers get %s from now on", service, id_)

    def _forget(self, service: str) -> None:
        """Drop what waits; and the service, where nobody was served with it yet."""
        versions = self._versions.get(service)
        if versions is None or versions.next is None:
            return
        if versions.agreeing is not None:
            versions.agreeing.cancel()
        self._drop(versions.next)
        versions.next = versions.agreeing = None
        if service not in self._models:
            del self._versions[service]

    def _remove(self, service: str) -> None:
        self._forget(service)
        versions = self._versions.pop(service, None)
        for model in (self._models.pop(service, None), versions.previous if versions else None):
            if model is not None:
                self._drop(model)
        logger.info("%s: it is served no more", service)

    def _fall_back(self, model: ServedModel) -> ServedModel | None:
        """Peers have a version no more: the one before is served, if it was this one that callers get."""
        versions = self._versions.get(model.service)
        if versions is None:
            return None
        if self._models.get(model.service) is model and versions.previous is not None:
            self._use(model.service, versions.previous.id)
            self.fell_back(model.service, self._models[model.service].id)
        other = self._models.get(model.service)
        return None if other is model else other

    # ------------------------------------------------------------------------------------------------- the end
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
        """Stop waiting for peers; close what was dropped or never announced, and what is served."""
        tasks = [*self._closing, *(each.agreeing for each in self._versions.values() if each.agreeing)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        prepared = [each.next for each in self._versions.values() if each.next is not None]
        for model in {id(each): each for each in [*self._models.every, *prepared]}.values():
            await self._close(model)


def _shown(model: ServedModel | None) -> VersionStatus | None:
    if model is None:
        return None
    return VersionStatus(model.id, model.info.name, model.predictor is not None, model.package)
