"""Config files for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

NATIVE = """\
service: demo
party: alice
listen: {host: 127.0.0.1, service: 9010, communication: 9110}
parties: {alice: 127.0.0.1:9110, bob: 127.0.0.1:9120}
model:
  source: {name: local, path: alice.tar.gz}
features:
  source: {name: csv, path: alice.csv, id_column: id}
"""

REFERENCE = """\
{"id": "demo",
 "serverConf": {"host": "127.0.0.1", "servicePort": 9010, "communicationPort": 9110},
 "modelConf": {"modelId": "m", "basePath": "cache", "sourceType": "ST_FILE", "sourcePath": "alice.tar.gz"},
 "clusterConf": {"selfId": "alice",
                 "parties": [{"id": "alice", "address": "127.0.0.1:9110"},
                             {"id": "bob", "address": "http://127.0.0.1:9120"}]},
 "featureSourceConf": {"csvOpts": {"filePath": "alice.csv", "idName": "id"}}}
"""

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a config file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "party.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
