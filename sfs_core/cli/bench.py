"""`sfs bench`: load on servers, and how they answer."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import re
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import click

from sfs_core.cli.access import Access, access_options
from sfs_core.cli.callers import CalledService, find_service, read_ids
from sfs_core.cli.tables import print_table
from sfs_core.client.load.comparison import Contender, compare
from sfs_core.client.load.figures import PERCENTILES, Figures, figures_of, percentile_name
from sfs_core.client.load.generator import Arrivals, Callers, Generator, even_arrivals, random_arrivals
from sfs_core.client.load.protocols import open_transport
from sfs_core.client.load.questions import Questions, draw_questions
from sfs_core.client.target import parse_target
from sfs_core.errors import ErrorCode, RequestError

__all__ = ["command", "expand_ids"]

_SERVICE: Final = "secretflow.serving.apis.PredictionService"
_RANGE: Final = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_IDS: Final = 10_000_000
_MOST_CONNECTIONS: Final = 1000
_LATE_MS: Final = 1.0
_OUTPUT: Final = click.Path(dir_okay=False, allow_dash=True)


@click.command("bench", short_help="Put load on servers and measure how they answer.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET [SECOND_TARGET]")
@click.option("--service", help="The service id, where no config says it.")
@click.option("--party", "parties", multiple=True, help="A party id; repeat. Only with URLs.")
@click.option("--ids", metavar="PATTERN", help="Ids to draw from, as in 'r{0..999}'.")
@click.option("--ids-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A CSV file of them.")
@click.option("--id-column", default="id", show_default=True, help="The column of files that holds ids.")
@click.option("--rows", default=1, show_default=True, type=click.IntRange(1), help="Rows of a request.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second, whatever the answers do.")
@click.option("--arrivals", default="random", show_default=True, type=click.Choice(["random", "even"]))
@click.option("--callers", type=click.IntRange(1), help="Instead of --rate: callers that wait for their answers. [8]")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0.01), help="Of load on each target.")
@click.option(
    "--warm-up", default=1.0, show_default=True, type=click.FloatRange(0), help="Seconds before, not counted."
)
@click.option("--slices", default=5, show_default=True, type=click.IntRange(1), help="With two targets they alternate.")
@click.option("--timeout", default=10.0, show_default=True, type=click.FloatRange(0.01), help="Seconds for an answer.")
@click.option(
    "--expect", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A CSV file of scores by id."
)
@click.option("--score-column", default="score", show_default=True, help="The column of --expect that holds scores.")
@click.option("--json", "json_file", type=_OUTPUT, help="Write all figures here; - for standard output.")
@click.option("--csv", "csv_file", type=_OUTPUT, help="Write a line per target here; - for standard output.")
@access_options
@click.pass_context
def command(
    context: click.Context,
    targets: tuple[str, ...],
    service: str | None,
    parties: tuple[str, ...],
    ids: str | None,
    ids_file: Path | None,
    id_column: str,
    rows: int,
    rate: float | None,
    arrivals: str,
    callers: int | None,
    seconds: float,
    warm_up: float,
    slices: int,
    timeout: float,
    expect: Path | None,
    score_column: str,
    json_file: str | None,
    csv_file: str | None,
    access: Access,
) -> None:
    """Put load on one server, or on two by turns, and print rates, latencies and what went wrong.

    A TARGET is the config file of a running party, or a URL: http://HOST:PORT (protobuf bodies), http+json://…,
    baidu_std://…, grpc://…; any server that speaks the protocol will do. Over TLS they begin with https://,
    https+json://, baidu_stds://, grpcs://.

    With --rate, a request's latency counts from when it was due, however long the ones before it took: a server that
    stops for a second shows in all requests of that second. Exits with 1 if any answer was not right.
    """
    if rate is not None and callers is not None:
        raise click.UsageError("either --rate or --callers")
    if len(targets) > 2 or len(set(targets)) < len(targets):
        raise click.UsageError("one target, or two different ones")
    wanted = [*expand_ids(ids or ""), *(read_ids(ids_file, id_column) if ids_file else [])]
    if not wanted:
        raise click.UsageError("no ids given: use --ids or --ids-file")
    scores = _read_scores(expect, id_column, score_column) if expect else None
    found = [find_service(name, service, parties) for name in targets]
    connections = callers or (8 if rate is None else _MOST_CONNECTIONS)

    async def measure() -> list[Figures]:
        contenders = []
        for name, called in zip(targets, found, strict=True):
            questions = draw_questions(called.service, called.parties, wanted, rows, scores=scores)
            contenders.append(Contender(name, _generator(called, access, questions, connections, timeout)))
        load = _load(rate, arrivals, callers or 8)
        measured = await compare(contenders, load, seconds=seconds, slices=slices, warm_up=warm_up)
        return [figures_of(name, samples) for name, samples in measured.items()]

    figures = _run(measure())
    if json_file is not None:
        _write(json_file, json.dumps([_finite(each.as_dict()) for each in figures], indent=1) + "\n")
    if csv_file is not None:
        _write(csv_file, _csv(figures))
    if "-" not in (json_file, csv_file):
        _print(figures)
    if any(each.problems for each in figures):
        context.exit(1)


def expand_ids(pattern: str) -> list[str]:
    """The ids of a pattern: `r{1..3}` is r1, r2, r3; without a range it is one id, empty for none.

    Raises:
        RequestError: it has several ranges, or one that is empty or too long.
    """
    found = _RANGE.findall(pattern)
    if not found:
        return [pattern] if pattern else []
    first, last = map(int, found[0])
    if len(found) > 1 or not 0 <= last - first < _MOST_IDS:
        raise RequestError("one range of ascending numbers is expected, as in r{0..999}", where="--ids")
    before, _, after = _RANGE.sub("\0", pattern).partition("\0")
    return [f"{before}{i}{after}" for i in range(first, last + 1)]


def _read_scores(file: Path, id_column: str, score_column: str) -> dict[str, float]:
    ids, texts = read_ids(file, id_column), read_ids(file, score_column)
    try:
        return dict(zip(ids, map(float, texts), strict=True))
    except ValueError:
        raise RequestError(f"{file}: not every {score_column} is a number") from None


def _generator(
    called: CalledService,
    access: Access,
    questions: Questions,
    connections: int,
    timeout: float,
) -> Generator:
    target = parse_target(called.url)
    json_bodies = target.protocol == "http"
    transport = open_transport(
        target,
        _SERVICE,
        "Predict",
        connections=connections,
        seconds=timeout,
        headers=access.headers(target),
        tls=access.tls(target, called.tls),
    )
    check = questions.check_json if json_bodies else questions.check_message
    return Generator(transport, questions.bodies(json=json_bodies), check, timeout=timeout)


def _load(rate: float | None, arrivals: str, callers: int) -> Callable[[float], Callers | Arrivals]:
    """What makes the load of a slice; both targets get the same."""
    if rate is None:
        return lambda seconds: Callers(callers, seconds)
    if arrivals == "even":
        return lambda seconds: even_arrivals(rate, seconds)
    return lambda seconds: random_arrivals(rate, seconds, seed=1)


def _run(main: Coroutine[Any, Any, list[Figures]]) -> list[Figures]:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


# ---------------------------------------------------------------------- output
def _print(figures: Sequence[Figures]) -> None:
    names = [percentile_name(p) for p in PERCENTILES]
    print_table(
        ("target", "requests", "right", "per second", *(f"{name} ms" for name in names)),
        [
            (f.target, f"{f.requests}", f"{f.right}", f"{f.rate:.1f}", *(f"{v:.3f}" for v in f.latency_ms.values()))
            for f in figures
        ],
    )
    for each in figures:
        for problem, count in each.problems.items():
            click.echo(f"{each.target}: {count} x {problem}")
        if each.late_ms > _LATE_MS:
            click.echo(
                f"{each.target}: 1% of requests were sent over {each.late_ms:.1f} ms late: this machine is too busy to "
                "offer the load evenly",
                err=True,
            )
    if len(figures) == 2 and all(each.right for each in figures):
        first, second = figures
        click.echo(
            f"{first.target} ÷ {second.target}: rate {first.rate / second.rate:.2f}, "
            + ", ".join(
                f"{percentile_name(p)} {first.latency_ms[p] / second.latency_ms[p]:.2f}" for p in (50.0, 99.0, 99.9)
            )
        )


def _write(path: str, text: str) -> None:
    if path == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}", code=ErrorCode.IO_ERROR) from None


def _csv(figures: Sequence[Figures]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{percentile_name(p)}_ms" for p in PERCENTILES]
    writer.writerow(["target", "requests", "right", "seconds", "rate", "mean_ms", *names, "late_ms", "problems"])
    for f in figures:
        problems = "; ".join(f"{count} {problem}" for problem, count in f.problems.items())
        latencies = f.latency_ms.values()
        writer.writerow([f.target, f.requests, f.right, f.seconds, f.rate, f.mean_ms, *latencies, f.late_ms, problems])
    return file.getvalue()


def _finite(value: object) -> object:
    """JSON has no NaN: figures of no answers become null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
