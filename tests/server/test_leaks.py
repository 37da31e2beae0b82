"""Nothing leaks: canary values in features, ids, keys, passwords and configs are looked for in everything that leaves a
party: answers, logs at every level, metrics, trace files, audit logs, printed configs, and what the other party got."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sfs_core.cli import main
from sfs_core.config.loader import load
from sfs_core.server.app import Server
from tests.server.relay import Relay
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.in_process import RunningServers
from tests.support.processes import free_ports

PARTIES = ("alice", "bob")
PREDICT = "/PredictionService/Predict"
SECRET = "canary"
"""Part of every text that is to stay where it is; numbers are in NUMBERS."""
API_KEY = "canary-api-key"
AUDIT_KEY = "canary-audit-key-0123456789abcdef"
PASSWORD = "canary-password"
NUMBERS = {"alice": 271828.125, "bob": 314159.25}
"""Features."""
PLUGIN = """
import asyncio

import numpy as np
from pydantic import SecretStr

from sfs_core import Batch, FeatureError, FeatureResult, FeatureSource, FeatureSourceSpec, PluginConfig, hookimpl

SFS_API = ">=1,<2"


class Config(PluginConfig):
    value: float
    password: SecretStr


class Holder(FeatureSource):
    Config = Config
    headers = []

    async def fetch_rows(self, query):
        self.headers.append(dict(query.headers))
        await asyncio.sleep(0)
        for row, id_ in enumerate(query.ids):
            if id_.endswith("missing"):
                raise FeatureError(f"row {row} is not there", code=103)
            if id_.endswith("raises"):
                raise KeyError(f"{id_} {self.config.password.get_secret_value()} {self.config.value}")
        columns = [np.full(len(query.ids), self.config.value) for _ in self.schema.names]
        if any(id_.endswith("wrong") for id_ in query.ids):
            columns = [column[:-1] for column in columns]
        batch = Batch.from_columns(self.schema, columns, len(columns[0]))
        answers = {"x-source": self.context.party, "x-private": "canary-answer", "sfs-unscored-rows": "0"}
        return FeatureResult(batch, answers)


@hookimpl
def sfs_feature_sources():
    return [FeatureSourceSpec("holder", f"{__name__}:Holder", "a source with something to hide")]
"""


@dataclass
class Party:
    """What is known of a party, and what left it."""

    relay: Relay
    source: Any = None
    answers: list[Answer] = field(default_factory=list)


@dataclass
class Cluster:
    files: ClusterFiles
    parties: dict[str, Party]
    logged: io.StringIO

    def ask(self, body: bytes, party: str = "alice", key: str = API_KEY, path: str = PREDICT) -> Answer:
        headers = {"Content-Type": "application/json", "X-API-Key": key, "X-Secret": "canary-http-header"}
        answer = exchange(self.files.service_port(party), path, body, headers=headers)
        self.parties[party].answers.append(answer)
        return answer

    def files_of(self, party: str) -> Iterator[tuple[str, str]]:
        for ending in ("trace", "audit"):
            path = self.files.folder / f"{party}.{ending}"
            yield path.name, path.read_text()


def body(ids: dict[str, list[str]] | None = None, **more: Any) -> bytes:
    ids = ids or {}
    params = {p: {"query_datas": ids.get(p, [f"canary-id-of-{p}"]), "query_context": "canary-ctx"} for p in PARTIES}
    return json.dumps({"service_spec": {"id": "linear"}, "fs_params": params} | more).encode()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("leaks")
    columns = {"alice": {"a": [1.0]}, "bob": {"b": [1.0]}}
    link = {"protocol": "http", "headers": ["x-tenant"], "answer_headers": ["x-source"]}
    files = linear_files(folder, ["id"], columns, link=link)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "holder.py").write_text(PLUGIN)
    parties = {party: Party(Relay(files.communication_port(party))) for party in PARTIES}
    for (party, other), port in zip((PARTIES, PARTIES[::-1]), free_ports(2), strict=True):
        config = files.configs[party]
        config["parties"][other] = f"127.0.0.1:{parties[other].relay.port}"
        config["plugins"] = {"directories": ["plugins"]}
        source = {"name": "holder", "value": NUMBERS[party], "password": PASSWORD}
        config["services"][0]["features"] = {"source": source}
        config["listen"]["metrics"] = port
        config["tracing"] = {"file": str(folder / f"{party}.trace"), "interval": "10 ms"}
        config["logging"] = {"access": True}
        hashed = hashlib.sha256(API_KEY.encode()).hexdigest()
        config["callers"] = {
            "authenticators": [{"name": "api_key", "keys": {"shop": {"sha256": [hashed]}}}],
            "audit": {"file": str(folder / f"{party}.audit"), "key": AUDIT_KEY},
        }
    servers = []
    for party in PARTIES:
        loaded = load(files.write(party))
        parties[party].source = loaded.registry.feature_source("holder")
        servers.append(Server(loaded))
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(exc_text)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    running = RunningServers(servers)
    try:
        cluster = Cluster(files, parties, logged)
        for party in PARTIES:
            ask_everything(cluster, party)
        for party in PARTIES:
            port = files.configs[party]["listen"]["metrics"]
            parties[party].answers.append(exchange(port, "/metrics", method="GET"))
    finally:
        running.close()
        root.removeHandler(handler)
        root.setLevel(level)
        for party in parties.values():
            party.relay.close()
    return cluster


def ask_everything(cluster: Cluster, party: str) -> None:
    """Good and bad requests, and things that are none."""
    entries = {"x-tenant": "t1", "x-secret": "canary-entry", "sfs-model": "canary-model", "SFS-Per-Row": "canary"}
    good = cluster.ask(body(header={"data": entries}), party)
    assert good.code == 1, good.message
    assert cluster.ask(body({p: ["canary-1", "canary-2"] for p in PARTIES}), party).code == 1
    for ending in ("missing", "raises", "wrong"):
        for where in PARTIES:
            assert cluster.ask(body({where: [f"canary-{ending}"]}), party).code != 1
    assert cluster.ask(body({"alice": ["canary-1", "canary-2"]}), party).code == 3
    assert cluster.ask(body(service_spec={"id": "canary-service"}), party).code == 7
    assert cluster.ask(body(fs_params={"canary-party": {"query_datas": ["canary-id"]}}), party).code == 3
    features = [{"field": {"name": "canary", "type": "FIELD_STRING"}, "value": {"ss": ["canary-value"]}}]
    assert cluster.ask(body(predefined_features=features), party).code != 1
    assert cluster.ask(body(), party, key="canary-wrong-key").status == 401
    assert cluster.ask(b'{"fs_params": "canary"}', party).status in (200, 400)
    assert cluster.ask(b'{"canary": ', party).status == 400
    assert cluster.ask(b"canary", party, path="/canary/path?canary=1").status == 404
    assert cluster.ask(b'{"inputs": [{"name": "canary"}]}', party, path="/v2/models/linear/infer").status == 400
    for port in (cluster.files.service_port(party), cluster.parties[party].relay.port):
        for data in (b"canary\r\n\r\n", b"POST canary HTTP/1.1\r\nContent-Length: canary\r\n\r\n", b"PRPCcanarycanary"):
            with socket.create_connection(("127.0.0.1", port), 60) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while connection.recv(1 << 16):
                        pass


def assert_silent(what: str, text: str) -> None:
    for secret in (SECRET, *(f"{value:.3f}".rstrip("0").rstrip(".") for value in NUMBERS.values())):
        place = text.lower().find(secret)
        assert place < 0, f"{what}: …{text[max(place - 60, 0) : place + 60]}…"


def test_answers_and_metrics_tell_nothing(cluster: Cluster) -> None:
    for name, party in cluster.parties.items():
        assert len(party.answers) > 15
        for answer in party.answers:
            # Who asks for a service that there is none of is told its name again, as by the reference.
            told = answer.body.decode().replace('"service_spec":{"id":"canary-service"}', "")
            assert_silent(f"an answer of {name}", told + str(dict(answer.headers)))


def test_logs_traces_and_audit_logs_tell_nothing(cluster: Cluster) -> None:
    text = cluster.logged.getvalue()
    assert text.count("sfs.predict") > 10
    assert_silent("the log", text)
    for party in PARTIES:
        for name, written in cluster.files_of(party):
            assert len(written) > 100
            assert_silent(name, written)


def test_peers_get_ids_of_their_own_and_what_is_allowed(cluster: Cluster) -> None:
    for party, other in (PARTIES, PARTIES[::-1]):
        relay = cluster.parties[other].relay
        sent = bytes(relay.sent).decode("latin-1")
        assert f"canary-id-of-{other}" in sent  # what the protocol is for
        assert '"x-tenant":"t1"' in sent
        allowed = (f"canary-id-of-{other}", "canary-ctx", *(f"canary-{end}" for end in ("missing", "raises", "wrong")))
        for text in (*allowed, "canary-1", "canary-2"):
            sent = sent.replace(text, "")
        for garbage in ("canary\r\n", "POST canary HTTP/1.1", "Content-Length: canary", "PRPCcanarycanary"):
            sent = sent.replace(garbage, "")  # sent by the test itself
        assert_silent(f"what {party} sent to {other}", sent)
        assert_silent(f"what {other} answered", bytes(relay.answered).decode("latin-1"))


def test_entries_reach_who_may_have_them(cluster: Cluster) -> None:
    for party, other in (PARTIES, PARTIES[::-1]):
        own = [entries for entries in cluster.parties[party].source.headers if "x-secret" in entries]
        assert own, "a party's own source gets what its caller said"
        asked = [entries for entries in cluster.parties[other].source.headers if "x-tenant" in entries]
        assert {"x-tenant"} in [entries.keys() - {"X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled"} for entries in asked]
        for entries in (*own, *asked):
            assert not any(name.lower().startswith("sfs-") for name in entries)
        assert cluster.parties[party].answers[0].json()["header"]["data"] == {"x-source": party}


def test_printed_configs_tell_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(cluster.files.paths["alice"])
    for arguments in (["config", "show", path], ["check", path]):
        with contextlib.suppress(SystemExit):
            main(arguments)
        printed = "".join(capsys.readouterr())
        assert len(printed) > 100
        for secret in (PASSWORD, AUDIT_KEY, API_KEY):
            assert secret not in printed
