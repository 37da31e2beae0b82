"""`sfs demo`: a real service of two or three parties on this machine, scored over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import click
import numpy as np

from sfs_core.cli.certs import write_certificates
from sfs_core.cli.demo_model import (
    DemoData,
    ModelKind,
    auc,
    load_demo_data,
    single_machine_scores,
    write_features,
    write_packages,
)
from sfs_core.cli.tables import print_table
from sfs_core.client.sync import Client
from sfs_core.client.tls import Tls
from sfs_core.config.certificates import client_context
from sfs_core.errors import ConfigError, ErrorCode, PeerError
from sfs_core.host.registry import Registry

__all__ = ["command"]

_START_SECONDS: Final = 60.0
_ROWS_PER_REQUEST: Final = 100
_KINDS: Final[tuple[ModelKind, ...]] = get_args(ModelKind)
_SHOWN_ROWS: Final = 5
_CALLER: Final = "caller"
"""Whom the certificate is made out to that the parties' caller shows."""


@dataclass(frozen=True, slots=True)
class _Party:
    """One party's process and where it answers."""

    name: str
    config: Path
    service_port: int
    process: subprocess.Popen[bytes]
    log: Path
    tls: Tls | None
    """How it is asked over TLS."""

    @property
    def url(self) -> str:
        """Where callers are answered."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.service_port}"


@click.command("demo", short_help="Start parties on this machine and score a real data set.")
@click.option("--parties", type=click.Choice(["2", "3"]), default="2", show_default=True, help="How many parties.")
@click.option("--tls", is_flag=True, help="Have parties and caller speak TLS, and show each other certificates.")
@click.option("--keep", is_flag=True, help="Keep the parties running until Ctrl-C, to try requests.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write configs, packages, features and certificates here, and leave them; a new or empty folder.",
)
def command(parties: str, tls: bool, keep: bool, folder: Path | None) -> None:
    """Start parties as processes of their own, score the Wisconsin breast-cancer data, compare, stop.

    Each party holds a part of the columns. Two models are served: a logistic regression and boosted trees.
    """
    data = load_demo_data()
    with (
        _folder(folder) as used,
        _running(data, int(parties), used, tls) as running,
    ):
        _score(data, running)
        _explain(data, running)
        if keep:
            click.echo("\nThe parties keep running; Ctrl-C ends them.")
            with contextlib.suppress(KeyboardInterrupt):
                _watch(running)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory(prefix="sfs-demo-") as folder:
            yield Path(folder)
        return
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{given} cannot be made: {error.strerror}", code=ErrorCode.IO_ERROR) from None
    if any(given.iterdir()):
        raise ConfigError(f"{given} is not empty", hint="name a new folder")
    yield given.absolute()


# -------------------------------------------------------------------- the parties
@contextlib.contextmanager
def _running(data: DemoData, count: int, folder: Path, over_tls: bool) -> Iterator[list[_Party]]:
    owned = data.features_of(count)
    click.echo(f"Parties and what they hold of {len(data.ids)} people:")
    print_table(
        ["party", "features", "for example"],
        [[name, str(len(names)), ", ".join(names[:3])] for name, names in owned.items()],
    )
    tls = _caller_tls(folder, list(owned)) if over_tls else None
    with contextlib.ExitStack() as stack:
        parties = [stack.enter_context(_process(*given, tls)) for given in _write_configs(data, count, folder, tls)]
        for party in parties:
            _wait_ready(party)
        yield parties


def _caller_tls(folder: Path, parties: Sequence[str]) -> Tls:
    """Make certificates for the parties and their caller; how the caller speaks to them."""
    write_certificates(folder / "certificates", [*parties, _CALLER])
    click.echo(f"\nAll speak TLS, with certificates as `sfs certs dev DIR --parties {','.join(parties)}` makes them.")
    files = {end: folder / "certificates" / f"{_CALLER}.{end}" for end in ("crt", "key")}
    return Tls(folder / "certificates" / "ca.crt", files["crt"], files["key"])


def _write_configs(data: DemoData, count: int, folder: Path, tls: Tls | None) -> list[tuple[str, Path, int]]:
    """Data, packages and a config file per party; name, config and service port of each."""
    registry = Registry.discover()
    features = write_features(data, count, folder)
    packages = {kind: write_packages(data, kind, count, folder, registry.operator) for kind in _KINDS}
    names = list(features)
    ports = _free_ports(2 * len(names))
    service_ports = dict(zip(names, ports, strict=False))
    communication_ports = dict(zip(names, ports[len(names) :], strict=True))
    written = []
    for name in names:
        config = {
            "party": name,
            "listen": {
                "host": "127.0.0.1",
                "service": service_ports[name],
                "communication": communication_ports[name],
                **(_listen_tls(name, tls) if tls else {}),
            },
            "parties": {other: f"127.0.0.1:{port}" for other, port in communication_ports.items()},
            "cache": str(folder / "cache" / name),
            "services": [
                {
                    "service": _service(kind),
                    "model": {"source": {"name": "local", "path": str(packages[kind][name])}},
                    "features": {"source": {"name": "csv", "path": str(features[name])}},
                }
                for kind in _KINDS
            ],
        }
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config, indent=2))
        written.append((name, path, service_ports[name]))
    return written


def _listen_tls(party: str, tls: Tls) -> Mapping[str, object]:
    own = {"certificate_file": f"certificates/{party}.crt", "key_file": f"certificates/{party}.key"}
    return {"tls": own | {"ca_file": str(tls.ca_file)}}


def _service(kind: ModelKind) -> str:
    return f"breast-cancer-{kind}"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def _process(name: str, config: Path, service_port: int, tls: Tls | None) -> Iterator[_Party]:
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "sfs_core.cli", "serve", str(config)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield _Party(name, config, service_port, process, log, tls)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_ready(party: _Party) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if party.process.poll() is not None:
            raise PeerError(f"ended at once; it said:\n{party.log.read_text()}", party=party.name)
        with contextlib.suppress(OSError):
            if _is_ready(party):
                return
        time.sleep(0.02)
    raise PeerError(f"was not ready within {_START_SECONDS:.0f} s; it said:\n{party.log.read_text()}", party=party.name)


def _is_ready(party: _Party) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", party.service_port, timeout=30)
    if party.tls is not None:
        context: ssl.SSLContext = client_context(party.tls.files)
        connection = http.client.HTTPSConnection("127.0.0.1", party.service_port, timeout=30, context=context)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def _watch(parties: Sequence[_Party]) -> None:
    while all(party.process.poll() is None for party in parties):
        time.sleep(0.2)


# -------------------------------------------------------------------- the scores
def _score(data: DemoData, parties: Sequence[_Party]) -> None:
    asked = parties[0]
    names = [party.name for party in parties]
    how = f"over {'HTTPS' if asked.tls else 'HTTP'}, {_ROWS_PER_REQUEST} rows a request"
    click.echo(f"\nAll {len(data.ids)} rows, asked of {asked.name} {how}:")
    rows = []
    scores: dict[ModelKind, list[float]] = {}
    for kind in _KINDS:
        begin = time.perf_counter()
        scores[kind] = _all_scores(asked, _service(kind), names, data.ids)
        milliseconds = 1e3 * (time.perf_counter() - begin)
        alone = single_machine_scores(data, kind)
        held_out = data.held_out
        rows.append(
            [
                kind,
                f"{auc(np.array(scores[kind])[held_out], data.labels[held_out]):.4f}",
                f"{auc(alone[held_out], data.labels[held_out]):.4f}",
                f"{np.abs(np.array(scores[kind]) - alone).max():.0e}",
                f"{milliseconds:.0f} ms",
            ]
        )
    print_table(["model", "AUC, parties", "AUC, one machine", "largest difference", "all rows took"], rows)
    click.echo(f"(AUC over the {int(data.held_out.sum())} rows that training did not see)\n\nThe first rows:")
    print_table(
        ["id", "malignant", *(f"{kind} score" for kind in _KINDS)],
        [
            [data.ids[i], "yes" if data.labels[i] else "no", *(f"{scores[kind][i]:.4f}" for kind in _KINDS)]
            for i in range(_SHOWN_ROWS)
        ],
    )


def _all_scores(asked: _Party, service: str, parties: Sequence[str], ids: Sequence[str]) -> list[float]:
    scores: list[float] = []
    with Client(asked.url, service=service, parties=parties, timeout=30, tls=asked.tls) as client:
        for start in range(0, len(ids), _ROWS_PER_REQUEST):
            scores += client.predict(ids[start : start + _ROWS_PER_REQUEST]).score.tolist()
    return scores


def _explain(data: DemoData, parties: Sequence[_Party]) -> None:
    asked, names = parties[0], [party.name for party in parties]
    params = {name: {"query_datas": list(data.ids[:1])} for name in names}
    request = json.dumps({"service_spec": {"id": _service("logistic")}, "fs_params": params})
    url = f"{asked.url}/PredictionService/Predict"
    tls = asked.tls
    shown = f" --cacert {tls.ca_file} --cert {tls.certificate_file} --key {tls.key_file}" if tls else ""
    click.echo(f"\nOne row by hand (while they run: sfs demo{' --tls' if tls else ''} --keep):")
    click.echo(f"  curl -s {url} -d '{request}'{shown}")
    click.echo(f"  sfs predict {asked.config} --service {_service('logistic')} {data.ids[0]}")
    click.echo("\nData: Breast Cancer Wisconsin (Diagnostic), W. Wolberg, O. Mangasarian, N. Street, W. Street;")
    click.echo("UCI Machine Learning Repository, doi:10.24432/C5DW2B, CC BY 4.0.")
