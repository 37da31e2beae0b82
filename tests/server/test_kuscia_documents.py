"""Documents of Kuscia, made from the reference's tables of fields, and its own kind of example: each is served."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sfs_core.config.loader import load
from sfs_core.server.app import Server
from tests.support.certificates import Certificates, unchecked_client
from tests.support.clusters import ClusterFiles, exchange, linear_files
from tests.support.kuscia import document, party_config
from tests.support.processes import free_ports

IDS = ["a", "b"]
COLUMNS = {
    "alice": {"age": [1.0, 2.0]},
    "bob": {"debts": [2.0, 3.0]},
    "carol": {"rents": [10.0, 20.0]},
}
SCORES = {2: [3.5, 5.5], 3: [13.5, 25.5]}
Json = dict[str, Any]


class Web(BaseHTTPRequestHandler):
    """Serves the files of a folder by their names, and alice's features to whoever posts."""

    folder: Path

    def do_GET(self) -> None:
        """A model package, as a web server or an object store has it."""
        body = (self.folder / self.path.partition("?")[0].rpartition("/")[2]).read_bytes()
        self._answer(body, "application/octet-stream")

    def do_HEAD(self) -> None:
        """What is there of it."""
        self.do_GET()

    def do_POST(self) -> None:
        """BatchFetchFeature."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        values = [COLUMNS["alice"]["age"][IDS.index(id_)] for id_ in asked["param"]["query_datas"]]
        feature = {"field": asked["feature_fields"][0], "value": {"ds": values}}
        self._answer(json.dumps({"status": {"code": 0}, "features": [feature]}).encode(), "application/json")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, ClusterFiles]:
    """Packages and tables for two parties and for three."""
    made = {}
    for count in (2, 3):
        folder = tmp_path_factory.mktemp("kuscia")
        made[count] = linear_files(folder, IDS, dict(list(COLUMNS.items())[:count]))
    return made


@pytest.fixture(scope="module")
def web(files: Mapping[int, ClusterFiles]) -> Iterator[str]:
    handler = type("Handler", (Web,), {"folder": files[2].folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def csv(files: ClusterFiles, party: str) -> Json:
    return {"featureSourceConfig": {"csvOpts": {"filePath": str(files.folder / f"{party}.csv"), "idName": "id"}}}


def package(files: ClusterFiles, party: str) -> str:
    return str(files.configs[party]["services"][0]["model"]["source"]["path"])


MOCK: Json = {"featureSourceConfig": {"mockOpts": {"type": "MDT_FIXED"}}}
LEAST = ("service", "communication")
DOCUMENTS: dict[str, Json] = {
    "csv": {},
    "mock": {"alice": MOCK},
    "mapping and limits": {
        "alice": {"serverConfig": {"featureMapping": {"years": "age"}, "maxConcurrency": "9"}},
        "columns": {"age": "years"},
    },
    "object storage": {"model": "ST_OSS"},
    "model over http": {"model": "ST_HTTP", "more": {"http_source_meta": {"timeoutMs": 1500}}},
    "features over http": {"features": True},
    "bob alone predicts": {"predictors": ["bob"]},
    "three parties": {"parties": 3, "predictors": ["alice", "carol"]},
    "least ports": {"ports": LEAST},
    "retries over baidu_std": {
        "alice": {"channelDesc": {"protocol": "baidu_std", "retryPolicyConfig": {"maxRetryCount": 5}}}
    },
    "TLS": {"tls": True},
    "numbers as texts, defaults left out": {"terse": True},
}


def alice_config(case: Json, files: ClusterFiles, web: str) -> tuple[Json, Json]:
    """Alice's entry, and what stands beside the parties' entries."""
    config = csv(files, "alice") | case.get("alice", {})
    more: Json = dict(case.get("more", {}))
    name = Path(package(files, "alice")).name
    model = {"modelId": "m", "basePath": str(files.folder / "base"), "sourceType": case.get("model", "ST_FILE")}
    if case.get("model") == "ST_OSS":
        more["oss_meta"] = {"accessKey": "a", "secretKey": "s", "endpoint": web, "bucket": "models"}
        config["modelConfig"] = {**model, "sourcePath": name}
    elif case.get("model") == "ST_HTTP":
        config["modelConfig"] = {**model, "sourcePath": f"{web}/{name}"}
    if case.get("features"):
        config["featureSourceConfig"] = {"httpOpts": {"endpoint": f"{web}/features", "timeoutMs": 5000}}
    if columns := case.get("columns"):
        table = files.folder / "renamed.csv"
        text = (files.folder / "alice.csv").read_text()
        for old, new in columns.items():
            text = text.replace(old, new)
        table.write_text(text)
        config["featureSourceConfig"] = {"csvOpts": {"filePath": str(table), "idName": "id"}}
    return config, more


def add_tls(config: Json, party: str, certificates: Certificates) -> None:
    """Have a party's entry name its certificate, for what it serves and what it calls."""
    files = certificates.files(party)
    tls = {
        "certificatePath": str(files.certificate_file),
        "privateKeyPath": str(files.key_file),
        "caFilePath": str(files.ca_file),
    }
    config["serverConfig"] = {**config["serverConfig"], "tlsConfig": tls}
    config["channelDesc"] = {**config["channelDesc"], "tlsConfig": tls}


def terse(text: dict[str, str]) -> dict[str, str]:
    """The document as protobuf's JSON may write it, too: integers as texts, and nothing that is a default."""
    cluster, ports = json.loads(text["cluster_def"]), json.loads(text["allocated_ports"])["ports"]
    own = cluster.pop("selfPartyIdx")
    del cluster["selfEndpointIdx"]
    if own:
        cluster["selfPartyIdx"] = str(own)
    for party in cluster["parties"]:
        del party["role"]
    least = [{"name": port["name"], "port": str(port["port"])} for port in ports]
    kept = {name: part for name, part in text.items() if part}
    return kept | {"cluster_def": json.dumps(cluster), "allocated_ports": json.dumps({"ports": least})}


def loopback(path: Path, cache: Path) -> Server:
    """The server that a document describes, for this machine only: Kuscia's are for all."""
    loaded = load(path)
    listen = loaded.config.listen.model_copy(update={"host": "127.0.0.1"})
    return Server(loaded.changed(listen=listen, cache=cache))


async def scores(servers: Mapping[str, Server], tls: ssl.SSLContext | None = None) -> dict[str, list[float]]:
    """What each party answers that callers may ask, over TLS with a context."""
    try:
        await asyncio.gather(*(server.start() for server in servers.values()))
        body = {"fs_params": {party: {"query_datas": IDS} for party in servers}}
        asked = {party: server.service_port for party, server in servers.items() if server.service_port is not None}
        return {
            party: await asyncio.to_thread(ask, port, servers[party].services[0], body, tls)
            for party, port in asked.items()
        }
    finally:
        await asyncio.gather(*(server.stop(grace=0) for server in servers.values()))


def ask(port: int, service: str, body: Json, tls: ssl.SSLContext | None) -> list[float]:
    body = body | {"service_spec": {"id": service}}
    headers = {"Content-Type": "application/json"}
    answer = exchange(port, "/PredictionService/Predict", json.dumps(body).encode(), headers=headers, tls=tls)
    return [result["scores"][0]["value"] for result in answer.json()["results"]]


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_document_is_served_as_it_is(
    name: str, files: Mapping[int, ClusterFiles], web: str, tmp_path: Path, certificates: Certificates
) -> None:
    case = DOCUMENTS[name]
    count = case.get("parties", 2)
    own_files, parties = files[count], list(COLUMNS)[:count]
    ports = dict(zip(parties, zip(*[iter(free_ports(4 * count))] * 4, strict=True), strict=True))
    alice, more = alice_config(case, own_files, web)
    configs = {party: party_config(package(own_files, party), **csv(own_files, party)) for party in parties}
    configs["alice"] |= alice
    if case.get("tls"):
        for party in parties:
            add_tls(configs[party], party, certificates)
    servers = {}
    for own, party in enumerate(parties):
        named = zip((*LEAST, "internal", "brpc-builtin"), ports[party], strict=True)
        path = tmp_path / f"{party}.kuscia.json"
        text = document(
            configs,
            own=own,
            endpoints={each: f"127.0.0.1:{ports[each][1]}" for each in parties},
            predictors=case.get("predictors"),
            ports={what: port for what, port in named if what in case.get("ports", (what,))},
            **more,
        )
        path.write_text(json.dumps(terse(text) if case.get("terse") else text))
        servers[party] = loopback(path, tmp_path / "cache")
    answers = await scores(servers, unchecked_client(certificates.files("counter")) if case.get("tls") else None)
    assert list(answers) == case.get("predictors", parties)
    for found in answers.values():
        assert found == SCORES[count] or (name == "mock" and len(found) == len(IDS))


async def test_a_serving_config_of_the_shape_of_the_reference_s_example(
    files: Mapping[int, ClusterFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files[2].folder)
    ports = dict(zip(("alice", "bob"), zip(*[iter(free_ports(8))] * 4, strict=True), strict=True))
    servers = {}
    for party, (service, communication, metrics, builtin) in ports.items():
        model = Path(package(files[2], party))
        config = {
            "id": "test_service_id",
            "serverConf": {
                "featureMapping": {"v1": next(iter(COLUMNS[party]))},
                "host": "127.0.0.1",
                "servicePort": str(service),
                "communicationPort": str(communication),
                "metricsExposerPort": metrics,
                "brpcBuiltinServicePort": builtin,
            },
            "modelConf": {
                "modelId": "glm-test-1",
                "basePath": str(tmp_path / party),
                "sourcePath": model.name,
                "sourceSha256": hashlib.sha256(model.read_bytes()).hexdigest(),
                "sourceType": "ST_FILE",
            },
            "clusterConf": {
                "selfId": party,
                "parties": [{"id": each, "address": f"127.0.0.1:{port[1]}"} for each, port in ports.items()],
                "channelDesc": {"protocol": "http"},
            },
            "featureSourceConf": {"mockOpts": {}},
        }
        path = tmp_path / f"{party}.serving.config"
        path.write_text(json.dumps(config, indent=2))
        servers[party] = Server(load(path))
    answers = await scores(servers)
    assert list(answers) == list(ports)
    assert all(len(each) == len(IDS) for each in answers.values())
