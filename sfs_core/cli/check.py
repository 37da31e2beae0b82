"""`sfs check`: everything that can be known without serving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click

from sfs_core.cli.configs import configs_argument, plugin_directory_option, print_warnings
from sfs_core.cli.messages import show_error
from sfs_core.config.loaded import LoadedConfig, LoadedService
from sfs_core.config.loader import load
from sfs_core.errors import SfsError
from sfs_core.server.keys import check_keys
from sfs_core.server.loading import CheckedModel, check_looks_up, check_model, open_model

__all__ = ["command"]


@click.command("check", short_help="Check a config, its plugins and its model without serving.")
@configs_argument
@plugin_directory_option
@click.option("--connect", is_flag=True, help="Also open the feature sources and ask whether they are up.")
@click.pass_context
def command(
    context: click.Context, configs: tuple[Path, ...], plugin_directories: tuple[Path, ...], connect: bool
) -> None:
    """Check config, plugins, model package, graph and own keys; exits with 0 when all is well, else with 1.

    Model packages are fetched as they would be for serving. Feature sources are looked at as far as that needs no
    service, and what is wrong is a warning, since data may be where the server will run: files are there and have their
    columns, addresses can be used. No port is opened and no peer is called.
    """
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    wrong, unopened = 0, False
    for path in configs:
        try:
            loaded = load(path, plugin_directories=plugin_directories)
            print_warnings([loaded])
            unopened |= not connect and any(service.feature_sources for service in loaded.services)
            for line in _findings(loaded, connect):
                click.echo(f"{path}: {line}")
        except SfsError as error:
            wrong += 1
            show_error(error)
    if wrong:
        context.exit(1)
    if unopened:
        click.echo("feature sources were not opened: --connect opens them and asks whether they are up")
    click.echo("ok")


def _findings(loaded: LoadedConfig, connect: bool) -> Iterator[str]:
    """Lines about each service; raises what is wrong with it."""
    with ThreadPoolExecutor(1) as pool:
        for service in loaded.services:
            try:
                checked = check_model(loaded, service, pool)
                check_keys(loaded.config.party, checked.graph)
                yield _summary(service, checked)
                source = checked.lookup.source
                if connect and source is not None:
                    _connect(loaded, service, checked, pool)
                    yield f"service {service.config.service}: its feature source is up"
                    _warn_of(partial(check_looks_up, loaded, service, source), loaded, service)
                elif source is not None:
                    _warn_of(source.validate, loaded, service)
            except SfsError as error:
                _place(error, loaded, service)
                raise


def _warn_of(check: Callable[[], None], loaded: LoadedConfig, service: LoadedService) -> None:
    try:
        check()
    except SfsError as error:
        _place(error, loaded, service)
        hint = f" (hint: {error.hint})" if error.hint else ""
        click.echo(f"warning: {error.public_text()}; a server would not start with it{hint}", err=True)


def _place(error: SfsError, loaded: LoadedConfig, service: LoadedService) -> None:
    if error.where.startswith(f"{loaded.file.path}:"):
        return
    named = f"service {service.config.service}"
    inside = error.where.removeprefix(named).removeprefix(", ")
    error.where = f"{loaded.file.path} {named}" + f", {inside}" * bool(inside)


def _connect(loaded: LoadedConfig, service: LoadedService, checked: CheckedModel, pool: ThreadPoolExecutor) -> None:
    source = checked.lookup.source
    assert source is not None
    try:
        open_model(loaded, service, checked, pool)
        source.check()
    finally:
        source.close()


def _summary(service: LoadedService, checked: CheckedModel) -> str:
    graph = checked.graph
    return (
        f"service {service.config.service}: model {checked.model.name!r}, {len(graph.operators)} nodes in "
        f"{len(graph.executions)} executions, {len(graph.feature_schema)} features of this party"
    )
