"""`sfs config`: what configs may say, and what one says."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sfs_core.cli.configs import plugin_directory_option, print_warnings

__all__ = ["command"]


@click.group("config", short_help="Show what configs may say, and what one says.")
def command() -> None:
    """Show what configs may say, and what one says."""


@command.command("schema")
@plugin_directory_option
def schema(plugin_directories: tuple[Path, ...]) -> None:
    """Print the JSON schema of configs, with the options of all components that are installed.

    Editors complete and check configs with it: sfs config schema > sfs.schema.json, and at the top of a config
    # yaml-language-server: $schema=sfs.schema.json
    """
    from sfs_core.config.json_schema import json_schema  # noqa: PLC0415 - `show` needs none of it
    from sfs_core.host.registry import Registry  # noqa: PLC0415

    print(json.dumps(json_schema(Registry.discover(plugin_directories=plugin_directories)), indent=2))


@command.command("show")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@plugin_directory_option
def show(config: Path, plugin_directories: tuple[Path, ...]) -> None:
    """Print a config as it will be used, with all defaults and without secrets.

    CONFIG may also be a serving JSON of the reference: what is printed is the config of ours that says the same.
    Values from the environment and from files stay the placeholders that they are in CONFIG.
    """
    import yaml  # noqa: PLC0415 - `schema` needs none of it

    from sfs_core.config.loader import load  # noqa: PLC0415
    from sfs_core.config.resolved import resolved  # noqa: PLC0415

    loaded = load(config, plugin_directories=plugin_directories)
    print_warnings([loaded])
    print(f"# Relative paths are relative to {loaded.base_directory}")
    print(yaml.safe_dump(resolved(loaded), sort_keys=False, allow_unicode=True, width=120), end="")
