"""`sfs admin`: manage a running server."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from sfs_core.config.document import text_of
from sfs_core.config.loader import admin_socket
from sfs_core.errors import ConfigError, ErrorCode, SfsError
from sfs_core.server.admin import AdminCommand, AdminReply, Level
from sfs_core.server.orders import VersionStatus

__all__ = ["command"]

_CONFIG = click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group("admin", short_help="Manage a running server.")
def command() -> None:
    """Manage a server that runs on this machine, and whose config names an `admin.socket`."""


@command.command("status")
@_CONFIG
def status(config: Path) -> None:
    """Show what each service is served with, what waits for the other parties, and what can be gone back to."""
    reply = _ask(config, AdminCommand("status"))
    for service in reply.services:
        click.echo(service.service)
        for what in ("serving", "waiting", "previous"):
            version: VersionStatus | None = getattr(service, what)
            if version is not None:
                label = f", version {version.package.version}" if version.package.version else ""
                click.echo(f"  {what}: {version.id} ({version.model}{label})")
    for worker in reply.workers:
        state = "serves" if worker.up else "does not serve"
        click.echo(f"worker {worker.number}: {state}, process {worker.pid}, started again {worker.restarts} time(s)")


@command.command("load")
@_CONFIG
@click.argument("what", metavar="FILE|SERVICE")
def load(config: Path, what: str) -> None:
    """Serve a further service, once all parties have it.

    FILE says of it what an entry of `services` in a config does. SERVICE is one of the config that was unloaded.
    """
    file = Path(what)
    asked = AdminCommand("load", service=what)
    if file.is_file():
        asked = AdminCommand("load", definition=text_of(file), name=str(file.absolute()))
    elif file.suffix:
        raise ConfigError(f"there is no file {what}", code=ErrorCode.NOT_FOUND)
    click.echo(f"{_ask(config, asked).id}: loaded; callers get it as soon as all parties have it")


@command.command("reload")
@_CONFIG
@click.argument("service")
@click.option("--path", default="", help="What to fetch instead of what the config says, in the model source's terms.")
@click.option("--sha256", default="", help="What the package must hash to (hex).")
@click.option("--version", default="", help="Name of the export, the same at all parties.")
def reload(config: Path, service: str, path: str, sha256: str, version: str) -> None:
    """Load a new version of a service's model; callers get it once all parties have it."""
    done = _ask(config, AdminCommand("reload", service, path, sha256, version))
    click.echo(f"{service}: {done.id} is loaded; callers get it as soon as all parties have it")


@command.command("rollback")
@_CONFIG
@click.argument("service")
def rollback(config: Path, service: str) -> None:
    """Have callers of this party get the version before."""
    click.echo(f"{service}: callers get {_ask(config, AdminCommand('rollback', service)).id} again")


@command.command("cancel")
@_CONFIG
@click.argument("service")
def cancel(config: Path, service: str) -> None:
    """Drop a version, or a new service, that waits for the other parties."""
    click.echo(f"{service}: {_ask(config, AdminCommand('cancel', service)).id} is dropped")


@command.command("unload")
@_CONFIG
@click.argument("service")
def unload(config: Path, service: str) -> None:
    """Serve a service no more."""
    click.echo(f"{_ask(config, AdminCommand('unload', service)).id}: served no more")


@command.command("log-level")
@_CONFIG
@click.argument("room", default="")
@click.argument("level", required=False, type=click.Choice(get_args(Level)))
def log_level(config: Path, room: str, level: Any) -> None:
    """Log more or less from now on, until the server ends; without LEVEL, show the levels that are set.

    ROOM is a part of the server (`link`, `predict`, `source.SERVICE`, …); `all` stands for those without a level of
    their own. The level `default` takes a room's own back.
    """
    asked = AdminCommand("log-level", room="" if room == "all" else room, level=level)
    for name, its in _ask(config, asked).levels.items():
        click.echo(f"{name or 'all'}: {its}")


def _ask(config: Path, asked: AdminCommand) -> AdminReply:
    path = admin_socket(config)
    if path is None:
        raise ConfigError(
            "the config names no admin.socket",
            where=str(config),
            hint="add `admin: {socket: run/admin.sock}` to it, and start the server again",
        )
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(asked) + b"\n")
            answer = connection.makefile("rb").readline()
        except OSError as error:
            raise SfsError(
                f"the server's admin socket cannot be reached: {error.strerror}",
                code=ErrorCode.IO_ERROR,
                where=str(path),
                hint="is the server running, and are you its user?",
            ) from None
    if not answer:
        raise SfsError("the server ended before it answered", code=ErrorCode.IO_ERROR)
    reply = msgspec.json.decode(answer, type=AdminReply)
    if reply.error:
        raise ConfigError(reply.error, code=ErrorCode(reply.code), hint=reply.hint, problems=tuple(reply.problems))
    return reply
