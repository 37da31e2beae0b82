"""Management of a running server: commands, done by all of its processes or by none, and kept for the next start.

What takes long (loading, and waiting for the other parties) is done step by step, each step by all processes, before
the next one begins; the last step, by which callers get something else, only changes what they get.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy

from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.loader import load_service
from sfs_core.config.telemetry import checked_room
from sfs_core.errors import ErrorCode, RequestError, SfsError
from sfs_core.server.desired import Change, Desired, Package, StateFile, package_of
from sfs_core.server.orders import Managed, Order, Outcome, ProcessGoneError, ServiceStatus, VersionStatus

__all__ = ["Manager"]

logger = logging.getLogger("sfs.admin")


class Manager:
    """Carries commands out.

    Args:
        loaded: the config.
        desired: what was changed before.
        file: keeps changes; None for until the end.
        processes: those that serve.

    Attributes:
        desired: all changes.
        generation: how often `desired` was changed: a process that was started with an earlier one is to start anew.
    """

    def __init__(
        self, loaded: LoadedConfig, desired: Desired, file: StateFile | None, processes: Sequence[Managed]
    ) -> None:
        self._loaded, self._file, self._processes = loaded, file, processes
        self.desired = desired
        self.generation = 0
        self._loading = asyncio.Lock()
        self._using = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._switching: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------------- commands
    async def status(self) -> list[ServiceStatus]:
        """Of every service; agreed is what all processes have agreed on.

        Raises:
            SfsError: no process serves at the moment.
        """
        told = [outcome.services for outcome in await self._tell(Order("status"))]
        if not told:
            raise SfsError("no process serves at the moment", code=ErrorCode.NOT_READY, hint="try again in a moment")
        agreed = [{each.id for each in _versions(services) if each.agreed} for services in told]
        for version in _versions(told[0]):
            version.agreed = all(version.id in each for each in agreed)
        return told[0]

    async def reload(self, service: str, package: Package) -> str:
        """Load another version; callers get it as soon as all parties have it, and the one before until then.

        Returns:
            The version's id.

        Raises:
            RequestError: there is no such service, or a version waits already.
            SfsError: the model or its feature source cannot be used, peers could not tell it from what is served, or
                it cannot be kept for the next start.
        """
        async with self._loading:
            status = await self._status_of(service)
            if status.waiting is not None:
                raise RequestError(
                    "another version waits for the other parties already", hint="`sfs admin cancel` drops it"
                )
            return await self._load(Order("prepare", service, package=package), Change(self._configured(service)))

    async def load(self, service: str = "", definition: str = "", name: str = "the definition") -> str:
        """Serve a further service, as soon as all parties have it.

        Args:
            service: one of the config that was unloaded; or else
            definition: what an entry of `services` in a config says, as YAML or JSON.
            name: stands for the definition's file in errors.

        Returns:
            The service's id.

        Raises:
            RequestError: it is served already, or the config has no such service.
            SfsError: as of `reload`.
        """
        async with self._loading:
            if definition:
                service = load_service(self._loaded, definition, name).config.service
            elif service not in {each.config.service for each in self._loaded.services}:
                known = ", ".join(sorted(each.config.service for each in self._loaded.services)) or "none"
                raise RequestError(
                    f"the config has no service {service!r}, it has: {known}",
                    code=ErrorCode.NOT_FOUND,
                    hint="give the file that defines it, as docs/operations.md shows",
                )
            if service in {each.service for each in await self.status()}:
                raise RequestError("there is a service with this id already", hint="`sfs admin reload` changes it")
            change = Change(self._configured(service), definition, unloaded=True)
            await self._load(Order("prepare", service, definition), change)
            return service

    async def _load(self, order: Order, change: Change) -> str:
        """Have a version wait; `change` is what is kept of the service beside that, if nothing is kept yet."""
        model = await self._prepare(order)
        service = order.service
        try:
            async with self._changed() as services:
                if change.unloaded:
                    services[service] = change
                services.setdefault(service, change).waiting = model.package
        except SfsError:
            await self._tell(Order("drop", service))
            raise
        await self._tell(Order("announce", service))
        self._begin_to_switch(service, model.id)
        return model.id

    async def _prepare(self, order: Order) -> VersionStatus:
        """Have every process load a version, or none."""
        if not all(process.is_up for process in self._processes):
            raise SfsError("a worker is being started", code=ErrorCode.NOT_READY, hint="try again in a moment")
        outcomes = await asyncio.gather(*(each.carry_out(order) for each in self._processes), return_exceptions=True)
        failures = [each for each in outcomes if isinstance(each, BaseException)]
        models = [each.prepared for each in outcomes if isinstance(each, Outcome) and each.prepared is not None]
        if not failures and len({model.id for model in models}) == 1:
            return models[0]
        await self._tell(Order("drop", order.service))
        if not failures:
            raise SfsError("the package was replaced while it was fetched", code=ErrorCode.IO_ERROR, hint="try again")
        explained = [each for each in failures if not isinstance(each, ProcessGoneError)]
        if explained:
            raise explained[0]
        raise SfsError("a worker ended while it loaded the model; nothing is changed", hint="its log may say why")

    async def unload(self, service: str) -> None:
        """Serve a service no more.

        Raises:
            RequestError: there is no such service.
            SfsError: it cannot be kept for the next start.
        """
        async with self._loading:
            await self._status_of(service)
            async with self._changed() as services:
                services.pop(service, None)
                if (configured := self._configured(service)) is not None:
                    services[service] = Change(configured, unloaded=True)
            self._stop_switching(service)
            await self._tell(Order("remove", service))

    async def cancel(self, service: str) -> str:
        """Drop the version that waits for the other parties; and the service, where it is a new one.

        Returns:
            The version's id.

        Raises:
            RequestError: there is no such service, or nothing waits.
            SfsError: it cannot be kept for the next start.
        """
        async with self._loading:
            waiting = (await self._status_of(service)).waiting
            if waiting is None:
                raise RequestError("no version waits for the other parties", code=ErrorCode.NOT_FOUND)
            await self._drop(service)
            return waiting.id

    async def _drop(self, service: str) -> None:
        async with self._changed() as services:
            entry = services.pop(service, Change())
            entry.waiting = None
            if entry.serving is not None or (entry.unloaded and entry.instead_of is not None):
                services[service] = entry
        self._stop_switching(service)
        await self._tell(Order("drop", service))

    async def roll_back(self, service: str) -> str:
        """Have callers get the version before; that which they get now becomes the one before.

        Returns:
            The id of what they get from now on.

        Raises:
            RequestError: there is no such service, or no version before that all parties have.
            SfsError: it cannot be kept for the next start.
        """
        previous = (await self._status_of(service)).previous
        if previous is None:
            raise RequestError("there is no version to go back to", code=ErrorCode.NOT_FOUND)
        if not previous.agreed:
            raise RequestError(
                "the other parties have not said that they have the version before",
                code=ErrorCode.NOT_READY,
                hint="have them load it, or wait a moment after a start",
            )
        await self._use(service, previous.id)
        return previous.id

    async def set_log_levels(self, levels: dict[str, str]) -> dict[str, str]:
        """Log more or less from now on; until the end only.

        Returns:
            The levels that are set, by room.

        Raises:
            RequestError: there is no such room.
        """
        for room in filter(None, levels):
            try:
                checked_room(room)
            except ValueError as error:
                raise RequestError(str(error), code=ErrorCode.NOT_FOUND) from None
        told = await self._tell(Order("log_levels", levels=levels))
        return told[0].levels if told else {}

    # ------------------------------------------------------------------------------------------------ switching
    def resume(self) -> None:
        """Go on with what waited when the server ended."""
        if any(change.waiting is not None for change in self.desired.services.values()):
            self._in_background(self._find_and_switch())

    async def _find_and_switch(self) -> None:
        for each in await self.status():
            if each.waiting is not None:
                self._begin_to_switch(each.service, each.waiting.id)

    def fell_back(self, service: str, id_: str) -> None:
        """A process found that the other parties have a version no more, and went back to the one before."""
        logger.warning("%s: other parties have the version no more that callers got: they get that before", service)
        self._in_background(self._use(service, id_))

    def _begin_to_switch(self, service: str, id_: str) -> None:
        self._switching[service] = self._in_background(self._switch(service, id_))

    def _stop_switching(self, service: str) -> None:
        task = self._switching.pop(service, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _switch(self, service: str, id_: str) -> None:
        """Have callers get a version once every process has found that all parties have it."""
        try:
            async with asyncio.TaskGroup() as processes:
                for each in self._processes:
                    processes.create_task(_agreed(each, service))
        except* SfsError as errors:
            error = errors.exceptions[0]
            text = error.public_text() if isinstance(error, SfsError) else ""
            logger.warning("%s: the new version is dropped: %s", service, text)
            async with self._loading:
                await self._drop(service)
        else:
            await asyncio.shield(self._in_background(self._use(service, id_)))

    async def _use(self, service: str, id_: str) -> None:
        """Have callers get a version that is open."""
        async with self._using:
            await self._keep_use(service, id_)
            await self._tell(Order("use", service, id=id_))

    async def _keep_use(self, service: str, id_: str) -> None:
        async with self._changed() as services:
            status = await self._status_of(service)
            known = {each.id: each.package for each in _versions([status])}
            if id_ not in known:  # another one came between
                raise RequestError(
                    "there is no such version any more",
                    code=ErrorCode.NOT_FOUND,
                    hint="`sfs admin status` shows what is",
                )
            entry = services.setdefault(service, Change(self._configured(service)))
            if status.waiting is not None and status.waiting.id == id_:
                entry.waiting = None
            before = status.previous if status.serving is not None and status.serving.id == id_ else status.serving
            entry.serving, entry.previous = known[id_], before.package if before is not None else None
            entry.unloaded = False

    # ---------------------------------------------------------------------------------------------- what it uses
    @asynccontextmanager
    async def _changed(self) -> AsyncIterator[dict[str, Change]]:
        """Changes, to be changed; they hold from the end of the block on, when they are kept."""
        async with self._changing:
            desired = deepcopy(self.desired)
            yield desired.services
            if self._file is not None:
                await asyncio.get_running_loop().run_in_executor(None, self._file.write, desired)
            self.desired = desired
            self.generation += 1

    def _configured(self, service: str) -> Package | None:
        """What the config says of a service's package."""
        return next((package_of(each) for each in self._loaded.services if each.config.service == service), None)

    async def _status_of(self, service: str) -> ServiceStatus:
        services = await self.status()
        for each in services:
            if each.service == service:
                return each
        known = ", ".join(each.service for each in services) or "none"
        raise RequestError(f"there is no service {service!r}, there are: {known}", code=ErrorCode.NOT_FOUND)

    async def _tell(self, order: Order) -> list[Outcome]:
        """Have every process that is up do it; what others are to do follows from `desired` when they start."""
        processes = [process for process in self._processes if process.is_up]
        outcomes = await asyncio.gather(*(each.carry_out(order) for each in processes), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ProcessGoneError):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Outcome)]

    def _in_background(self, doing: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(_logged(doing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop waiting for other parties."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _agreed(process: Managed, service: str) -> None:
    """Until a process has found that all parties have the new version; one that was started anew loads it first."""
    while True:
        try:
            await process.carry_out(Order("agree", service))
        except ProcessGoneError:
            await process.wait_up()
        else:
            return


async def _logged(doing: Coroutine[None, None, None]) -> None:
    try:
        await doing
    except SfsError as error:
        logger.warning("%s", error.public_text())


def _versions(services: Iterable[ServiceStatus]) -> Iterator[VersionStatus]:
    for each in services:
        for version in (each.serving, each.waiting, each.previous):
            if version is not None:
                yield version
