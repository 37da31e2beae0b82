"""`sfs serve`: run a party's server."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from sfs_core.cli.configs import configs_argument, plugin_directory_option, print_warnings
from sfs_core.config.loader import load
from sfs_core.server.app import Server
from sfs_core.server.run import run_loop, serve_until_stopped

__all__ = ["command"]


@click.command("serve", short_help="Serve the models of one or several configs.")
@configs_argument
@plugin_directory_option
@click.option("--bulk-requester", metavar="PARTY", help="Answer bulk scoring that this party drives; end when it does.")
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged to standard error.",
)
def command(
    configs: tuple[Path, ...], plugin_directories: tuple[Path, ...], bulk_requester: str | None, log_level: str
) -> None:
    """Serve until SIGINT or SIGTERM.

    A config is a YAML or JSON file of this software, or the serving JSON of the reference. Several configs run
    several parties in this one process, for trying things out.
    """
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    loaded = [load(path, plugin_directories=plugin_directories, bulk_requester=bulk_requester) for path in configs]
    print_warnings(loaded)

    async def main() -> None:
        await serve_until_stopped([Server(each) for each in loaded], _announce)

    run_loop(main())


def _announce(server: Server) -> None:
    where = "no service port, for peers only"
    if server.service_port is not None:
        where = f"predictions at http://{server.host}:{server.service_port}/PredictionService/Predict"
    click.echo(f"{server.party}: ready, serves {', '.join(server.services)}; {where}")
