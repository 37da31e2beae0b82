"""Two parties as two processes with a linear model, and load whose every score is known."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sfs_core.client.load.generator import Generator
from sfs_core.client.load.protocols import open_transport
from sfs_core.client.load.questions import draw_questions
from sfs_core.client.target import Target
from tests.support.clusters import linear_files
from tests.support.processes import Party, free_ports

PARTIES = ("alice", "bob")
FEATURES = 10  # per party
IDS = [str(i) for i in range(1000)]


@contextlib.contextmanager
def linear_cluster(
    folder: Path, *, delay_ms: float = 0.0, metrics: bool = False, **options: Any
) -> Iterator[Mapping[str, Party]]:
    """Parties that serve the sum of their features, `delay_ms` apart each way; with `metrics`, they count."""
    columns = {
        party: {f"{party}{j}": [float(i * FEATURES + j) for i in range(len(IDS))] for j in range(FEATURES)}
        for party in PARTIES
    }
    files = linear_files(folder, IDS, columns, intercept=0.5, **options)
    if metrics:
        for config, port in zip(files.configs.values(), free_ports(2), strict=True):
            config["listen"]["metrics"] = port
    with contextlib.ExitStack() as stack:
        if delay_ms:
            (port,) = free_ports(1)
            arguments = [port, files.communication_port("bob"), delay_ms]
            script = Path(__file__).with_name("delay.py")
            proxy = subprocess.Popen([sys.executable, str(script), *map(str, arguments)])
            stack.callback(proxy.wait)
            stack.callback(proxy.terminate)
            files.configs["alice"]["parties"]["bob"] = f"127.0.0.1:{port}"
        yield stack.enter_context(files.running("--log-level", "warning"))


def checked_load(port: int, *, rows: int = 1, connections: int = 1000) -> Generator:
    """Load on a party of the cluster over HTTP/JSON; every score is checked."""
    scores = {id_: sum(2 * (i * FEATURES + j) for j in range(FEATURES)) + 0.5 for i, id_ in enumerate(IDS)}
    questions = draw_questions("linear", PARTIES, IDS, rows, scores=scores)
    target = Target(f"127.0.0.1:{port}", "http")
    service = "secretflow.serving.apis.PredictionService"
    transport = open_transport(target, service, "Predict", connections=connections, seconds=10.0)
    return Generator(transport, questions.bodies(json=True), questions.check_json)
