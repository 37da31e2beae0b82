"""`sfs predict`: ask a running server for scores."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from sfs_core.cli.access import Access, access_options
from sfs_core.cli.callers import CalledService, find_service, read_ids
from sfs_core.client.errors import ServiceError, UnavailableError
from sfs_core.client.results import Prediction
from sfs_core.client.sync import Client
from sfs_core.client.target import parse_target
from sfs_core.errors import ErrorCode, PeerError, SfsError

__all__ = ["command"]

_ROWS_PER_REQUEST = 1000
_NOT_SERVED = re.compile(r"HTTP status 404|UNIMPLEMENTED|code 100[12]")
_UNKNOWN_CALLER = re.compile(r"HTTP status 401|UNAUTHENTICATED|code 1004")


@click.command("predict", short_help="Ask a running server for scores.")
@click.argument("target", metavar="CONFIG_OR_URL")
@click.argument("ids", nargs=-1)
@click.option("--ids-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A CSV file of ids.")
@click.option("--id-column", default="id", show_default=True, help="The column of --ids-file that holds them.")
@click.option("--service", help="The service id, where the config does not say or has several.")
@click.option("--party", "parties", multiple=True, help="A party id; repeat. Only with a URL.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON, a line for each request.")
@access_options
def command(
    target: str,
    ids: tuple[str, ...],
    ids_file: Path | None,
    id_column: str,
    service: str | None,
    parties: tuple[str, ...],
    timeout: float,
    as_json: bool,
    access: Access,
) -> None:
    """Score IDS at a running server; every party looks the same ids up.

    CONFIG_OR_URL is the config file that the server runs with, or its address (then --service and --party say
    the rest): sfs predict alice.yaml 17 18, or
    sfs predict http://127.0.0.1:9010 --service demo --party alice --party bob 17 18

    Addresses are those of the Python client: http://, http+json://, grpc://, baidu_std://, and over TLS https://,
    https+json://, grpcs://, baidu_stds://. With a config, the server is asked as it says, and shown its certificate
    where it asks callers for one.
    """
    wanted = [*ids, *(read_ids(ids_file, id_column) if ids_file else [])]
    if not wanted:
        raise click.UsageError("no ids given: name them after the target, or use --ids-file")
    called = find_service(target, service, parties)
    blocks = [wanted[i : i + _ROWS_PER_REQUEST] for i in range(0, len(wanted), _ROWS_PER_REQUEST)]
    with _client(called, timeout, access) as client:
        answers = ((block, _predict(client, block)) for block in blocks)
        if as_json:
            for _, answer in answers:
                click.echo(json.dumps(_as_json(answer, called.service)))
            return
        unscored = _print_scores(answers)
    if unscored:
        click.echo(f"{unscored} of {len(wanted)} ids have no scores: not every party has features for them", err=True)


def _client(called: CalledService, timeout: float, access: Access) -> Client:
    target = parse_target(called.url)
    return Client(
        called.url,
        service=called.service,
        parties=called.parties,
        timeout=timeout,
        headers=access.headers(target),
        tls=access.tls(target, called.tls),
        plain_credentials=True,  # judged by `access` already
    )


def _predict(client: Client, ids: Sequence[str]) -> Prediction:
    try:
        return client.predict(ids)
    except UnavailableError as error:
        raise PeerError(f"no answer: {error.message}", hint=_hint(error)) from None
    except ServiceError as error:
        at = f" [{error.request_id}]" if error.request_id else ""
        raise SfsError(f"the server answered code {error.status}:{at} {error.message}") from None


def _hint(error: UnavailableError) -> str:
    if "certificate" in error.message:
        return "see --ca-file, --certificate-file and --server-name"
    if _UNKNOWN_CALLER.search(error.message):
        return "see --api-key-file and --token-file"
    if "refused the call" in error.message and not _NOT_SERVED.search(error.message):
        return ""  # the server said why
    return "is it the service port of a server?" if error.may_have_run else "is the server running? (sfs serve)"


def _as_json(answer: Prediction, service: str) -> dict[str, Any]:
    """An answer as servers write it."""
    rows = zip(answer.scores.tolist(), answer.missing.tolist(), strict=True)
    return {
        "header": {"data": dict(answer.headers)},
        "status": {"code": int(ErrorCode.OK), "msg": ""},
        "service_spec": {"id": service},
        "results": [
            {"scores": [{"name": n, "value": v} for n, v in zip(answer.names, row, strict=True)]} if not missing else {}
            for row, missing in rows
        ],
    }


def _print_scores(answers: Iterable[tuple[Sequence[str], Prediction]]) -> int:
    """Print CSV; the cells of ids without scores are empty. Gives their number."""
    writer = csv.writer(sys.stdout)
    names: tuple[str, ...] = ()
    unscored: list[str] = []
    for ids, answer in answers:
        if answer.names and not names:  # the first answer that says the columns
            names = answer.names
            writer.writerow(["id", *names])
            writer.writerows([earlier, *[""] * len(names)] for earlier in unscored)
        for id_, row, missing in zip(ids, answer.scores.tolist(), answer.missing.tolist(), strict=True):
            if missing:
                unscored.append(id_)
            if names:
                writer.writerow([id_, *([""] * len(names) if missing else row)])
    if not names:
        writer.writerows([["id"], *([id_] for id_ in unscored)])
    return len(unscored)
