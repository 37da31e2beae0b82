"""From a file to a checked config with its components found: every problem of the file at once, each with its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from sfs_core.config.callers import AuthenticatorChoice
from sfs_core.config.document import Node, plain, read_document, read_text
from sfs_core.config.kuscia import is_kuscia, native_from_kuscia
from sfs_core.config.problems import Place, Problems, path_text
from sfs_core.config.reference import is_reference, native_from_reference
from sfs_core.config.schema import ModelChoice, Plugins, ServerConfig, Service, SourceChoice
from sfs_core.config.tls_checks import tls_problems, tls_warnings
from sfs_core.errors import PluginError
from sfs_core.host.registry import Registry
from sfs_core.sdk.authenticator import Authenticator
from sfs_core.sdk.context import PluginConfig, types_in
from sfs_core.sdk.feature_source import FeatureSource
from sfs_core.sdk.model_source import ModelSource

__all__ = [
    "ConfigFile",
    "LoadedConfig",
    "LoadedFeatureSource",
    "LoadedOperators",
    "LoadedService",
    "load",
    "load_service",
    "read_config",
]

_Model = TypeVar("_Model", bound=BaseModel)
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


def read_config(path: Path, *, bulk_requester: str | None = None, kuscia: bool = False) -> ConfigFile:
    """Read a config file without looking components up.

    Args:
        path: the file: ours (YAML or JSON), the reference's serving JSON, or a document of Kuscia.
        bulk_requester: overrides `bulk_scoring.requester`, which the reference's JSON cannot say.
        kuscia: it is a document of Kuscia, even if it does not look like one.

    Raises:
        ConfigError: with every problem found in `problems`.
    """
    draft = _Draft.of_file(path, bulk_requester, kuscia=kuscia)
    config = draft.config()
    if config is None or draft.problems:
        raise draft.problems.error()
    return draft.file(config)


def load(
    path: Path,
    *,
    plugin_directories: Sequence[Path] = (),
    bulk_requester: str | None = None,
    kuscia: bool = False,
) -> LoadedConfig:
    """Read a config file as `read_config` does, find the components it names, and check their options.

    Raises:
        ConfigError: with every problem found in `problems`: `file:line path: message`, and what to do.
        PluginError: a folder of plugins is not there.
    """
    draft = _Draft.of_file(path, bulk_requester, kuscia=kuscia)
    config = draft.config()
    plugins = draft.plugins()
    if plugins is None:  # nobody knows which components there are
        raise draft.problems.error()
    directories = [*(draft.base_directory / each for each in plugins.directories), *plugin_directories]
    registry = Registry.discover(plugins.allow, plugins.deny, directories)
    count = len(config.services) if config else draft.service_count()
    found = [draft.components(("services", i), registry) for i in range(count)]
    if config is not None:
        draft.check_tls(config)
    authenticators = draft.authenticators(("callers", "authenticators"), registry)
    administrators = draft.authenticators(("admin", "http", "authenticators"), registry)
    operators = draft.operators(registry)
    if config is None or draft.problems:
        raise draft.problems.error()
    services = [draft.loaded(i, service, *found[i]) for i, service in enumerate(config.services)]
    return LoadedConfig(
        draft.file(config),
        tuple(services),
        registry,
        tuple(filter(None, authenticators)),
        tuple(filter(None, administrators)),
        operators,
    )


def load_service(loaded: LoadedConfig, text: str, name: str) -> LoadedService:
    """A service that a config does not have: what an entry of its `services` would say, as a document of its own.

    Args:
        loaded: the config, which everything else is up to.
        text: YAML or JSON.
        name: stands for the file in problems; what it names with `${file:…}` is relative to that file's folder.

    Raises:
        ConfigError: as of `load`.
    """
    path = loaded.base_directory / name
    problems = Problems(path)
    tree = read_text(path, text, problems)
    document = Node({**loaded.file.tree.value, "services": Node([tree], tree.line)}, tree.line)
    draft = _Draft(path, document, problems, loaded.base_directory)
    draft.shorthand = True
    config = draft.config()
    found = draft.components(("services", 0), loaded.registry)
    if config is None or draft.problems:
        raise draft.problems.error()
    return draft.loaded(0, config.services[0], *found)


def _loaded(
    service: Service, model: _Component | None, sources: Sequence[_Component | None], file: Path, tree: Node
) -> LoadedService:
    assert model is not None
    parts = service.features.parts if service.features else []
    seen: Counter[str] = Counter()
    loaded = []
    for part, source in zip(parts, sources, strict=True):
        name = part.source.name
        seen[name] += 1
        if source is not None:
            features = None if part.features is None else tuple(part.features)
            loaded.append(LoadedFeatureSource(*source, features, name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return LoadedService(service, *model, tuple(loaded), file, tree)


_Component = tuple[Any, PluginConfig]
"""A class and its checked options."""


class _Draft:
    """A file on its way to a config, and what is wrong with it so far."""

    def __init__(self, path: Path, tree: Node, problems: Problems, base_directory: Path) -> None:
        self.path = path
        self.problems = problems
        self.tree = tree
        self.base_directory = base_directory
        self.warnings: tuple[str, ...] = ()
        self.shorthand = "services" not in tree.value  # then places in the only service are shown without that level
        if self.shorthand:
            self.tree = _with_service_list(tree)

    @classmethod
    def of_file(cls, path: Path, bulk_requester: str | None, *, kuscia: bool) -> _Draft:
        """What a file says, in whichever of the formats."""
        problems = Problems(path)
        tree = read_document(path, problems)
        base_directory = path.absolute().parent
        warnings: tuple[str, ...] = ()
        is_kuscias = kuscia or is_kuscia(tree)
        if is_kuscias or is_reference(tree):
            if is_kuscias:
                tree, found = native_from_kuscia(tree, path, problems)
            else:
                tree, found = native_from_reference(tree, problems)
            warnings = tuple(problems.redacted(f"{path}:{line} {text}") for line, text in found)
            base_directory = Path.cwd()
        draft = cls(path, tree, problems, base_directory)
        draft.warnings = warnings
        if bulk_requester is not None:
            line = draft.tree.line
            draft.tree.value["bulk_scoring"] = Node({"requester": Node(bulk_requester, line)}, line)
        return draft

    def config(self) -> ServerConfig | None:
        """What the file says; None where that is wrong."""
        return self._validated(ServerConfig, plain(self.tree), ())

    def file(self, config: ServerConfig) -> ConfigFile:
        """The file with what it says."""
        config = config.model_copy(update={"cache": self.base_directory / config.cache})
        return ConfigFile(self.path, config, self.base_directory, self.warnings, self.tree)

    def check_tls(self, config: ServerConfig) -> None:
        """Whether certificates and keys can be used, and fit what is said of the parties."""
        for at, message, hint in tls_problems(config, self.base_directory):
            self._add(at, message, hint)
        if not self.problems:
            self.warnings += tuple(f"{self.path}: {text}" for text in tls_warnings(config, self.base_directory))

    def plugins(self) -> Plugins | None:
        """Which plugins may be loaded; None where that is wrong."""
        plugins = self._validated(Plugins, self._at(("plugins",)) or {}, ("plugins",))
        missing = [i for i, each in enumerate(plugins.directories if plugins else ()) if not self._is_folder(each)]
        for i in missing:
            self._add(("plugins", "directories", i), "there is no such folder")
        return None if missing else plugins

    def _is_folder(self, path: Path) -> bool:
        return (self.base_directory / path).is_dir()

    def loaded(
        self, index: int, service: Service, model: _Component | None, sources: Sequence[_Component | None]
    ) -> LoadedService:
        """A service with the components that were found for it."""
        return _loaded(service, model, sources, self.path, self.tree.at(("services", index)))

    def service_count(self) -> int:
        """How many services there seem to be in a file that has problems."""
        services = self._at(("services",))
        return len(services) if isinstance(services, list) else 0

    def components(self, at: Place, registry: Registry) -> tuple[_Component | None, list[_Component | None]]:
        """The model source and the feature sources of a service; None for one where something is wrong."""
        several = self._at((*at, "features", "sources"))
        places: list[Place] = [(*at, "features", "source")] if self._at((*at, "features", "source")) else []
        if isinstance(several, list):
            places += [(*at, "features", "sources", i, "source") for i in range(len(several))]
        return (
            self._component((*at, "model", "source"), ModelChoice, registry.model_source),
            [self._component(place, SourceChoice, registry.feature_source) for place in places],
        )

    def authenticators(self, at: Place, registry: Registry) -> list[_Component | None]:
        """The authenticators that are listed at a place; None for one that something is wrong with."""
        choices = self._at(at)
        count = len(choices) if isinstance(choices, list) else 0
        return [self._component((*at, i), AuthenticatorChoice, registry.authenticator) for i in range(count)]

    def operators(self, registry: Registry) -> dict[str, LoadedOperators]:
        """Options of operators that are right, by the names that the file has."""
        blocks = self._at(("operators",))
        found: dict[str, LoadedOperators] = {}
        given: dict[str, str] = {}
        for name, options in (blocks if isinstance(blocks, dict) else {}).items():
            at = ("operators", name)
            if not isinstance(options, Mapping):
                continue  # which is among the problems already
            try:
                names = registry.operators_of(name)
                config = registry.operator_options(name)
            except PluginError as error:
                self._add(at, error.message, error.hint)
                continue
            if twice := [each for each in names if each in given]:
                self._add(
                    at, f"{twice[0]} has options under {given[twice[0]]!r} already", "give all of them at one place"
                )
                continue
            given.update((each, name) for each in names)
            checked = self._options(config, options, at)
            if checked is not None:
                found[name] = LoadedOperators(names, checked)
        return found

    def _component(self, at: Place, kind: type[SourceChoice], find: Any) -> _Component | None:
        options = self._at(at)
        if not isinstance(options, Mapping) or not isinstance(options.get("name"), str) or not options["name"]:
            return None  # there is none, or its place is among the problems already
        try:
            cls = find(options["name"])
        except PluginError as error:
            self._add((*at, "name"), error.message, error.hint)
            return None
        config: type[PluginConfig] = cls.Config
        own = {key: value for key, value in options.items() if key not in kind.model_fields}
        checked = self._options(config, own, at)
        return None if checked is None else (cls, checked)

    def _options(self, config: type[PluginConfig], options: Mapping[str, Any], at: Place) -> PluginConfig | None:
        """A plugin's options, checked; None where they are wrong."""
        self._hide_secrets(config, options)
        try:
            return self._validated(config, options, at)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's code; its exception may quote what is not to be shown
            message = f"the plugin fails to check these options ({type(error).__name__})"
            self._add(at, message, "report this to the plugin's author")
            return None

    def _hide_secrets(self, config: type[PluginConfig], options: Mapping[str, Any]) -> None:
        for name, info in config.model_fields.items():
            if SecretStr in types_in(info.annotation):
                for text in _texts_in(options.get(info.alias or name)):
                    self.problems.hide(text, "**********")

    def _validated(self, model: type[_Model], value: Any, at: Place) -> _Model | None:
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                inside = tuple(step for step in each["loc"] if step != "[key]")
                place = (*at, *inside)
                if each["type"] == "extra_forbidden":
                    self._add(place, "there is no such option", self._nearest(model, inside, place))
                else:
                    self._add(place, *_explained(each))
            return None

    def _at(self, path: Place) -> Any:
        """The plain value at a path; None where there is nothing."""
        node = self.tree
        for step in path:
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return plain(node)

    def _nearest(self, model: type[BaseModel], inside: Place, place: Place) -> str:
        """Which option could be meant by one that there is not: none that is given already."""
        known = [*_model_at(model, inside[:-1]).model_fields]
        blocks = [self.tree.at(place[:-1]).value]
        if self.shorthand and len(place) == 1:
            known = [*_SERVICE_KEYS, *known]
            blocks.append(self.tree.at(("services", 0)).value)
        left = [each for each in known if not any(isinstance(block, dict) and each in block for block in blocks)]
        nearest = get_close_matches(str(place[-1]), left, 1)
        return f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known) or 'none'}"

    def _add(self, path: Place, message: str, hint: str = "") -> None:
        node = self.tree.at(path)
        shown = path[2:] if self.shorthand and path[:1] == ("services",) else path
        self.problems.add(node.line, node.written or path_text(shown), message, hint)


def _with_service_list(tree: Node) -> Node:
    one = {key: tree.value[key] for key in _SERVICE_KEYS if key in tree.value}
    rest = {key: value for key, value in tree.value.items() if key not in one}
    line = min((node.line for node in one.values()), default=tree.line)
    return Node({**rest, "services": Node([Node(one, line)], line)}, tree.line)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(each)


# --------------------------------------------------------------------- what pydantic found, in our words
def _explained(error: Any) -> tuple[str, str]:
    """Message and hint about one error; never quotes a value of the file."""
    kind: str = error["type"]
    if kind == "missing":
        return "is missing", ""
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"]), ""
    if kind == "string_type":
        return "a text is expected", "put it in quotes"
    if kind == "string_pattern_mismatch":
        return f"a text of the form {error['ctx']['pattern']} is expected", ""
    if kind == "too_short":
        return f"at least {error['ctx']['min_length']} are expected", ""
    said, is_expected, expected = error["msg"].partition("Input should be ")
    if not is_expected:
        return said, ""
    expected = re.split(", unable to parse|, got ", expected)[0]
    expected = expected.replace("valid integer", "whole number").replace("valid ", "")
    return f"{'a value ' if expected.startswith(('less ', 'greater ')) else ''}{expected} is expected", ""


def _model_at(model: type[BaseModel], path: Place) -> type[BaseModel]:
    """The model that an option's name is to be looked up in."""
    for step in path:
        info = model.model_fields.get(step) if isinstance(step, str) else None
        if info:
            model = next((each for each in types_in(info.annotation) if issubclass(each, BaseModel)), model)
    return model
