"""`sfs predict`: ask a running server for scores."""

from __future__ import annotations

import csv
import http.client
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from sfs_core.cli.callers import find_target, read_ids
from sfs_core.errors import ErrorCode, PeerError, RequestError, SfsError

__all__ = ["command"]

_ROWS_PER_REQUEST = 1000


@click.command("predict", short_help="Ask a running server for scores.")
@click.argument("target", metavar="CONFIG_OR_URL")
@click.argument("ids", nargs=-1)
@click.option("--ids-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A CSV file of ids.")
@click.option("--id-column", default="id", show_default=True, help="The column of --ids-file that holds them.")
@click.option("--service", help="The service id, where the config does not say or has several.")
@click.option("--party", "parties", multiple=True, help="A party id; repeat. Only with a URL.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answers, a line each.")
def command(
    target: str,
    ids: tuple[str, ...],
    ids_file: Path | None,
    id_column: str,
    service: str | None,
    parties: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> None:
    """Score IDS at a running server; every party looks the same ids up.

    CONFIG_OR_URL is the config file that the server runs with, or its address (then --service and --party say
    the rest): sfs predict alice.yaml 17 18, or
    sfs predict http://127.0.0.1:9010 --service demo --party alice --party bob 17 18
    """
    wanted = [*ids, *(read_ids(ids_file, id_column) if ids_file else [])]
    if not wanted:
        raise click.UsageError("no ids given: name them after the target, or use --ids-file")
    url, service, parties = find_target(target, service, parties)
    blocks = [wanted[i : i + _ROWS_PER_REQUEST] for i in range(0, len(wanted), _ROWS_PER_REQUEST)]
    answers = ((block, _predict(url, service, parties, block, timeout)) for block in blocks)
    if as_json:
        for _, answer in answers:
            click.echo(json.dumps(answer))
        return
    rows = ((id_, r) for block, answer in answers for id_, r in zip(block, _results(answer), strict=True))
    if unscored := _print_scores(rows):
        click.echo(f"{unscored} of {len(wanted)} ids have no scores: not every party has features for them", err=True)


def _print_scores(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    """Print CSV; the cells of ids without scores are empty. Gives their number."""
    writer = csv.writer(sys.stdout)
    names: list[str] = []
    unscored: list[str] = []
    for id_, result in rows:
        scores = result.get("scores", [])
        if scores and not names:  # the first of all rows that says the columns
            names = [score["name"] for score in scores]
            writer.writerow(["id", *names])
            writer.writerows([earlier, *[""] * len(names)] for earlier in unscored)
        if not scores:
            unscored.append(id_)
        if names:
            writer.writerow([id_, *([score["value"] for score in scores] or [""] * len(names))])
    if not names:
        writer.writerows([["id"], *([id_] for id_ in unscored)])
    return len(unscored)


def _predict(url: str, service: str, parties: Sequence[str], ids: Sequence[str], timeout: float) -> dict[str, Any]:
    request = {"service_spec": {"id": service}, "fs_params": {p: {"query_datas": list(ids)} for p in parties}}
    connection = _connection(url, timeout)
    try:
        connection.request(
            "POST", "/PredictionService/Predict", json.dumps(request), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PeerError(f"no answer from {url}: {reason}", hint="is the server running? (sfs serve)") from None
    except http.client.HTTPException:
        raise PeerError(f"{url} does not speak HTTP", hint="is it the service port of a server?") from None
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise PeerError(f"{url} answered HTTP {response.status}: {body[:200].decode(errors='replace')}")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise PeerError(f"{url} does not answer as a server of this kind", hint="is it the service port of a server?")
    return answer


def _connection(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        return kind(parts.hostname or "", parts.port, timeout=timeout)
    except ValueError:
        raise RequestError(f"{url} is no address", hint="http://HOST:PORT is expected") from None


def _results(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    status = answer.get("status", {})
    if status.get("code") != ErrorCode.OK:
        raise SfsError(f"the server answered code {status.get('code')}: {status.get('msg', '')}")
    results: list[dict[str, Any]] = answer.get("results", [])
    return results
