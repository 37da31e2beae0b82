"""What the verbs that take config files share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sfs_core.config.loaded import LoadedConfig

__all__ = ["configs_argument", "plugin_directory_option", "print_warnings"]

configs_argument = click.argument(
    "configs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
plugin_directory_option = click.option(
    "--plugin-dir",
    "plugin_directories",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also load the one-file plugins (*.py) in this folder; repeat.",
)


def print_warnings(loaded: Sequence[LoadedConfig]) -> None:
    """What the configs say that has no effect, on standard error."""
    for each in loaded:
        for warning in each.file.warnings:
            click.echo(f"warning: {warning}", err=True)
