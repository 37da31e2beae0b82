"""A config file on its way to a config: what is wrong with it is collected, with lines, until all of it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from sfs_core.config.callers import AuthenticatorChoice
from sfs_core.config.document import Node, plain, read_document
from sfs_core.config.explained import explained, model_at, nearest, place_of
from sfs_core.config.kuscia import is_kuscia, native_from_kuscia
from sfs_core.config.loaded import ConfigFile, LoadedFeatureSource, LoadedOperators, LoadedService
from sfs_core.config.problems import Place, Problems, path_text
from sfs_core.config.reference import is_reference, native_from_reference
from sfs_core.config.schema import Admin, Plugins, ServerConfig
from sfs_core.config.service import ModelChoice, Service
from sfs_core.config.source_choice import SourceChoice
from sfs_core.config.tls_checks import tls_problems, tls_warnings
from sfs_core.errors import PluginError
from sfs_core.host.registry import Registry
from sfs_core.sdk.context import PluginConfig, types_in

__all__ = ["Component", "Draft"]

_Model = TypeVar("_Model", bound=BaseModel)
SERVICE_KEYS: Final = ("service", "model", "features")
"""The options of a service, which a config with only one may have at its top level."""
Component = tuple[Any, PluginConfig]
"""A class and its checked options."""


class Draft:
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
    def of_file(cls, path: Path, bulk_requester: str | None, *, kuscia: bool) -> Draft:
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

    def admin_socket(self) -> Path | None:
        """Where the server listens for commands; None where it does not. Only what is wrong with that is a problem."""
        admin = self._at(("admin",))
        self.problems.keep("admin.socket")
        if admin is None:
            return None
        said = {"socket": admin["socket"]} if isinstance(admin, Mapping) and "socket" in admin else admin
        found = self._validated(Admin, said, ("admin",))
        return self.base_directory / found.socket if found else None

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
        self, index: int, service: Service, model: Component | None, sources: Sequence[Component | None]
    ) -> LoadedService:
        """A service with the components that were found for it."""
        assert model is not None
        parts = service.features.parts if service.features else []
        seen: Counter[str] = Counter()
        loaded = []
        for part, source in zip(parts, sources, strict=True):
            name = part.source.name
            seen[name] += 1
            if source is not None:
                features = None if part.features is None else tuple(part.features)
                loaded.append(
                    LoadedFeatureSource(*source, features, name if seen[name] == 1 else f"{name}-{seen[name]}")
                )
        return LoadedService(service, *model, tuple(loaded), self.path, self.tree.at(("services", index)))

    def service_count(self) -> int:
        """How many services there seem to be in a file that has problems."""
        services = self._at(("services",))
        return len(services) if isinstance(services, list) else 0

    def components(self, at: Place, registry: Registry) -> tuple[Component | None, list[Component | None]]:
        """The model source and the feature sources of a service; None for one where something is wrong."""
        several = self._at((*at, "features", "sources"))
        places: list[Place] = [(*at, "features", "source")] if self._at((*at, "features", "source")) else []
        if isinstance(several, list):
            places += [(*at, "features", "sources", i, "source") for i in range(len(several))]
        return (
            self._component((*at, "model", "source"), ModelChoice, registry.model_source),
            [self._component(place, SourceChoice, registry.feature_source) for place in places],
        )

    def authenticators(self, at: Place, registry: Registry) -> list[Component | None]:
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

    def _component(self, at: Place, kind: type[SourceChoice], find: Any) -> Component | None:
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
                inside = place_of(each)
                place = (*at, *inside)
                if each["type"] == "extra_forbidden":
                    self._add(place, "there is no such option", self._nearest(model, inside, place))
                else:
                    self._add(place, *explained(each))
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
        known = [*model_at(model, inside[:-1]).model_fields]
        given = [self.tree.at(place[:-1]).value]
        if self.shorthand and len(place) == 1:
            known = [*SERVICE_KEYS, *known]
            given.append(self.tree.at(("services", 0)).value)
        return nearest(str(place[-1]), known, given)

    def _add(self, path: Place, message: str, hint: str = "") -> None:
        node = self.tree.at(path)
        shown = path[2:] if self.shorthand and path[:1] == ("services",) else path
        self.problems.add(node.line, node.written or path_text(shown), message, hint)


def _with_service_list(tree: Node) -> Node:
    one = {key: tree.value[key] for key in SERVICE_KEYS if key in tree.value}
    rest = {key: value for key, value in tree.value.items() if key not in one}
    line = min((node.line for node in one.values()), default=tree.line)
    return Node({**rest, "services": Node([Node(one, line)], line)}, tree.line)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(each)
