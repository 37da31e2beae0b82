"""From a file to a checked config with its components found: every problem of the file at once, each with its line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfs_core.config.document import Node, read_text
from sfs_core.config.draft import Draft
from sfs_core.config.loaded import ConfigFile, LoadedConfig, LoadedService
from sfs_core.config.problems import Problems
from sfs_core.host.registry import Registry

__all__ = ["admin_socket", "load", "load_service", "read_config"]


def read_config(path: Path, *, bulk_requester: str | None = None, kuscia: bool = False) -> ConfigFile:
    """Read a config file without looking components up.

    Args:
        path: the file: ours (YAML or JSON), the reference's serving JSON, or a document of Kuscia.
        bulk_requester: overrides `bulk_scoring.requester`, which the reference's JSON cannot say.
        kuscia: it is a document of Kuscia, even if it does not look like one.

    Raises:
        ConfigError: with every problem found in `problems`.
    """
    draft = Draft.of_file(path, bulk_requester, kuscia=kuscia)
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
    draft = Draft.of_file(path, bulk_requester, kuscia=kuscia)
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


def admin_socket(path: Path) -> Path | None:
    """Where a config's server listens for `sfs admin`; None where the config names no place.

    Everything else that the config says may be wrong: variables that it asks for may be the server's alone.

    Raises:
        ConfigError: the file cannot be read, or what it says of the socket is wrong.
    """
    draft = Draft.of_file(path, None, kuscia=False)
    socket = draft.admin_socket()
    if draft.problems:
        raise draft.problems.error()
    return socket


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
    draft = Draft(path, document, problems, loaded.base_directory)
    draft.shorthand = True
    config = draft.config()
    found = draft.components(("services", 0), loaded.registry)
    if config is None or draft.problems:
        raise draft.problems.error()
    return draft.loaded(0, config.services[0], *found)
