"""Finding plugins and reading what they declare, one plugin at a time.

A plugin contributes everything that it declares, or nothing: what goes wrong with one is written down in its
`PluginInfo` and touches no other. Ids are filtered before anything is imported.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from sfs_core.errors import ErrorCode, PluginError
from sfs_core.sdk import hookspecs
from sfs_core.sdk.hookspecs import ENTRY_POINT_GROUP, PLUGIN_API, PROJECT
from sfs_core.sdk.specs import (
    AuthenticatorSpec,
    CommandSpec,
    ComponentSpec,
    FeatureSourceSpec,
    ModelSourceSpec,
    OperatorSpec,
)

__all__ = ["Candidate", "LoadedPlugin", "Observer", "PluginInfo", "describe", "discover", "load"]

Status = Literal["active", "disabled", "broken"]
Cause = Literal["", "import", "api", "declaration", "id"]

_RECORD_TYPES: dict[str, type[ComponentSpec]] = {
    "sfs_feature_sources": FeatureSourceSpec,
    "sfs_model_sources": ModelSourceSpec,
    "sfs_operators": OperatorSpec,
    "sfs_authenticators": AuthenticatorSpec,
    "sfs_commands": CommandSpec,
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin that was found, and what became of it.

    Args:
        id: the name of its entry point; for a one-file plugin the file's stem.
        distribution: the distribution that it came with, or the path of its file.
        version: the distribution's version; empty for a file.
        api: the range of plugin API versions that it declares.
        status: active, disabled (by allow or deny ids, never imported) or broken (contributes nothing).
        reason: why it is disabled or broken; for an active plugin, which of its names clash with another's.
        cause: what kind of breakage: its import, its API range, its declaration, or its id, which another has too.
        components: what it declares.
        milliseconds: how long its import and its hooks took.
    """

    id: str
    distribution: str
    version: str
    api: str = ""
    status: Status = "active"
    reason: str = ""
    cause: Cause = ""
    components: tuple[ComponentSpec, ...] = ()
    milliseconds: float = 0.0

    @property
    def provenance(self) -> str:
        """Distribution and version, as error messages name them."""
        return f"{self.distribution} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that was found and not imported yet; `load` imports its declaration module."""

    id: str
    distribution: str
    version: str
    load: Callable[[], object]


class Observer:
    """A plugin's implementation of an observing hook; its exceptions end in the log.

    The first one is logged as an error with its traceback, later ones at debug level: an observer that fails on
    every prediction must not fill the disk.
    """

    def __init__(self, plugin_id: str, hook: str, function: Callable[..., object], takes_subject: bool) -> None:
        self.hook = hook
        self._plugin_id = plugin_id
        self._function = function
        self._takes_subject = takes_subject
        self._failed = False

    def __call__(self, subject: object) -> None:
        """Tell the plugin of `subject`."""
        try:
            if self._takes_subject:
                self._function(subject)
            else:
                self._function()
        except Exception:
            level = logging.DEBUG if self._failed else logging.ERROR
            self._failed = True
            _logger.log(level, "plugin %s: %s failed", self._plugin_id, self.hook, exc_info=True)


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """What loading a candidate gave: its description, and its observers where it is active."""

    info: PluginInfo
    observers: tuple[Observer, ...] = ()


def discover(
    allow: Sequence[str] = (), deny: Sequence[str] = (), plugin_directories: Sequence[Path] = ()
) -> list[LoadedPlugin]:
    """Find and load all plugins, in the order of their ids.

    Args:
        allow: ids or patterns (`sfs-op-*`) of the only plugins to load; empty = all.
        deny: ids or patterns of plugins not to load; stronger than `allow`.
        plugin_directories: folders whose `*.py` files are plugins too (those named `_*.py` are not).

    Raises:
        PluginError: a plugin directory is not there (3). What is wrong with a plugin is not raised but told in its
            `PluginInfo`.
    """
    candidates = sorted([*_installed(), *_files(plugin_directories)], key=lambda each: (each.id, each.distribution))
    taken = Counter(canonicalize_name(candidate.id) for candidate in candidates)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins = []
    for candidate in candidates:
        if reason := _disabled(candidate.id, allow, deny):
            plugins.append(LoadedPlugin(_info(candidate, status="disabled", reason=reason)))
        elif taken[canonicalize_name(candidate.id)] > 1:
            plugins.append(LoadedPlugin(_info(candidate, **_id_clash(candidate, candidates))))
        else:
            plugins.append(load(candidate, manager))
    return plugins


def load(candidate: Candidate, manager: pluggy.PluginManager) -> LoadedPlugin:
    """Import a plugin's declaration module, register it with `manager` and collect what its hooks return."""
    start = time.perf_counter()
    api = ""
    try:
        module = _import(candidate)
        declared = getattr(module, "SFS_API", None)
        api = str(declared or "")
        _check_api(declared)
        components, observers = _registered(candidate.id, module, manager)
        found = LoadedPlugin(_info(candidate, components=components), observers)
    except _BrokenError as broken:
        found = LoadedPlugin(_info(candidate, status="broken", reason=str(broken), cause=broken.cause))
    milliseconds = (time.perf_counter() - start) * 1e3
    return replace(found, info=replace(found.info, api=api, milliseconds=milliseconds))


def describe(error: BaseException) -> str:
    """A failure inside a plugin in one line: the exception's type and text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _BrokenError(Exception):
    def __init__(self, reason: str, cause: Cause = "declaration") -> None:
        super().__init__(reason)
        self.cause: Cause = cause


def _info(candidate: Candidate, **values: Any) -> PluginInfo:
    return PluginInfo(candidate.id, candidate.distribution, candidate.version, **values)


# ------------------------------------------------------------------------------------------------ finding
def _installed() -> Iterator[Candidate]:
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        distribution, version = _provenance(entry)
        yield Candidate(entry.name, distribution, version, entry.load)


def _provenance(entry: EntryPoint) -> tuple[str, str]:
    name = version = ""
    with suppress(Exception):  # half-removed distributions have no metadata left, which shows in many ways
        assert entry.dist is not None
        name, version = entry.dist.name, entry.dist.version
    return name or f"an unnamed distribution ({entry.value})", version or ""


def _files(directories: Iterable[Path]) -> Iterator[Candidate]:
    for directory in directories:
        if not Path(directory).is_dir():
            raise PluginError(f"no plugin directory at {directory}", code=ErrorCode.INVALID_ARGUMENT)
        for path in sorted(Path(directory).resolve().glob("[!_]*.py")):
            yield Candidate(path.stem, str(path), "", lambda path=path: _import_file(path))  # type: ignore[misc]


def _import_file(path: Path) -> ModuleType:
    # A name of its own for each file: one called csv.py must not become the module `csv`.
    name = f"sfs_plugin_file_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _disabled(plugin_id: str, allow: Sequence[str], deny: Sequence[str]) -> str:
    if _matches(plugin_id, deny):
        return "denied by plugins.deny"
    if allow and not _matches(plugin_id, allow):
        return "not among plugins.allow"
    return ""


def _matches(plugin_id: str, patterns: Sequence[str]) -> bool:
    # Spelt as package indexes compare names: `sfs_op_tree` denies sfs-op-tree.
    return any(fnmatchcase(canonicalize_name(plugin_id), canonicalize_name(pattern)) for pattern in patterns)


def _id_clash(candidate: Candidate, candidates: Sequence[Candidate]) -> dict[str, str]:
    same = [each for each in candidates if canonicalize_name(each.id) == canonicalize_name(candidate.id)]
    owners = " and ".join(f"{each.distribution} {each.version}".rstrip() for each in same)
    return {"status": "broken", "cause": "id", "reason": f"plugin id {candidate.id!r} belongs to {owners}"}


# ------------------------------------------------------------------------------------------------ loading
def _import(candidate: Candidate) -> ModuleType:
    try:
        module = candidate.load()
    except (Exception, SystemExit) as error:
        raise _BrokenError(f"its import failed: {describe(error)}", "import") from error
    if not isinstance(module, ModuleType):
        raise _BrokenError(f"its entry point names a {type(module).__name__}, not a module")
    return module


def _check_api(declared: object) -> None:
    if not isinstance(declared, str):
        raise _BrokenError('it declares no API range: SFS_API = ">=1,<2" is missing', "api")
    try:
        fits = SpecifierSet(declared).contains(PLUGIN_API)
    except InvalidSpecifier:
        raise _BrokenError(f'SFS_API = {declared!r} is no range of versions like ">=1,<2"', "api") from None
    if not fits:
        raise _BrokenError(f"it needs plugin API {declared}; this sfs-core has {PLUGIN_API}", "api")


def _registered(
    plugin_id: str, module: ModuleType, manager: pluggy.PluginManager
) -> tuple[tuple[ComponentSpec, ...], tuple[Observer, ...]]:
    if other := manager.get_name(module):
        raise _BrokenError(f"its module {module.__name__} is plugin {other!r} already")
    _require_markers(module)
    try:
        manager.register(module, plugin_id)
        return _collected(plugin_id, module, manager)
    except (pluggy.PluginValidationError, _BrokenError) as error:
        if manager.has_plugin(plugin_id):
            manager.unregister(name=plugin_id)
        if isinstance(error, _BrokenError):
            raise
        raise _BrokenError(" ".join(str(error).split())) from error


def _require_markers(module: ModuleType) -> None:
    for name, function in vars(module).items():
        own = inspect.isfunction(function) and function.__module__ == module.__name__
        if own and name.startswith("sfs_") and not hasattr(function, f"{PROJECT}_impl"):
            raise _BrokenError(f"{name} is not marked with @hookimpl")


def _collected(
    plugin_id: str, module: ModuleType, manager: pluggy.PluginManager
) -> tuple[tuple[ComponentSpec, ...], tuple[Observer, ...]]:
    components: list[ComponentSpec] = []
    observers: list[Observer] = []
    for hook, implementation in _implementations(module, manager):
        if hook in _RECORD_TYPES:
            components += _records(hook, implementation.function)
        else:
            takes_subject = bool(implementation.argnames)
            observers.append(Observer(plugin_id, hook, implementation.function, takes_subject))
    for (kind, name), times in Counter((each.kind, each.name) for each in components).items():
        if times > 1:
            raise _BrokenError(f"it declares the {kind} {name!r} {times} times")
    return tuple(sorted(components, key=lambda each: (each.kind, each.name))), tuple(observers)


def _implementations(module: ModuleType, manager: pluggy.PluginManager) -> Iterator[tuple[str, pluggy.HookImpl]]:
    for caller in manager.get_hookcallers(module) or ():
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not module:
                continue
            if not caller.has_spec():  # pluggy's check_pending, for this plugin alone
                raise _BrokenError(f"unknown hook {caller.name!r}{_nearest_hook(caller.name)}")
            if implementation.wrapper or implementation.hookwrapper:
                raise _BrokenError(f"{caller.name} is a wrapper; hooks of SFS cannot be wrapped")
            if inspect.iscoroutinefunction(implementation.function):
                raise _BrokenError(f"{caller.name} is a coroutine function; hooks are called, not awaited")
            yield caller.name, implementation


def _nearest_hook(name: str) -> str:
    hooks = [hook for hook in vars(hookspecs) if hook.startswith(f"{PROJECT}_")]
    nearest = get_close_matches(name, hooks, 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _records(hook: str, function: Callable[..., object]) -> list[ComponentSpec]:
    try:
        returned = function()
        records: list[object] = list(returned)  # type: ignore[call-overload]
    except (Exception, SystemExit) as error:
        cause: Cause = "import" if isinstance(error, ImportError) else "declaration"
        raise _BrokenError(f"{hook} failed: {describe(error)}", cause) from error
    expected = _RECORD_TYPES[hook]
    for record in records:
        if not isinstance(record, expected):
            raise _BrokenError(f"{hook} returned {type(record).__name__}, not {expected.__name__}")
    return records  # type: ignore[return-value]
