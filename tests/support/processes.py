"""Parties as real processes on free loopback ports."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

SFS = str(Path(sys.executable).parent / "sfs")
START_SECONDS = 120.0


def _own_ports() -> Iterator[int]:
    """Ports of this process alone, below those that the system gives away: a share that no other test run has taken."""
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for first in range(end - 1000, 1024, -1000):
        path = Path(tempfile.gettempdir(), f"sfs-test-ports-{os.getuid()}-{first}")
        lock = os.open(path, os.O_CREAT | os.O_RDWR)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
            yield from itertools.cycle(range(first, first + 1000))
        os.close(lock)
    raise AssertionError("too many test runs at the same time")


_OWN_PORTS = _own_ports()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that nobody is given who asks for any port."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_OWN_PORTS)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def wait_for(condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


class ServicePort:
    """Where a party answers callers.

    Attributes:
        tls: what the port is asked with over TLS.
    """

    def __init__(self, service_port: int) -> None:
        self.service_port = service_port
        self.tls: ssl.SSLContext | None = None

    def request(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of one HTTP exchange on the service port."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service_port, timeout=60)
        if self.tls is not None:
            connection = http.client.HTTPSConnection("127.0.0.1", self.service_port, timeout=60, context=self.tls)
        try:
            connection.request(method, path, body, {"Content-Type": content_type} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def predict(self, service: str, params: Mapping[str, Sequence[str]], **more: Any) -> dict[str, Any]:
        """The answer to a Predict request."""
        body = {
            "service_spec": {"id": service},
            "fs_params": {party: {"query_datas": list(ids)} for party, ids in params.items()},
        } | more
        status, answer = self.request("POST", "/PredictionService/Predict", json.dumps(body).encode())
        assert status == 200, answer
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def scores(self, service: str, parties: Sequence[str], ids: Sequence[str]) -> list[float]:
        """One score per id; every party looks the same ids up."""
        answer = self.predict(service, dict.fromkeys(parties, ids))
        assert answer["status"] == {"code": 1, "msg": ""}, answer
        return [result["scores"][0]["value"] for result in answer["results"]]


class Party(ServicePort):
    """One running `sfs serve`."""

    def __init__(self, config: Path, service_port: int, arguments: Sequence[str] = ()) -> None:
        super().__init__(service_port)
        self.config = config
        self._arguments = arguments
        self.log = config.with_suffix(".log")
        self.start()

    def start(self) -> None:
        """Start the process; does not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [SFS, "serve", str(self.config), *self._arguments], stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self) -> None:
        """Until predictions are answered."""
        wait_for(self.is_ready, f"{self.config.name} ready; its log:\n{self.log.read_text()}")

    def is_ready(self) -> bool:
        """Whether `/ready` says so; fails when the process has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.config.name} ended with {self.process.returncode}:\n{self.log.read_text()}")
        try:
            return self.request("GET", "/ready")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End the process without a word."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask the process to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextlib.contextmanager
def running(parties: Mapping[str, Party]) -> Iterator[Mapping[str, Party]]:
    """Parties that are ready; stopped at the end."""
    try:
        for party in parties.values():
            party.wait_ready()
        yield parties
    finally:
        for party in parties.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                party.stop()


def reference_configs(
    folder: Path,
    parties: Sequence[str],
    packages: Mapping[str, Path],
    features: Mapping[str, Mapping[str, Any]],
    protocol: str = "baidu_std",
    service: str = "svc",
    **link: Any,
) -> dict[str, tuple[Path, int]]:
    """One serving JSON of the reference per party, with its service port.

    Args:
        features: each party's `featureSourceConf`.
        link: more of `channelDesc`.
    """
    ports = free_ports(2 * len(parties))
    service_ports, communication_ports = ports[: len(parties)], ports[len(parties) :]
    listed = [{"id": p, "address": f"127.0.0.1:{port}"} for p, port in zip(parties, communication_ports, strict=True)]
    configs = {}
    for party, service_port, communication_port in zip(parties, service_ports, communication_ports, strict=True):
        config = {
            "id": service,
            "serverConf": {"host": "127.0.0.1", "servicePort": service_port, "communicationPort": communication_port},
            "modelConf": {
                "modelId": "m",
                "basePath": str(folder / "cache" / party),
                "sourceType": "ST_FILE",
                "sourcePath": str(packages[party]),
            },
            "clusterConf": {
                "selfId": party,
                "parties": listed,
                "channelDesc": {"protocol": protocol, "rpcTimeoutMs": 5000} | link,
            },
            "featureSourceConf": features[party],
        }
        path = folder / f"{party}.json"
        path.write_text(json.dumps(config, indent=2))
        configs[party] = path, service_port
    return configs


def start_parties(configs: Mapping[str, tuple[Path, int]], *arguments: str) -> dict[str, Party]:
    """All parties, started and not waited for."""
    return {party: Party(path, port, arguments) for party, (path, port) in configs.items()}
