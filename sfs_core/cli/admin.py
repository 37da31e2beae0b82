"""`sfs admin`: manage a running server."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import msgspec

from sfs_core.config.loader import read_config
from sfs_core.errors import ConfigError, ErrorCode, SfsError
from sfs_core.server.admin import AdminCommand, AdminReply

__all__ = ["command"]

_CONFIG = click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group("admin", short_help="Manage a running server.")
def command() -> None:
    """Manage a server that runs on this machine, and whose config names an `admin.socket`."""


@command.command("status")
@_CONFIG
def status(config: Path) -> None:
    """Show what each service is served with, what waits for the other parties, and what can be gone back to."""
    for service in _ask(config, AdminCommand("status")).services:
        click.echo(service["service"])
        for what in ("serving", "waiting", "previous"):
            if (model := service[what]) is not None:
                click.echo(f"  {what}: {model['id']} ({model['model']})")


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


@command.command("unload")
@_CONFIG
@click.argument("service")
def unload(config: Path, service: str) -> None:
    """Drop a version that waits for the other parties."""
    click.echo(f"{service}: {_ask(config, AdminCommand('unload', service)).id} is dropped")


def _ask(config: Path, asked: AdminCommand) -> AdminReply:
    file = read_config(config)
    if file.config.admin is None:
        raise ConfigError("the config names no admin.socket", hint="without it a server cannot be managed")
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(file.base_directory / file.config.admin.socket))
            connection.sendall(msgspec.json.encode(asked) + b"\n")
            answer = connection.makefile("rb").readline()
        except OSError as error:
            raise SfsError(
                f"the server's admin socket cannot be reached: {error.strerror}",
                code=ErrorCode.IO_ERROR,
                hint="is the server running, and are you its user?",
            ) from None
    if not answer:
        raise SfsError("the server ended before it answered", code=ErrorCode.IO_ERROR)
    reply = msgspec.json.decode(answer, type=AdminReply)
    if reply.error:
        raise SfsError(reply.error, hint=reply.hint)
    return reply
