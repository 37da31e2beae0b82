"""Two real processes with the reference's serving JSON, whose features come over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.support.clusters import registry, write_csv
from tests.support.processes import reference_configs, running, start_parties

PARTIES = ("alice", "bob")
IDS = [f"u{i}" for i in range(40)]
COLUMNS = {
    "alice": {"age": [0.1 * i for i in range(40)], "debt": [7.0 / (i + 1) for i in range(40)]},
    "bob": {"rate": [1.5**i for i in range(40)]},
}


class FeatureService(BaseHTTPRequestHandler):
    """Looks ids up in COLUMNS, for both parties; names its features in reverse order."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [IDS.index(id_) for id_ in asked["param"]["query_datas"] if id_ in IDS]
        features = [
            {"field": field, "value": {"ds": [COLUMNS[asked["party_id"]][field["name"]][row] for row in rows]}}
            for field in reversed(asked["feature_fields"])
        ]
        found = len(rows) == len(asked["param"]["query_datas"])
        header = {"data": {f"from-{asked['party_id']}": asked["header"]["data"].get("x-tenant", "")}}
        body = json.dumps({"header": header, "status": {"code": 0 if found else 5}, "features": features}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    with ThreadingHTTPServer(("127.0.0.1", 0), FeatureService) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}/BatchFeatureService/BatchFetchFeature"
        server.shutdown()
        thread.join()


def test_scores_are_those_of_csv(tmp_path, endpoint):
    weights = {party: dict.fromkeys(own, 0.3) for party, own in COLUMNS.items()}
    packages = {}
    for party, graph in split_linear(registry().operator, weights, label_holder="alice", intercept=0.5).items():
        packages[party] = tmp_path / f"{party}.tar.gz"
        write_package(packages[party], "svc", "made for a test", graph)
    http_options = {"endpoint": endpoint, "enableLb": True, "timeoutMs": 5000, "connectTimeoutMs": 2000}
    sources = {
        "csv": {
            party: {"csvOpts": {"filePath": str(write_csv(tmp_path / f"{party}.csv", IDS, own)), "idName": "id"}}
            for party, own in COLUMNS.items()
        },
        "http": {party: {"httpOpts": http_options} for party in PARTIES},
    }
    asked = [IDS[i] for i in (7, 3, 39, 3, *range(20))]
    scores = {}
    for name, features in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        configs = reference_configs(folder, PARTIES, packages, features)
        with running(start_parties(configs)) as parties:
            scores[name] = parties["alice"].scores("svc", PARTIES, asked)
            if name == "http":
                header = {"header": {"data": {"x-tenant": "t1"}}}
                answer = parties["alice"].predict("svc", dict.fromkeys(PARTIES, IDS[:2]), **header)
                assert answer["header"]["data"] == {"from-alice": "t1", "from-bob": "t1"}
                unknown = parties["alice"].predict("svc", {"alice": ["nobody"], "bob": ["nobody"]})
                assert unknown["status"]["code"] in {4, 103}  # 4: the peer's failure was first
                assert "nobody" not in unknown["status"]["msg"]
                logs = [party.log.read_text() for party in parties.values()]
                assert not any("nobody" in log for log in logs)
    assert scores["http"] == scores["csv"]
