"""The `sfs` command. A verb's module is imported when the verb is used, so that `sfs --help` is quick."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from sfs_core import __version__
from sfs_core.cli.messages import show_error
from sfs_core.errors import SfsError

if TYPE_CHECKING:
    from sfs_core.host.registry import Registry

__all__ = ["main"]

_BUG_EXIT_CODE: Final = 70
_INTERRUPTED_EXIT_CODE: Final = 130


class _Verb(NamedTuple):
    module: str  # has the verb's click command as `command`
    help: str


_VERBS: Final = {
    "audit": _Verb("sfs_core.cli.audit", "Check an audit log, and look things up in it."),
    "admin": _Verb(
        "sfs_core.cli.admin", "Manage a running server: load models, go back, see what is served, change log levels."
    ),
    "bench": _Verb("sfs_core.cli.bench", "Put load on servers and measure how they answer."),
    "bulk": _Verb("sfs_core.cli.bulk", "Score whole files that all parties hold in the same order."),
    "certs": _Verb("sfs_core.cli.certs", "Make certificates for development."),
    "check": _Verb("sfs_core.cli.check", "Check a config, its plugins and its model without serving."),
    "config": _Verb("sfs_core.cli.config", "Show what a config may say, and what one does say."),
    "demo": _Verb("sfs_core.cli.demo", "Start parties on this machine and score a real data set."),
    "explain": _Verb("sfs_core.cli.explain", "Show what a model does, step by step, and what each step costs."),
    "plugins": _Verb(
        "sfs_core.cli.plugins", "Show the plugins that are installed and what they offer, or begin a new one."
    ),
    "predict": _Verb("sfs_core.cli.predict", "Ask a running server for scores."),
    "serve": _Verb("sfs_core.cli.serve", "Serve the models of one or several configs."),
    "trace": _Verb("sfs_core.cli.trace", "Draw what happened for a request, from trace files."),
    "spi": _Verb("sfs_core.cli.spi", "Serve features over HTTP, and judge feature services."),
}


class _LazyGroup(click.Group):
    """SFS's own verbs, and after them those of plugins, which are looked for only when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_VERBS) + [name for name, _ in _verbs_of_plugins()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return _command_of_plugin(cmd_name)
        command: click.Command = import_module(_VERBS[cmd_name].module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # click's own would import every verb for its help
            formatter.write_dl([(name, verb.help) for name, verb in sorted(_VERBS.items())])
        if verbs := _verbs_of_plugins():
            with formatter.section("Commands of plugins"):
                formatter.write_dl(verbs)


def _registry() -> Registry:
    from sfs_core.host.registry import Registry  # noqa: PLC0415 - SFS's own verbs begin without it

    return Registry.discover()


def _verbs_of_plugins() -> list[tuple[str, str]]:
    """Names and summaries."""
    return [(spec.name, spec.summary) for spec in _registry().specs("command")]


def _command_of_plugin(name: str) -> click.Command | None:
    """A plugin's verb; None where nobody knows the name.

    Raises:
        PluginError: it cannot be used, or its plugin is not installed.
        click.UsageError: nobody knows it, and there are plugins that cannot be asked.
    """
    from sfs_core.host.known_plugins import KNOWN_PLUGINS  # noqa: PLC0415

    registry = _registry()
    offered = {spec.name for plugin in registry.plugins for spec in plugin.components if spec.kind == "command"}
    if name in offered or ("command", name) in KNOWN_PLUGINS:
        return registry.command(name)
    if broken := [f"{plugin.id} ({plugin.reason})" for plugin in registry.plugins if plugin.status == "broken"]:
        raise click.UsageError(f"No such command {name!r}; plugins that cannot be used: {'; '.join(broken)}")
    return None


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="sfs")
def _group() -> None:
    """Private multi-party model serving."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `sfs` with the arguments given, or the process's own.

    Returns:
        The exit code: 0, 1 for an error that is explained, 2 for wrong usage, 70 for a bug, 130 after Ctrl-C.
    """
    try:
        result = _group.main(arguments, prog_name="sfs", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED_EXIT_CODE
    except SfsError as error:
        _show_traceback()
        show_error(error)
        return 1
    except Exception as error:  # noqa: BLE001 - the last place where a person can be told
        _show_traceback()
        # The exception's text may hold somebody's data, so only its type is shown.
        print(f"error: unexpected {type(error).__name__}: this is a bug in SFS or a plugin", file=sys.stderr)
        print("hint: run it again with SFS_TRACEBACK=1 for the traceback, and report that", file=sys.stderr)
        return _BUG_EXIT_CODE
    return result if isinstance(result, int) else 0


def _show_traceback() -> None:
    if os.environ.get("SFS_TRACEBACK") == "1":
        traceback.print_exc()
