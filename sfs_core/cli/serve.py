"""`sfs serve`: run a party's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from sfs_core.cli.configs import configs_argument, plugin_directory_option, print_warnings
from sfs_core.config.loader import load
from sfs_core.config.reference_telemetry import read_logging, read_trace
from sfs_core.config.telemetry import Logging
from sfs_core.observe.logs import configure_logs
from sfs_core.observe.worker import worker_number
from sfs_core.server.app import Server
from sfs_core.server.start import run_servers
from sfs_core.server.supervisor import Supervisor

__all__ = ["announce", "command"]

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("serve", short_help="Serve the models of one or several configs.")
@configs_argument
@plugin_directory_option
@click.option("--bulk-requester", metavar="PARTY", help="Answer bulk scoring that this party drives; end when it does.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much is logged, whatever the config says.",
)
@click.option("--logging-config", type=_FILE, help="LoggingConfig of the reference (JSON), instead of `logging`.")
@click.option("--workers", type=click.IntRange(1, 128), help="Processes that serve, instead of `workers`.")
@click.option("--trace-config", type=_FILE, help="TraceConfig of the reference (JSON), instead of `tracing`.")
def command(
    configs: tuple[Path, ...],
    plugin_directories: tuple[Path, ...],
    bulk_requester: str | None,
    log_level: Any,
    logging_config: Path | None,
    trace_config: Path | None,
    workers: int | None,
) -> int:
    """Serve until SIGINT or SIGTERM.

    A config is a YAML or JSON file of this software, the serving JSON of the reference, or a document of Kuscia.
    Several configs run
    several parties in this one process, for trying things out; what is logged is then up to the first.
    """
    configure_logs(Logging(level=log_level or "info"))
    loaded = [load(path, plugin_directories=plugin_directories, bulk_requester=bulk_requester) for path in configs]
    if worker_number() is None:
        print_warnings(loaded)
    if trace_config is not None:
        tracing = read_trace(trace_config)
        loaded = [each.changed(tracing=tracing) for each in loaded]
    if workers is not None:
        loaded = [each.changed(workers=workers) for each in loaded]
    settings = read_logging(logging_config) if logging_config is not None else loaded[0].config.logging
    configure_logs(settings.model_copy(update={"level": log_level}) if log_level else settings)
    return run_servers(loaded, announce)


def announce(server: Server | Supervisor) -> None:
    """Say that a server is ready, and where it is asked."""
    where = "no service port, for peers only"
    if server.service_port is not None:
        where = f"predictions at {server.scheme}://{server.host}:{server.service_port}/PredictionService/Predict"
    elif server.grpc_port is not None:
        where = f"predictions over gRPC at {server.host}:{server.grpc_port}"
    click.echo(f"{server.party}: ready, serves {', '.join(server.services)}; {where}")
