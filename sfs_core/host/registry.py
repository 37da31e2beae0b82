"""The registry: components by name, their classes (or commands) imported when somebody asks for them.

Asked for and unusable is an error that says which of five things is wrong: not installed, import failed, disabled
by the config, made for another plugin API, or offered by two plugins. Not asked for and broken stays quiet;
`sfs plugins list` shows it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from packaging.utils import canonicalize_name

from sfs_core.errors import ErrorCode, PluginError
from sfs_core.host.discovery import LoadedPlugin, Observer, PluginInfo, describe, discover
from sfs_core.host.known_plugins import KNOWN_PLUGINS
from sfs_core.sdk.hookspecs import PredictionEvent, ServerHandle
from sfs_core.sdk.specs import (
    AuthenticatorSpec,
    CommandSpec,
    ComponentSpec,
    FeatureSourceSpec,
    ModelSourceSpec,
    OperatorSpec,
)

if TYPE_CHECKING:
    import click

    from sfs_core.sdk.authenticator import Authenticator
    from sfs_core.sdk.context import PluginConfig
    from sfs_core.sdk.feature_source import FeatureSource
    from sfs_core.sdk.model_source import ModelSource
    from sfs_core.sdk.operator import Operator

__all__ = ["KINDS", "Kind", "Registry", "nearest_name"]

Kind = Literal["feature_source", "model_source", "operator", "authenticator", "command"]
KINDS: Final[tuple[Kind, ...]] = ("feature_source", "model_source", "operator", "authenticator", "command")


@dataclass(frozen=True, slots=True)
class _KindFacts:
    title: str
    base: str  # imported late: it needs NumPy and Arrow, which `sfs plugins list` does not
    error_code: ErrorCode


_FACTS: Final[dict[Kind, _KindFacts]] = {
    "feature_source": _KindFacts(
        FeatureSourceSpec.title, "sfs_core.sdk.feature_source:FeatureSource", ErrorCode.INVALID_ARGUMENT
    ),
    "model_source": _KindFacts(
        ModelSourceSpec.title, "sfs_core.sdk.model_source:ModelSource", ErrorCode.INVALID_ARGUMENT
    ),
    "operator": _KindFacts(OperatorSpec.title, "sfs_core.sdk.operator:Operator", ErrorCode.UNEXPECTED_ERROR),
    "authenticator": _KindFacts(
        AuthenticatorSpec.title, "sfs_core.sdk.authenticator:Authenticator", ErrorCode.INVALID_ARGUMENT
    ),
    "command": _KindFacts(CommandSpec.title, "click:Command", ErrorCode.INVALID_ARGUMENT),
}


@dataclass(frozen=True, slots=True)
class _Offer:
    spec: ComponentSpec
    plugin: PluginInfo


class Registry:
    """All components of the plugins found, by kind and name.

    Attributes:
        plugins: every plugin found, active or not, in the order of their ids.
        prediction_observers: to be called with the event of each prediction; they raise nothing. Empty when no
            plugin observes predictions.
    """

    def __init__(self, plugins: Sequence[LoadedPlugin] = ()) -> None:
        self._offers: dict[tuple[str, str], list[_Offer]] = {}
        for plugin in plugins:
            for spec in plugin.info.components:
                self._offers.setdefault((spec.kind, spec.name), []).append(_Offer(spec, plugin.info))
        self.plugins: tuple[PluginInfo, ...] = tuple(self._with_clashes(plugin.info) for plugin in plugins)
        self._observers = [observer for plugin in plugins for observer in plugin.observers]
        self.prediction_observers: tuple[Callable[[PredictionEvent], None], ...] = self._observers_of(
            "sfs_prediction_done"
        )
        self._imported: dict[tuple[str, str], Any] = {}

    @classmethod
    def discover(
        cls, allow: Sequence[str] = (), deny: Sequence[str] = (), plugin_directories: Sequence[Path] = ()
    ) -> Registry:
        """The registry of what is installed; arguments and errors as in `sfs_core.host.discovery.discover`."""
        return cls(discover(allow, deny, plugin_directories))

    def operator(self, name: str) -> type[Operator]:
        """The operator class of that name, imported on first use.

        Raises:
            PluginError: there is none, or it cannot be used (2).
        """
        found: type[Operator] = self._found("operator", name)
        return found

    def operators_of(self, name: str) -> tuple[str, ...]:
        """The operators that a config means by a name: the one of that name, or all of the plugin with that id.

        Raises:
            PluginError: there is no such operator or plugin, it cannot be used, or it has no operators (2).
        """
        if ("operator", name) in self._offers:
            return (self._offer("operator", name).spec.name,)
        by_id = {canonicalize_name(plugin.id): plugin for plugin in self.plugins}
        plugin = by_id.get(canonicalize_name(name))
        if plugin is None:
            if name in KNOWN_PLUGINS.values():
                raise _error("operator", f"plugin {name!r} is not installed", f"pip install {name}")
            names = {each.id for each in self.plugins if _operators_in(each)} | {
                spec.name for spec in self.specs("operator")
            }
            nearest = nearest_name(name, names)
            hint = f"did you mean {nearest!r}?" if nearest else "`sfs plugins list` shows what is installed"
            raise _error("operator", f"no operator or plugin named {name!r} is installed", hint)
        if plugin.status != "active":
            message, hint = _inactive(plugin)
            raise _error("operator", f"{plugin.provenance} {message}", hint)
        if not (operators := _operators_in(plugin)):
            raise _error("operator", f"plugin {plugin.id!r} has no operators", "its other options belong elsewhere")
        for each in operators:
            self._offer("operator", each)  # which refuses those that another plugin has, too
        return operators

    def operator_options(self, name: str) -> type[PluginConfig]:
        """The model of the options that a config gives under a name, see `operators_of`.

        Raises:
            PluginError: the plugin's operators have different ones, or one cannot be used (2).
        """
        operators = [self.operator(each) for each in self.operators_of(name)]
        with_options = [each for each in operators if each.Config.model_fields]
        configs = {each.Config for each in with_options or operators}
        if len(configs) > 1 and with_options:
            names = ", ".join(each.definition.name for each in with_options)
            raise _error("operator", "its operators have different options", f"give them by operator: {names}")
        return configs.pop()

    def feature_source(self, name: str) -> type[FeatureSource]:
        """The feature source class of that name, imported on first use.

        Raises:
            PluginError: there is none, or it cannot be used (3).
        """
        found: type[FeatureSource] = self._found("feature_source", name)
        return found

    def model_source(self, name: str) -> type[ModelSource]:
        """The model source class of that name, imported on first use.

        Raises:
            PluginError: there is none, or it cannot be used (3).
        """
        found: type[ModelSource] = self._found("model_source", name)
        return found

    def authenticator(self, name: str) -> type[Authenticator]:
        """The authenticator class of that name, imported on first use.

        Raises:
            PluginError: there is none, or it cannot be used (3).
        """
        found: type[Authenticator] = self._found("authenticator", name)
        return found

    def command(self, name: str) -> click.Command:
        """The verb of that name, imported on first use.

        Raises:
            PluginError: there is none, or it cannot be used (3).
        """
        found: click.Command = self._found("command", name)
        return found

    def specs(self, kind: Kind) -> tuple[ComponentSpec, ...]:
        """The records of all usable components of a kind, by name. Names that two plugins offer are not usable."""
        return tuple(
            offers[0].spec for (its, _), offers in sorted(self._offers.items()) if its == kind and len(offers) == 1
        )

    def spec(self, kind: Kind, name: str) -> ComponentSpec:
        """The record of a component.

        Raises:
            PluginError: it is not there or not usable; as for its class, except that nothing is imported.
        """
        return self._offer(kind, name).spec

    def provider(self, kind: Kind, name: str) -> PluginInfo:
        """The plugin that offers a component.

        Raises:
            PluginError: it is not there or not usable; as for its class, except that nothing is imported.
        """
        return self._offer(kind, name).plugin

    def notify_server_started(self, server: ServerHandle) -> None:
        """Tell the plugins that a server is ready. Raises nothing."""
        for observer in self._observers_of("sfs_server_started"):
            observer(server)

    def notify_server_stopping(self, server: ServerHandle) -> None:
        """Tell the plugins that a server is about to close. Raises nothing."""
        for observer in self._observers_of("sfs_server_stopping"):
            observer(server)

    def _observers_of(self, hook: str) -> tuple[Observer, ...]:
        return tuple(observer for observer in self._observers if observer.hook == hook)

    def _with_clashes(self, plugin: PluginInfo) -> PluginInfo:
        clashes = []
        for spec in plugin.components:
            others = [
                offer.plugin.provenance for offer in self._offers[spec.kind, spec.name] if offer.plugin.id != plugin.id
            ]
            if others:
                clashes.append(f"{spec.title} {spec.name!r} is offered by {', '.join(others)} too, neither is used")
        return replace(plugin, reason="; ".join(clashes)) if clashes else plugin

    # ------------------------------------------------------------------------------------ finding by name
    def _offer(self, kind: Kind, name: str) -> _Offer:
        offers = self._offers.get((kind, name), [])
        if not offers:
            self._refuse_absent(kind, name)
        if len(offers) > 1:
            owners = " and ".join(offer.plugin.provenance for offer in offers)
            raise _error(
                kind,
                f"{_FACTS[kind].title} {name!r} is offered by {owners}",
                "uninstall one of them, or name it in plugins.deny",
            )
        return offers[0]

    def _refuse_absent(self, kind: Kind, name: str) -> NoReturn:
        title = _FACTS[kind].title
        home = KNOWN_PLUGINS.get((kind, name), "")
        for plugin in self.plugins:
            if home and home in {plugin.distribution, plugin.id} and plugin.status != "active":
                message, hint = _inactive(plugin)
                raise _error(kind, f"{title} {name!r} comes with {plugin.provenance}, which {message}", hint)
        installed = [spec.name for spec in self.specs(kind)]
        known = [its for its_kind, its in KNOWN_PLUGINS if its_kind == kind]
        hints = []
        if home:
            hints.append(f"pip install {home}")
        elif nearest := nearest_name(name, {*installed, *known}):
            more = "" if nearest in installed else f" (pip install {KNOWN_PLUGINS[kind, nearest]})"
            hints.append(f"did you mean {nearest!r}?{more}")
        if unusable := [f"{plugin.id} ({plugin.reason})" for plugin in self.plugins if plugin.status != "active"]:
            hints.append(f"plugins that are installed but not in use: {'; '.join(unusable)}")
        listed = ", ".join(installed) or "none"
        hint = "; ".join(hints) or "`sfs plugins list` shows what is installed"
        raise _error(kind, f"no {title} named {name!r} is installed (installed: {listed})", hint)

    # ------------------------------------------------------------------------------------------ importing
    def _found(self, kind: Kind, name: str) -> Any:
        key = (kind, name)
        if key not in self._imported:
            self._imported[key] = _imported(kind, self._offer(kind, name))
        return self._imported[key]


def _operators_in(plugin: PluginInfo) -> tuple[str, ...]:
    return tuple(spec.name for spec in plugin.components if spec.kind == "operator")


def _error(kind: Kind, message: str, hint: str) -> PluginError:
    return PluginError(message, code=_FACTS[kind].error_code, hint=hint)


def _inactive(plugin: PluginInfo) -> tuple[str, str]:
    if plugin.status == "disabled":
        return f"is installed but disabled: {plugin.reason}", f"change plugins.allow or plugins.deny for {plugin.id!r}"
    hint = {
        "import": _needs(plugin),
        "api": f"install a version of {plugin.distribution} that fits, or another sfs-core",
        "id": "uninstall one of them",
    }.get(plugin.cause, "report this to the plugin's author")
    return f"is installed but cannot be used: {plugin.reason}", hint


def nearest_name(name: str, names: Iterable[str]) -> str:
    """The name most like `name`, upper and lower case apart; empty where none is."""
    by_folded = {each.casefold(): each for each in sorted(names)}
    nearest = get_close_matches(name.casefold(), by_folded, 1)
    return by_folded[nearest[0]] if nearest else ""


def _imported(kind: Kind, offer: _Offer) -> Any:
    facts = _FACTS[kind]
    spec, plugin = offer.spec, offer.plugin
    subject = f"{facts.title} {spec.name!r} of {plugin.provenance}"
    module_name, _, class_name = spec.factory.partition(":")
    try:
        found = getattr(import_module(module_name), class_name, None)
    except (Exception, SystemExit) as error:
        raise _error(kind, f"{subject} cannot be imported: {describe(error)}", _import_hint(error, plugin)) from error
    problem = _command_problem(found, _base(kind)) if kind == "command" else _class_problem(found, _base(kind), spec)
    if problem:
        raise _error(kind, f"{subject}: {spec.factory} {problem}", "report this to the plugin's author")
    return found


def _import_hint(error: BaseException, plugin: PluginInfo) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"module {error.name!r} is missing; {_needs(plugin)}"
    return "set SFS_TRACEBACK=1 for the traceback"


def _needs(plugin: PluginInfo) -> str:
    if not plugin.version:  # a file, of which pip knows nothing
        return "install what it imports"
    return f"pip install --upgrade {plugin.distribution} installs what it needs"


def _base(kind: Kind) -> type:
    module, _, name = _FACTS[kind].base.partition(":")
    base: type = getattr(import_module(module), name)
    return base


def _command_problem(found: Any, base: type) -> str:
    if found is None:
        return "does not exist"
    return "" if isinstance(found, base) else "is no click.Command"


def _class_problem(found: Any, base: type, spec: ComponentSpec) -> str:
    if found is None:
        return "does not exist"
    if not (isinstance(found, type) and issubclass(found, base)):
        return f"is not a subclass of sfs_core.{base.__name__}"
    if inspect.isabstract(found):
        return f"does not implement {', '.join(sorted(getattr(found, '__abstractmethods__', ())))}"
    if spec.kind == "operator":
        own = getattr(getattr(found, "definition", None), "name", None)
        if own != spec.name:
            return f"calls itself {own!r}"
    for name in ("open", "close", "check", "compute", "authenticate"):
        if inspect.iscoroutinefunction(getattr(found, name, None)):
            return f"has a coroutine function {name!r}, which would be called and not awaited"
    config_base: type = import_module("sfs_core.sdk.context").PluginConfig
    config = getattr(found, "Config", None)
    if not (isinstance(config, type) and issubclass(config, config_base)):
        return "has a Config that is not a subclass of sfs_core.PluginConfig"
    return ""
