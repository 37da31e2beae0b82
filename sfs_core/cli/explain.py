"""`sfs explain`: what a model does, step by step, and what each step costs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from sfs_core.cli.configs import plugin_directory_option, print_warnings
from sfs_core.cli.tables import print_table
from sfs_core.config.loaded import LoadedConfig, LoadedService
from sfs_core.config.loader import load
from sfs_core.errors import RequestError
from sfs_core.host.registry import Registry
from sfs_core.model.package import read_package
from sfs_core.model.validation import check_graph
from sfs_core.server.explain import ExplainedExecution, ExplainedStep, Measured, explain_graph, measure
from sfs_core.server.loading import check_model
from sfs_core.server.run import run_loop

__all__ = ["command"]

_PACKAGE_SUFFIXES = (".tar.gz", ".tgz")


@click.command("explain", short_help="Show what a model does, step by step, and what each step costs.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--service", help="The service id, where the configs have several.")
@click.option(
    "--id", "ids", multiple=True, help="Measure with this row, of which all parties' configs are given; repeat."
)
@click.option("--requester", metavar="PARTY", help="The party that is asked when measuring. [the first one given]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@plugin_directory_option
def command(
    files: tuple[Path, ...],
    service: str | None,
    ids: tuple[str, ...],
    requester: str | None,
    as_json: bool,
    plugin_directories: tuple[Path, ...],
) -> None:
    """Print the compiled plans of configs, one per party, or of model packages (.tar.gz).

    With --id and the configs of all parties, the rows are scored here, all parties in this process: microseconds of
    each step and look-up (the least of several runs), bytes of the messages between the parties, and how many rounds
    of calls a request takes. No port is opened and no server is asked.
    """
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    packages = [path for path in files if path.name.endswith(_PACKAGE_SUFFIXES)]
    if packages and (ids or len(packages) < len(files)):
        raise click.UsageError("packages are explained alone: measuring takes the configs of all parties")
    measured = None
    if packages:
        registry = Registry.discover(plugin_directories=plugin_directories)
        plans = {
            str(path): explain_graph(check_graph(read_package(path).graph, registry.operator)) for path in packages
        }
    else:
        chosen = [_choose(load(path, plugin_directories=plugin_directories), service) for path in files]
        print_warnings([loaded for loaded, _ in chosen])
        with ThreadPoolExecutor(4) as pool:
            plans = {
                loaded.config.party: explain_graph(check_model(loaded, its_service, pool).graph)
                for loaded, its_service in chosen
            }
            if ids:
                first = requester or chosen[0][0].config.party
                _check_complete(chosen, first)
                measured = run_loop(measure(chosen, ids, pool, first))
    if as_json:
        click.echo(json.dumps(_as_dict(plans, measured), indent=1))
        return
    for party, executions in plans.items():
        _print_party(party, executions, measured)
    if measured is not None:
        click.echo(
            f"{measured.rows} row(s), asked at {measured.requester}: {measured.rounds} round(s) of calls, "
            f"{measured.total_us:.1f} µs for everything in one process"
        )


def _choose(loaded: LoadedConfig, service: str | None) -> tuple[LoadedConfig, LoadedService]:
    by_id = {each.config.service: each for each in loaded.services}
    name = service or (next(iter(by_id)) if len(by_id) == 1 else None)
    if name not in by_id:
        raise click.UsageError(f"--service must be one of {', '.join(by_id)}")
    return loaded, by_id[name]


def _check_complete(chosen: Sequence[tuple[LoadedConfig, LoadedService]], requester: str) -> None:
    given = {loaded.config.party for loaded, _ in chosen}
    needed = set(chosen[0][0].config.parties)
    if given != needed or len(chosen) != len(needed):
        raise RequestError(f"measuring takes one config of each party: {', '.join(sorted(needed))}")
    if requester not in needed:
        raise RequestError(f"there is no party {requester!r}", where="--requester")


# ---------------------------------------------------------------------- output
def _print_party(party: str, executions: Sequence[ExplainedExecution], measured: Measured | None) -> None:
    columns = ["execution", "step", "nodes", "takes"]
    if measured is not None:
        columns += ["µs", "bytes in", "bytes out"]
    click.echo(f"{party}:")
    print_table(columns, [row[: len(columns)] for row in _rows(party, executions, measured)])
    click.echo()


def _rows(party: str, executions: Sequence[ExplainedExecution], measured: Measured | None) -> Iterator[list[str]]:
    measured = measured or Measured("", 0)
    if party in measured.fetch_us:
        yield ["", "look-up of features", "", "ids", f"{measured.fetch_us[party]:.1f}", "", ""]
    for execution in executions:
        beside = ", in a thread" if execution.heavy else ""
        sizes = [
            str(sizes.get((party, execution.index), "")) for sizes in (measured.request_bytes, measured.reply_bytes)
        ]
        yield [f"{execution.index} {execution.dispatch}{beside}", "", "", "", "", *sizes]
        for step in execution.steps:
            time = measured.step_us.get((party, execution.index, step.nodes[0]))
            yield [
                "",
                ", ".join(f"{op} x {count}" if count > 1 else op for op, count in step.operators.items()),
                _short(step.nodes),
                _short(step.parents) or "features",
                "" if time is None else f"{time:.1f}",
                "",
                "",
            ]


def _short(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, …, {names[-1]} ({len(names)})"


def _as_dict(plans: Mapping[str, Sequence[ExplainedExecution]], measured: Measured | None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "parties": {
            party: {"executions": [_execution(party, each, measured) for each in executions]}
            for party, executions in plans.items()
        }
    }
    if measured is not None:
        for party, microseconds in measured.fetch_us.items():
            out["parties"][party]["fetch_us"] = microseconds
        out["request"] = {
            "requester": measured.requester,
            "rows": measured.rows,
            "rounds": measured.rounds,
            "total_us": measured.total_us,
        }
    return out


def _execution(party: str, execution: ExplainedExecution, measured: Measured | None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "index": execution.index,
        "dispatch": execution.dispatch,
        "heavy": execution.heavy,
        "inputs": execution.inputs,
        "outputs": execution.outputs,
        "steps": [_step(party, execution.index, step, measured) for step in execution.steps],
    }
    if measured is not None and (party, execution.index) in measured.request_bytes:
        out["request_bytes"] = measured.request_bytes[party, execution.index]
        out["reply_bytes"] = measured.reply_bytes[party, execution.index]
    return out


def _step(party: str, execution: int, step: ExplainedStep, measured: Measured | None) -> dict[str, Any]:
    out: dict[str, Any] = {"nodes": step.nodes, "operators": dict(step.operators), "parents": step.parents}
    if measured is not None:
        out["us"] = measured.step_us.get((party, execution, step.nodes[0]))  # None: the step runs elsewhere
    return out
