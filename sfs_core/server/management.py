"""Everything by which one server is managed while it runs, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sfs_core.config.loaded import LoadedConfig
from sfs_core.server.admin import Administration, AdminSocket, WorkerStatus
from sfs_core.server.admin_http import AdminPort
from sfs_core.server.desired import Desired, StateFile
from sfs_core.server.manager import Manager
from sfs_core.server.orders import Managed
from sfs_core.server.tls import ServerTls

__all__ = ["Management"]


class Management:
    """A server's manager, and the ways to it that the config opens.

    Args:
        loaded: the config.
        processes: those that serve.
        tls: of the server.
        workers: tells of the processes, where there are several.

    Attributes:
        manager: carries commands out.

    Raises:
        ConfigError: what was kept of earlier changes cannot be used.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        processes: Sequence[Managed],
        tls: ServerTls,
        workers: Callable[[], Sequence[WorkerStatus]] = tuple,
    ) -> None:
        admin = loaded.config.admin
        state = admin.state if admin is not None else None
        file = StateFile(loaded.base_directory / state) if state is not None else None
        self.manager = Manager(loaded, file.read(loaded) if file is not None else Desired(), file, processes)
        self._ways: list[AdminSocket | AdminPort] = []
        if admin is not None:
            administration = Administration(self.manager, workers)
            self._ways.append(AdminSocket(loaded.base_directory / admin.socket, administration))
            if admin.http is not None:
                context = tls.of(admin.http.tls, "the admin port")
                self._ways.append(AdminPort(loaded, admin.http, administration, context))

    async def start(self) -> None:
        """Take commands, and go on with what waited when the server ended.

        Raises:
            SfsError: a socket or port cannot be listened on, or an authenticator cannot work.
        """
        for way in self._ways:
            await way.start()
        self.manager.resume()

    async def stop(self) -> None:
        """Take no more commands."""
        for way in self._ways:
            await way.stop()
        await self.manager.close()
