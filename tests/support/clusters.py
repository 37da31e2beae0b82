"""Clusters of real processes over models of our own builder: nothing but this repository is needed."""

from __future__ import annotations

import csv
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfs_core.host.registry import Registry
from sfs_core.model.graph import Graph
from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.support.processes import Party, free_ports, running

Columns = Mapping[str, Sequence[Any]]
"""Values by feature, in the order of the ids."""


def registry() -> Registry:
    """Everything installed."""
    return Registry.discover()


def write_csv(path: Path, ids: Sequence[str], columns: Columns) -> Path:
    """A features file with the id column `id`."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *columns])
        writer.writerows(zip(ids, *columns.values(), strict=True))
    return path


@dataclass
class ClusterFiles:
    """Configs of one party per process, to be changed before they are written; and where each listens."""

    folder: Path
    configs: dict[str, dict[str, Any]]
    paths: dict[str, Path] = field(default_factory=dict)

    def communication_port(self, party: str) -> int:
        """Where peers are answered."""
        return int(self.configs[party]["listen"]["communication"])

    def service_port(self, party: str) -> int:
        """Where callers are answered."""
        return int(self.configs[party]["listen"]["service"])

    def write(self, party: str) -> Path:
        """The party's config file, as `configs` says now."""
        self.paths[party] = self.folder / f"{party}.json"
        self.paths[party].write_text(json.dumps(self.configs[party], indent=1))
        return self.paths[party]

    def start(self, *arguments: str) -> dict[str, Party]:
        """A process per party, started and not waited for."""
        return {party: Party(self.write(party), self.service_port(party), arguments) for party in self.configs}

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Mapping[str, Party]]:
        """A process per party, ready; stopped at the end."""
        with running(self.start(*arguments)) as parties:
            yield parties


def cluster_files(
    folder: Path,
    services: Mapping[str, Mapping[str, Graph]],
    features: Mapping[str, Path],
    **more: Any,
) -> ClusterFiles:
    """Packages and configs of a cluster.

    Args:
        folder: for everything.
        services: each party's graph by party, by service id.
        features: each party's features file.
        more: further options of every config: `link`, `limits`.
    """
    more["link"] = {"handshake_attempts": 1000} | more.get("link", {})  # on a busy machine some start far later
    parties = list(features)
    ports = free_ports(2 * len(parties))
    communication = dict(zip(parties, ports[len(parties) :], strict=True))
    packages = {}
    for service, graphs in services.items():
        for party, graph in graphs.items():
            packages[service, party] = folder / f"{party}-{service}.tar.gz"
            write_package(packages[service, party], service, "made for a test", graph)
    configs = {
        party: {
            "party": party,
            "listen": {"service": port, "communication": communication[party]},
            "parties": {other: f"127.0.0.1:{address}" for other, address in communication.items()},
            "cache": str(folder / "cache" / party),
            "services": [
                {
                    "service": service,
                    "model": {"source": {"name": "local", "path": str(packages[service, party])}},
                    "features": {"source": {"name": "csv", "path": str(features[party])}},
                }
                for service in services
            ],
        }
        | {key: dict(value) for key, value in more.items()}
        for party, port in zip(parties, ports, strict=False)
    }
    return ClusterFiles(folder, configs)


def linear_files(
    folder: Path,
    ids: Sequence[str],
    columns: Mapping[str, Columns],
    *,
    service: str = "linear",
    intercept: float = 0.5,
    **more: Any,
) -> ClusterFiles:
    """A cluster that serves the sum of all features plus `intercept`; the first party holds the label."""
    weights = {party: dict.fromkeys(own, 1.0) for party, own in columns.items()}
    graphs = split_linear(registry().operator, weights, label_holder=next(iter(columns)), intercept=intercept)
    features = {party: write_csv(folder / f"{party}.csv", ids, own) for party, own in columns.items()}
    return cluster_files(folder, {service: graphs}, features, **more)


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """`status.code` of a body in JSON."""
        return int(self.json()["status"]["code"])

    @property
    def message(self) -> str:
        """`status.msg` of a body in JSON."""
        return str(self.json()["status"]["msg"])


def exchange(
    port: int,
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One HTTP exchange with a port of this machine; headers are as given, no content type is added."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if tls is not None:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=tls)
    try:
        connection.request(method, path, body or None, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()
