"""`sfs bulk`: score whole files, as the party that gets the scores."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from sfs_core.cli.configs import plugin_directory_option, print_warnings
from sfs_core.config.loader import load, read_config
from sfs_core.errors import ConfigError
from sfs_core.server.app import Server
from sfs_core.server.bulk import SCORES_ALONE, ResultColumns, score_in_bulk
from sfs_core.server.run import run_loop

__all__ = ["command", "score"]


@click.command("bulk", short_help="Score whole files that all parties hold in the same order.")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("result", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--block-rows", default=1000, show_default=True, type=click.IntRange(min=1), help="Rows per round.")
@plugin_directory_option
def command(config: Path, result: Path, block_rows: int, plugin_directories: tuple[Path, ...]) -> None:
    """Score every row of the parties' files and write RESULT, a CSV file of scores in the order of the rows.

    Every party's config names a `streaming` (or `mock`) feature source; the files hold the same rows in the same
    order. The other parties run: sfs serve THEIR_CONFIG --bulk-requester PARTY, with the party of CONFIG, and end
    when the work is done.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)-7s %(name)s: %(message)s")
    for room in ("handshake", "bulk"):  # who is waited for
        logging.getLogger(f"sfs.{room}").setLevel(logging.INFO)
    loaded = load(config, plugin_directories=plugin_directories, bulk_requester=read_config(config).config.party)
    print_warnings([loaded])
    if len(loaded.services) != 1:
        raise ConfigError("bulk scoring is for a config with one service", where=str(config))
    if not result.parent.is_dir():
        raise ConfigError(f"there is no folder {result.parent} for the result")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("scoring", total=None)
        rows: int = run_loop(
            score(
                Server(loaded),
                result,
                block_rows,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        )
    click.echo(f"{rows} rows scored, see {result}")


async def score(
    server: Server,
    result: Path,
    block_rows: int,
    columns: ResultColumns = SCORES_ALONE,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> int:
    """Start a server, score every row of the parties' files, and stop it; arguments as of `score_in_bulk`."""
    try:
        await server.start()
        (service,) = server.services
        return await score_in_bulk(
            server.party,
            service,
            server.row_count(),
            server.peers,
            server.predictor(service).predict,
            result,
            block_rows=block_rows,
            timeout=server.peer_timeout,
            progress=progress,
            columns=columns,
        )
    finally:
        await server.stop()
