"""What a process that serves is told to do with its models, by itself or by the process that started it."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from sfs_core.server.desired import Package

__all__ = ["Managed", "Order", "Outcome", "ProcessGoneError", "ServiceStatus", "VersionStatus"]


class Order(msgspec.Struct, omit_defaults=True):
    """One step; what it takes depends on `do`:

    - `prepare`: load `package` for `service`, or for the service of `definition`; nobody gets it yet;
    - `announce`: have peers find what was prepared;
    - `agree`: wait until all parties have it, and know that all do;
    - `use`: have callers get the version `id`, which waits or is that before; nothing where they do already;
    - `drop`: forget what was prepared;
    - `remove`: serve `service` no more;
    - `status`: tell what is served;
    - `log_levels`: log `levels` by room from now on; tells those that are set.
    """

    do: Literal["prepare", "announce", "agree", "use", "drop", "remove", "status", "log_levels"]
    service: str = ""
    definition: str = ""
    package: Package = Package()
    id: str = ""
    levels: dict[str, str] = {}


class VersionStatus(msgspec.Struct):
    """A version of a service's model that is open.

    Args:
        id: of the model.
        model: its name.
        agreed: whether all parties agreed on it.
        package: what it was loaded from, its SHA-256 included.
    """

    id: str
    model: str
    agreed: bool
    package: Package


class ServiceStatus(msgspec.Struct):
    """What a service is served with, what waits for the other parties, and what can be gone back to."""

    service: str
    serving: VersionStatus | None = None
    waiting: VersionStatus | None = None
    previous: VersionStatus | None = None


class Outcome(msgspec.Struct, omit_defaults=True):
    """What an order gave: the version that was prepared, the status, the log levels; nothing for all others."""

    prepared: VersionStatus | None = None
    services: list[ServiceStatus] = []
    levels: dict[str, str] = {}


class ProcessGoneError(Exception):
    """The process ended, or has not begun to serve (again)."""


class Managed(Protocol):
    """A process that serves."""

    @property
    def is_up(self) -> bool:
        """Whether it takes orders."""

    async def wait_up(self) -> None:
        """Until it takes orders."""

    async def carry_out(self, order: Order) -> Outcome:
        """Do it.

        Raises:
            SfsError: it cannot be done; nothing was changed.
            ProcessGoneError: whether it was done is unknown, and nothing of it is left.
        """
