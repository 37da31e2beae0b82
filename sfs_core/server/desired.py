"""What a server is to serve when that is no longer what its config says: changes made while it runs, kept for later."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from sfs_core.config.loaded import LoadedConfig, LoadedService
from sfs_core.config.loader import load_service
from sfs_core.errors import ConfigError, ErrorCode

__all__ = ["Change", "Desired", "Package", "ServicePlan", "StateFile", "package_of", "plan", "with_package"]

logger = logging.getLogger("sfs.admin")

FORMAT: Final = 1


class Package(msgspec.Struct, frozen=True, omit_defaults=True):
    """A package that a service may be served with.

    Args:
        path: what to fetch, in the terms of the service's model source; empty for what the config says.
        sha256: what the package must hash to; empty for what the config says of its own package, and for any other.
        version: name of the export, the same at all parties; None for what the config says.
    """

    path: str = ""
    sha256: str = ""
    version: str | None = None


PACKAGE: Final = Package()
"""That of the config."""


class Change(msgspec.Struct, omit_defaults=True):
    """What is to be so of one service, whatever the config says.

    Args:
        instead_of: what the config said of the package when this was written; None where it knew no such service.
            A config that says something else by now is newer, and goes before.
        definition: the service as it was loaded, as text; empty for one of the config.
        unloaded: callers do not get it, or not yet: see `waiting`.
        serving: what callers get; None for what the config or the definition says.
        waiting: what they are to get once all parties have it.
        previous: what they got before.
    """

    instead_of: Package | None = None
    definition: str = ""
    unloaded: bool = False
    serving: Package | None = None
    waiting: Package | None = None
    previous: Package | None = None


class Desired(msgspec.Struct, forbid_unknown_fields=True):
    """All changes, by service id."""

    format: int = FORMAT
    services: dict[str, Change] = {}


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A service as it is to be served.

    Args:
        service: as the config, or a definition, says.
        package: the package that callers get; or are to get, of a new service.
        new: whether no caller gets it before all parties have it.
        previous: what can be gone back to.
        waiting: what is to come.
    """

    service: LoadedService
    package: Package = PACKAGE
    new: bool = False
    previous: Package | None = None
    waiting: Package | None = None


def plan(loaded: LoadedConfig, desired: Desired) -> list[ServicePlan]:
    """What is to be served.

    Raises:
        ConfigError: a definition cannot be used (any more).
    """
    plans = {each.config.service: ServicePlan(each) for each in loaded.services}
    for name, change in desired.services.items():
        if change.definition:
            service = load_service(loaded, change.definition, f"the definition of {name}")
        elif name in plans:
            service = plans[name].service
        else:
            continue
        if change.unloaded:
            plans.pop(name, None)
            if change.waiting is not None:
                plans[name] = ServicePlan(service, change.waiting, new=True)
            continue
        plans[name] = ServicePlan(service, change.serving or PACKAGE, previous=change.previous, waiting=change.waiting)
    return list(plans.values())


def with_package(service: LoadedService, package: Package) -> LoadedService:
    """The service with another package."""
    model = service.config.model
    path = package.path or model.source.path
    # What a config says of the package before does not hold for another one.
    changed = model.model_copy(
        update={
            "source": model.source.model_copy(update={"path": path}),
            "sha256": package.sha256 or (None if package.path else model.sha256),
            "version": model.version if package.version is None else package.version,
        }
    )
    return replace(service, config=service.config.model_copy(update={"model": changed}))


def package_of(service: LoadedService) -> Package:
    """The package that a service is configured with."""
    model = service.config.model
    return Package(model.source.path, model.sha256 or "", model.version)


class StateFile:
    """Keeps changes from one start to the next; every write is whole or not at all.

    Args:
        path: the file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, loaded: LoadedConfig) -> Desired:
        """What is kept, without what the config has overtaken.

        Raises:
            ConfigError: the file cannot be read, or is none of these.
        """
        hint = "repair the file, or remove it to serve what the config says"
        try:
            desired = msgspec.json.decode(self._path.read_bytes(), type=Desired)
        except FileNotFoundError:
            return Desired()
        except OSError as error:
            raise ConfigError(
                f"it cannot be read: {error.strerror}", code=ErrorCode.IO_ERROR, where=str(self._path)
            ) from None
        except (msgspec.MsgspecError, ValueError):
            raise ConfigError(
                "it does not hold what a server keeps of its changes", where=str(self._path), hint=hint
            ) from None
        if desired.format != FORMAT:
            raise ConfigError("another version of this software wrote it", where=str(self._path), hint=hint)
        return Desired(services=self._still_valid(desired.services, loaded))

    def _still_valid(self, changes: Mapping[str, Change], loaded: LoadedConfig) -> dict[str, Change]:
        configured = {each.config.service: package_of(each) for each in loaded.services}
        valid = {name: change for name, change in changes.items() if configured.get(name) == change.instead_of}
        for name in changes.keys() - valid.keys():
            logger.warning("%s: the config was changed since it was managed: it is served as the config says", name)
        for name in valid:
            logger.info("%s: it was managed, it is served as %s says", name, self._path)
        return valid

    def write(self, desired: Desired) -> None:
        """Keep this instead.

        Raises:
            ConfigError: the file cannot be written; it is then as before.
        """
        partial = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(msgspec.json.format(msgspec.json.encode(desired), indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ConfigError(
                f"it cannot be written: {error.strerror}",
                code=ErrorCode.IO_ERROR,
                where=str(self._path),
                hint="nothing was changed; make room, and let this user write to its folder",
            ) from None
