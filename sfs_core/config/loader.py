"""From a file to a checked config with its components found: every problem of the file at once, each with its line."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sfs_core.config.document import Node, Path_, path_text, plain, read_document
from sfs_core.config.reference import is_reference, native_from_reference
from sfs_core.config.schema import ServerConfig, Service, SourceChoice
from sfs_core.errors import ConfigError, PluginError
from sfs_core.host.registry import Registry
from sfs_core.sdk.context import PluginConfig
from sfs_core.sdk.feature_source import FeatureSource
from sfs_core.sdk.model_source import ModelSource

__all__ = ["ConfigFile", "LoadedConfig", "LoadedService", "load", "read_config"]

_SERVICE_KEYS: Final = ("service", "model", "features")


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
    shorthand: bool = field(repr=False)

    def place(self, path: Path_) -> str:
        """`file:line path` of an option."""
        shown = path[2:] if self.shorthand and path[:1] == ("services",) else path
        return f"{self.path}:{self.tree.at(path).line} {path_text(shown)}".rstrip()


@dataclass(frozen=True, slots=True)
class LoadedService:
    """A service with its components' classes and checked options."""

    config: Service
    model_source: type[ModelSource]
    model_options: PluginConfig
    feature_source: type[FeatureSource] | None = None
    feature_options: PluginConfig = field(default_factory=PluginConfig)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """Everything a server is made from."""

    file: ConfigFile
    services: tuple[LoadedService, ...]
    registry: Registry

    @property
    def config(self) -> ServerConfig:
        """What the file says."""
        return self.file.config

    @property
    def base_directory(self) -> Path:
        """What relative paths are relative to."""
        return self.file.base_directory


def read_config(path: Path, *, bulk_requester: str | None = None) -> ConfigFile:
    """Read a config file, ours (YAML or JSON) or the reference's serving JSON.

    Args:
        path: the file.
        bulk_requester: overrides `bulk_scoring.requester`, which the reference's JSON cannot say.

    Raises:
        ConfigError: with every problem found in `problems`.
    """
    tree = read_document(path)
    warnings: tuple[str, ...] = ()
    base = path.absolute().parent
    if is_reference(tree):
        tree, warnings = native_from_reference(tree, path)
        base = Path.cwd()
    shorthand = "services" not in tree.value
    if shorthand:
        tree = _with_service_list(tree)
    if bulk_requester is not None:
        tree.value["bulk_scoring"] = Node({"requester": Node(bulk_requester, tree.line)}, tree.line)
    try:
        config = ServerConfig.model_validate(plain(tree))
    except ValidationError as error:
        empty = ConfigFile(path, ServerConfig.model_construct(), base, (), tree, shorthand)
        raise _refused(path, [_problem(empty, ServerConfig, (), each) for each in error.errors()]) from None
    config = config.model_copy(update={"cache": base / config.cache.expanduser()})
    return ConfigFile(path, config, base, warnings, tree, shorthand)


def _with_service_list(tree: Node) -> Node:
    one = {key: tree.value[key] for key in _SERVICE_KEYS if key in tree.value}
    rest = {key: value for key, value in tree.value.items() if key not in one}
    line = min((node.line for node in one.values()), default=tree.line)
    return Node({**rest, "services": Node([Node(one, line)], line)}, tree.line)


def load(path: Path, *, plugin_directories: Sequence[Path] = (), bulk_requester: str | None = None) -> LoadedConfig:
    """Read a config file, find the components it names, and check their options.

    Raises:
        ConfigError: with every problem found in `problems`: `file:line path: message`, and what to do.
        PluginError: a plugin that is asked for by id cannot be used.
    """
    file = read_config(path, bulk_requester=bulk_requester)
    plugins = file.config.plugins
    directories = [*(file.base_directory / each for each in plugins.directories), *plugin_directories]
    registry = Registry.discover(plugins.allow, plugins.deny, directories)
    problems: list[str] = []
    services = []
    for i, service in enumerate(file.config.services):
        at: Path_ = ("services", i)
        model = _component(file, (*at, "model", "source"), service.model.source, registry.model_source, problems)
        features: tuple[Any, Any] | None = (None, PluginConfig())
        if service.features is not None:
            features = _component(
                file, (*at, "features", "source"), service.features.source, registry.feature_source, problems
            )
        if model is not None and features is not None:
            services.append(LoadedService(service, *model, *features))
    if problems:
        raise _refused(path, problems)
    return LoadedConfig(file, tuple(services), registry)


def _component(
    file: ConfigFile, at: Path_, choice: SourceChoice, find: Any, problems: list[str]
) -> tuple[Any, PluginConfig] | None:
    """Class and options of a component; None where something is wrong with it."""
    try:
        cls = find(choice.name)
    except PluginError as error:
        problems.append(_line(file.place((*at, "name")), error.message, error.hint))
        return None
    try:
        return cls, cls.Config.model_validate(choice.options)
    except ValidationError as error:
        problems += [_problem(file, cls.Config, at, each) for each in error.errors()]
        return None


# --------------------------------------------------------------------- problems
def _refused(path: Path, problems: Sequence[str]) -> ConfigError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigError(f"{path}: {count}", problems=tuple(problems))


def _line(place: str, message: str, hint: str = "") -> str:
    return f"{place}: {message}" + (f" (hint: {hint})" if hint else "")


def _problem(file: ConfigFile, model: type[BaseModel], at: Path_, error: Any) -> str:
    """One problem that pydantic found in `model`, which stands at `at`; never quotes a value."""
    inside = tuple(step for step in error["loc"] if step != "[key]")
    kind, message, hint = error["type"], error["msg"], ""
    if kind == "extra_forbidden":
        known = list(_model_at(model, inside[:-1]).model_fields)
        nearest = get_close_matches(str(inside[-1]), known, 1)
        message = "there is no such option"
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known) or 'none'}"
    elif kind == "missing":
        message = "is missing"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
    return _line(file.place((*at, *inside)), message, hint)


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    """The model that an option's name is to be looked up in."""
    for step in path:
        info = model.model_fields.get(step) if isinstance(step, str) else None
        inner = next(_models_in(info.annotation), None) if info else None
        model = inner or model
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
    elif get_origin(annotation) is not None:
        for argument in get_args(annotation):
            yield from _models_in(argument)
