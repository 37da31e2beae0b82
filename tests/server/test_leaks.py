"""Nothing leaks: canary values in features, ids, keys, passwords and configs are looked for in everything that leaves a
party: answers, logs at every level, metrics, trace files, audit logs, printed configs, and what the other party got,
over every protocol."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import logging
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sfs_core.cli import main
from sfs_core.config.loader import load
from sfs_core.link.channel import PROTOCOLS
from sfs_core.link.rpc import CallInfo
from sfs_core.server.app import Server
from sfs_core.server.execute import ExecuteHandler
from tests.support.certificates import Certificates, unchecked_client
from tests.support.clusters import Answer, ClusterFiles, exchange, linear_files
from tests.support.in_process import RunningServers
from tests.support.processes import free_ports
from tests.support.relay import Relay

PARTIES = ("alice", "bob")
PREDICT = "/PredictionService/Predict"
SECRET = "canary"
"""Part of every text that is to stay where it is; numbers are in NUMBERS."""
API_KEY = "canary-api-key"
AUDIT_KEY = "canary-audit-key-0123456789abcdef"
PASSWORD = "canary-password"
KEY_PASSWORD = "canary-key-password"
NUMBERS = {"alice": 271828.125, "bob": 314159.25}
"""Features; two of each, so that no partial score is one."""
SOURCES = {
    "by-http": {"name": "http", "endpoint": "http://127.0.0.1:1/", "user": "reader", "password": PASSWORD},
    "by-sql": {
        "name": "sql",
        "url": f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/db",
        "table": "t",
        "key": "id",
    },
    "by-redis": {"name": "redis", "url": f"redis://reader:{PASSWORD}@127.0.0.1:1/0", "key": "{id}"},
}
"""Sources that cannot be reached, by service; a party starts without the first alone, and bob has that."""
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
    protocol: str
    files: ClusterFiles
    parties: dict[str, Party]
    logged: io.StringIO
    token: str
    tls: ssl.SSLContext | None
    received: list[Mapping[str, str]]
    """Headers and metadata of the parties' calls."""

    def ask(
        self, body: bytes, party: str = "alice", key: Mapping[str, str] = {"X-API-Key": API_KEY}, path: str = PREDICT
    ) -> Answer:
        headers = {"Content-Type": "application/json", "X-Secret": "canary-http-header", **key}
        answer = exchange(self.files.service_port(party), path, body, headers=headers, tls=self.tls)
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


@pytest.fixture(scope="module", params=[*PROTOCOLS, "TLS"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Cluster:
    folder = tmp_path_factory.mktemp("leaks")
    columns = {"alice": {"a": [1.0], "b": [1.0]}, "bob": {"c": [1.0], "d": [1.0]}}
    protocol = "baidu_std" if request.param == "TLS" else request.param
    link = {"protocol": protocol, "headers": ["x-tenant"], "answer_headers": ["x-source"]}
    files = linear_files(folder, ["id"], columns, link=link)
    issuer = ec.generate_private_key(ec.SECP256R1())
    published = jwt.get_algorithm_by_name("ES256").to_jwk(issuer.public_key(), as_dict=True) | {"kid": "one"}
    (folder / "keys.json").write_text(json.dumps({"keys": [published]}))
    claims = {"iss": "https://login.example/", "aud": "sfs", "sub": "shop", "exp": 4e9, "what": "canary-claim"}
    token = jwt.encode(claims, issuer, "ES256", {"kid": "one"})
    tls = None
    (folder / "plugins").mkdir()
    (folder / "plugins" / "holder.py").write_text(PLUGIN)
    parties = {party: Party(Relay(files.communication_port(party))) for party in PARTIES}
    for (party, other), port in zip((PARTIES, PARTIES[::-1]), free_ports(2), strict=True):
        config = files.configs[party]
        config["parties"][other] = f"127.0.0.1:{parties[other].relay.port}"
        config["plugins"] = {"directories": ["plugins"]}
        source = {"name": "holder", "value": NUMBERS[party], "password": PASSWORD}
        (served,) = config["services"]
        served["features"] = {"source": source}
        down = SOURCES["by-http"] if party == "bob" else source
        config["services"].append(served | {"service": "by-http", "features": {"source": down}})
        if request.param == "TLS":
            config["listen"]["tls"] = certificates.options(f"leaks-{party}", party=party, password=KEY_PASSWORD)
            tls = unchecked_client(certificates.files("bob"))
        config["listen"]["metrics"] = port
        config["tracing"] = {"file": str(folder / f"{party}.trace"), "interval": "10 ms"}
        config["logging"] = {"access": True}
        hashed = hashlib.sha256(API_KEY.encode()).hexdigest()
        config["callers"] = {
            "authenticators": [
                {"name": "api_key", "keys": {"shop": {"sha256": [hashed]}}},
                {"name": "jwt", "issuer": claims["iss"], "audience": "sfs", "jwks_file": "keys.json"},
            ],
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
    received: list[Mapping[str, str]] = []
    answer = ExecuteHandler.__call__

    def note(handler: ExecuteHandler, body: bytes, info: CallInfo) -> Any:
        received.append(dict(info.headers))
        return answer(handler, body, info)

    patch = pytest.MonkeyPatch()
    patch.setattr(ExecuteHandler, "__call__", note)
    running = RunningServers(servers)
    try:
        cluster = Cluster(request.param, files, parties, logged, token, tls, received)
        for party in PARTIES:
            ask_everything(cluster, party)
        for party in PARTIES:
            port = files.configs[party]["listen"]["metrics"]
            parties[party].answers.append(exchange(port, "/metrics", method="GET", tls=tls))
    finally:
        running.close()
        patch.undo()
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
    assert cluster.ask(body(service_spec={"id": "by-http"}), party).code != 1
    assert cluster.ask(body(), party, key={"Authorization": f"Bearer {cluster.token}"}).code == 1
    for wrong in (f"{cluster.token}canary", "canary.canary.canary"):
        assert cluster.ask(body(), party, key={"Authorization": f"Bearer {wrong}"}).status == 401
    assert cluster.ask(body(), party, key={"X-API-Key": "canary-wrong-key"}).status == 401
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


def planted(cluster: Cluster) -> list[str]:
    """All that is looked for: features as text and as doubles, signatures of tokens, keys of certificates."""
    numbers = [f"{value:.3f}".rstrip("0").rstrip(".") for value in NUMBERS.values()]
    doubles = [struct.pack("<d", value).decode("latin-1") for value in NUMBERS.values()]
    return [SECRET, *numbers, *(each.lower() for each in (*doubles, cluster.token.split(".")[2], "PRIVATE KEY"))]


def unpacked(sent: bytearray) -> str:
    """What was sent, and what parts of it in base64 stand for."""
    packed = re.findall(rb"[0-9A-Za-z+/]{24,}={0,2}", sent)
    parts = [base64.b64decode(part + b"=" * (-len(part) % 4)) for part in packed if len(part) % 4 != 1]
    return b"\n".join([bytes(sent), *parts]).decode("latin-1")


def assert_silent(cluster: Cluster, what: str, text: str) -> None:
    for secret in planted(cluster):
        place = text.lower().find(secret)
        assert place < 0, f"{what}: …{text[max(place - 60, 0) : place + 60]}…"


def test_answers_and_metrics_tell_nothing(cluster: Cluster) -> None:
    for name, party in cluster.parties.items():
        assert len(party.answers) > 15
        for answer in party.answers:
            # Who asks for a service that there is none of is told its name again, as by the reference.
            told = answer.body.decode().replace('"service_spec":{"id":"canary-service"}', "")
            assert_silent(cluster, f"an answer of {name}", told + str(dict(answer.headers)))


def test_logs_traces_and_audit_logs_tell_nothing(cluster: Cluster) -> None:
    text = cluster.logged.getvalue()
    assert text.count("sfs.predict") > 10
    assert_silent(cluster, "the log", text)
    for party in PARTIES:
        for name, written in cluster.files_of(party):
            assert len(written) > 100
            assert_silent(cluster, name, written)


def test_peers_get_ids_of_their_own_and_what_is_allowed(cluster: Cluster) -> None:
    for party, other in (PARTIES, PARTIES[::-1]):
        relay = cluster.parties[other].relay
        sent, answered = unpacked(relay.sent), unpacked(relay.answered)
        assert len(answered) > 1000
        if cluster.protocol != "TLS":
            assert f"canary-id-of-{other}" in sent  # what the protocol is for
            assert "x-tenant" in sent
        allowed = (f"canary-id-of-{other}", "canary-ctx", *(f"canary-{end}" for end in ("missing", "raises", "wrong")))
        for text in (*allowed, "canary-1", "canary-2"):
            sent = sent.replace(text, "")
        for garbage in ("canary\r\n", "POST canary HTTP/1.1", "Content-Length: canary", "PRPCcanarycanary"):
            sent = sent.replace(garbage, "")  # sent by the test itself
        assert_silent(cluster, f"what {party} sent to {other}", sent)
        assert_silent(cluster, f"what {other} answered", answered)
    assert len(cluster.received) > 10
    for headers in cluster.received:
        assert_silent(cluster, "what goes with a call", str(headers))


def test_entries_reach_who_may_have_them(cluster: Cluster) -> None:
    for party, other in (PARTIES, PARTIES[::-1]):
        own = [entries for entries in cluster.parties[party].source.headers if "x-secret" in entries]
        assert own, "a party's own source gets what its caller said"
        asked = [entries for entries in cluster.parties[other].source.headers if "x-tenant" in entries]
        known = {"X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled"}
        assert {"x-tenant"} in [entries.keys() - known for entries in asked]
        for entries in (*own, *asked):
            assert not any(name.lower().startswith("sfs-") for name in entries)
        assert cluster.parties[party].answers[0].json()["header"]["data"] == {"x-source": party}


@pytest.mark.parametrize("party", PARTIES)
def test_printed_configs_tell_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str], party: str) -> None:
    config = cluster.files.configs[party]
    first = config["services"][0]
    config["services"] = [first | {"service": name, "features": {"source": each}} for name, each in SOURCES.items()]
    path = str(cluster.files.write(party))
    for arguments in (["config", "show", path], ["check", path]):
        with contextlib.suppress(SystemExit):
            main(arguments)
        printed = "".join(capsys.readouterr())
        assert len(printed) > 100
        for secret in (PASSWORD, AUDIT_KEY, API_KEY, KEY_PASSWORD):
            assert secret not in printed
