"""`sfs spi`: for those who have an HTTP feature service, or want one."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from sfs_core.cli.configs import plugin_directory_option, print_warnings
from sfs_core.cli.tables import print_table
from sfs_core.config.document import plain, read_document
from sfs_core.config.explained import explained, nearest
from sfs_core.config.loader import load
from sfs_core.config.problems import Problems, path_text
from sfs_core.errors import ConfigError, PluginError
from sfs_core.host.registry import Registry
from sfs_core.sdk.context import FeatureContext, PluginConfig
from sfs_core.sdk.feature_source import FeatureSource
from sfs_core.spi.app import Fetch, spi_app
from sfs_core.spi.check import Report, check_service
from sfs_core.spi.exchange import Probe
from sfs_core.spi.messages import PATH
from sfs_core.spi.openapi import openapi_document
from sfs_core.spi.sources import ParquetFetch, SourceFetch

if TYPE_CHECKING:
    from sfs_core.batch import Schema

__all__ = ["command"]

_TOKEN_VARIABLE = "SFS_SPI_TOKEN"  # noqa: S105 - a name
_THREADS = 16
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("spi", short_help="Serve features over HTTP, and judge feature services.")
def command() -> None:
    """Serve features over HTTP, and judge feature services.

    SPI is what a feature service implements (BatchFetchFeature) to be asked by the feature source `http`.
    """


@command.command("openapi")
def openapi() -> None:
    """Print the OpenAPI document of the SPI."""
    click.echo(openapi_document().decode())


# ---------------------------------------------------------------------------------------------------- serve
@command.command("serve")
@click.argument("target", metavar="FILE_OR_URL")
@click.option("--id-column", default="id", show_default=True, help="The column that ids are looked up in.")
@click.option("--table", help="The table, where the target is the URL of a database.")
@click.option("--service", help="The service whose features are served, where a config has several.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@plugin_directory_option
def serve(
    target: str,
    id_column: str,
    table: str | None,
    service: str | None,
    host: str,
    port: int,
    plugin_directories: tuple[Path, ...],
) -> None:
    """Serve features as a feature service, until SIGINT or SIGTERM.

    FILE_OR_URL is a CSV file (*.csv), a Parquet file (*.parquet), a database's URL as SQLAlchemy knows it (with
    --table), or a party's config (YAML or JSON), whose own feature source is served: whatever is installed.

    The columns are those that requests ask for. With the environment variable SFS_SPI_TOKEN, callers must send that
    bearer token. Needs uvicorn.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    try:
        uvicorn = importlib.import_module("uvicorn")
    except ModuleNotFoundError:
        raise PluginError(
            "an ASGI server is needed, and uvicorn is not installed", hint="pip install uvicorn"
        ) from None
    with ThreadPoolExecutor(_THREADS) as pool:
        if target.endswith(".parquet"):
            asyncio.run(_serve(uvicorn, ParquetFetch(Path(target), id_column), host, port))
            return
        if target.endswith((".yaml", ".yml", ".json")):
            make = _configured(Path(target), service, pool, plugin_directories)
        else:
            make = _named(*_source_of(target, id_column, table), pool, plugin_directories)
        asyncio.run(_serve_source(uvicorn, make, host, port))


async def _serve_source(uvicorn: Any, make: Any, host: str, port: int) -> None:
    fetch = SourceFetch(make)
    try:
        await fetch.check()
        await _serve(uvicorn, fetch.__call__, host, port)
    finally:
        await fetch.close()


async def _serve(uvicorn: Any, fetch: Fetch, host: str, port: int) -> None:
    app = spi_app(fetch, token=os.environ.get(_TOKEN_VARIABLE) or None)
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
    )
    listening = config.bind_socket()
    # Inherited by connections; asyncio sees to it only where it makes the socket itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    where = f"[{host}]" if ":" in host else host
    click.echo(f"ready: post to http://{where}:{listening.getsockname()[1]}{PATH}")
    await uvicorn.Server(config).serve(sockets=[listening])


def _source_of(target: str, id_column: str, table: str | None) -> tuple[str, Mapping[str, Any]]:
    """Name and options of the feature source that reads a target."""
    if "://" in target:
        if not table:
            raise click.UsageError("a database needs --table")
        return "sql", {"url": target, "table": table, "key": id_column}
    if not Path(target).is_file():
        raise click.UsageError(f"there is no file {target}")
    return "csv", {"path": target, "id_column": id_column}


def _named(name: str, options: Mapping[str, Any], pool: Executor, directories: tuple[Path, ...]) -> Any:
    cls = Registry.discover(plugin_directories=directories).feature_source(name)
    try:
        config = cls.Config.model_validate(options)
    except ValidationError as error:
        raise ConfigError("; ".join(each["msg"] for each in error.errors(include_input=False))) from None
    return _maker(cls, config, "spi", "spi", Path.cwd(), pool)


def _configured(path: Path, service: str | None, pool: Executor, directories: tuple[Path, ...]) -> Any:
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    loaded = load(path, plugin_directories=directories)
    print_warnings([loaded])
    found = [each for each in loaded.services if service in (None, each.config.service)]
    if len(found) != 1:
        known = ", ".join(each.config.service for each in loaded.services)
        raise click.UsageError(f"choose one of the config's services with --service: {known}")
    sources = found[0].feature_sources
    if len(sources) != 1:
        raise ConfigError(f"the service has {len(sources)} feature sources, exactly one can be served", where=str(path))
    name = found[0].config.service
    return _maker(sources[0].source, sources[0].options, name, loaded.config.party, loaded.base_directory, pool)


def _maker(
    cls: type[FeatureSource], options: PluginConfig, service: str, party: str, base: Path, pool: Executor
) -> Any:
    def make(schema: Schema) -> FeatureSource:
        return cls(
            options,
            FeatureContext(service, party, logging.getLogger("sfs.source"), base, schema, pool, report_missing=True),
        )

    return make


# ---------------------------------------------------------------------------------------------------- check
@command.command("check")
@click.argument("url")
@click.option("--config", "path", required=True, type=_file, help="What the service has; see below.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@click.pass_context
def check(context: click.Context, url: str, path: Path, as_json: bool) -> None:
    """Judge the feature service at URL: a verdict per rule of the SPI, and how fast it answers.

    The config says what to ask for, in YAML or JSON: `features` (name: FIELD_DOUBLE, …), at least three `ids` that
    the service knows, and what docs/spi.md lists. Exits with 0 if no rule is broken, else with 1.
    """
    probe = _probe(path)
    ca_file = None if probe.ca_file is None else path.absolute().parent / probe.ca_file
    report = check_service(url, probe, ca_file=ca_file)
    if as_json:
        click.echo(json.dumps({"passed": report.passed, **asdict(report)}, indent=2))
    else:
        _print_report(report)
    if not report.passed:
        context.exit(1)


def _probe(path: Path) -> Probe:
    problems = Problems(path)
    tree = read_document(path, problems)
    if not problems:
        try:
            return Probe.model_validate(plain(tree))
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                at = each["loc"]
                message = explained(each)
                if each["type"] == "extra_forbidden":
                    known = [*Probe.model_fields]
                    message = "there is no such option", nearest(str(at[-1]), known, [tree.value])
                problems.add(tree.at(at).line, path_text(at), *message)
    raise problems.error()


def _print_report(report: Report) -> None:
    print_table(
        ("rule", "verdict", "the service must"),
        [
            (each.rule, each.outcome, each.text + (f": {each.reason}" if each.reason else ""))
            for each in report.verdicts
        ],
    )
    if report.latencies:
        print()
        print_table(
            ("rows", "requests", "median ms", "slowest ms", "rows/s"),
            [
                (
                    str(each.rows),
                    str(each.requests),
                    f"{each.median:.1f}",
                    f"{each.slowest:.1f}",
                    f"{each.rows / each.median * 1000:,.0f}",
                )
                for each in report.latencies
            ],
        )
