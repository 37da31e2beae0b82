"""What a config becomes: its options, and the classes of the components that it names with their checked options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sfs_core.config.document import Node
from sfs_core.config.problems import Place, path_text
from sfs_core.config.schema import ServerConfig
from sfs_core.config.service import Service
from sfs_core.host.registry import Registry
from sfs_core.sdk.authenticator import Authenticator
from sfs_core.sdk.context import PluginConfig
from sfs_core.sdk.feature_source import FeatureSource
from sfs_core.sdk.model_source import ModelSource

__all__ = ["ConfigFile", "LoadedConfig", "LoadedFeatureSource", "LoadedOperators", "LoadedService"]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config file whose own options are right; components are not looked up yet.

    Args:
        path: the file.
        config: what it says.
        base_directory: what relative paths in it are relative to: its folder, or for a serving JSON of the
            reference the current directory, as there.
        warnings: options that are accepted and do something else here than in the reference.
    """

    path: Path
    config: ServerConfig
    base_directory: Path
    warnings: tuple[str, ...]
    tree: Node = field(repr=False)

    def line(self, place: Place) -> int:
        """The line of a value, or of what it would be in."""
        return self.tree.at(place).line


@dataclass(frozen=True, slots=True)
class LoadedFeatureSource:
    """A feature source's class and checked options, and the features that it gives (None: those that are left).

    `name` is its component's, with a number from the second source of that name on.
    """

    source: type[FeatureSource]
    options: PluginConfig
    features: tuple[str, ...] | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class LoadedService:
    """A service with its components' classes and checked options."""

    config: Service
    model_source: type[ModelSource]
    model_options: PluginConfig
    feature_sources: tuple[LoadedFeatureSource, ...] = ()
    file: Path = field(default=Path(), compare=False)
    tree: Node = field(default_factory=lambda: Node({}, 1), compare=False, repr=False)
    """What the file says of it."""

    def where(self, *place: str | int) -> str:
        """The place of an option of this service, as problems name it."""
        return f"{self.file}:{self.tree.at(place).line} {path_text(place)}"


@dataclass(frozen=True, slots=True)
class LoadedOperators:
    """Checked options of operators.

    Args:
        names: of the operators.
        options: of each of them.
    """

    names: tuple[str, ...]
    options: PluginConfig


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """Everything a server is made from.

    Args:
        file: the config's file.
        services: with their components.
        registry: what is installed.
        authenticators: of callers, in their order, each with its checked options.
        operators: those with options in the file, by the name that they have there: an operator's, or a plugin's id.
        administrators: the authenticators of those who may manage the server over HTTP, likewise.
    """

    file: ConfigFile
    services: tuple[LoadedService, ...]
    registry: Registry
    authenticators: tuple[tuple[type[Authenticator], PluginConfig], ...] = ()
    administrators: tuple[tuple[type[Authenticator], PluginConfig], ...] = ()
    operators: Mapping[str, LoadedOperators] = field(default_factory=dict)

    @property
    def operator_options(self) -> dict[str, PluginConfig]:
        """The options of operators that the file gives some to, by the operators' names."""
        return {name: each.options for each in self.operators.values() for name in each.names}

    @property
    def config(self) -> ServerConfig:
        """What the file says."""
        return self.file.config

    @property
    def base_directory(self) -> Path:
        """What relative paths are relative to."""
        return self.file.base_directory

    def changed(self, **options: Any) -> LoadedConfig:
        """The same with other top-level options: what a command line says beside the file, checked before."""
        config = self.config.model_copy(update=options)
        return replace(self, file=replace(self.file, config=config))
