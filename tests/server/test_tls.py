"""Two parties over TLS as real processes: nobody but whom it is for gets an answer, at any port, over any protocol."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from sfs_core.config.certificates import TlsFiles
from sfs_core.errors import PeerError
from sfs_core.link.channel import PROTOCOLS, open_channel
from sfs_core.proto import apis_pb2
from tests.support.certificates import EXPIRED, Certificates, channel_tls, unchecked_client
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.processes import Party, running, wait_for

APIS = "secretflow.serving.apis"
NOBODY = ("no certificate", "wrong CA", "expired")


@dataclass(frozen=True)
class Cluster:
    files: ClusterFiles
    parties: Mapping[str, Party]
    certificates: Certificates


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("tls")
    certificates = Certificates(folder)
    files = linear_files(folder, ["a", "b"], {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [3.0, 4.0]}})
    for party, config in files.configs.items():
        config["listen"]["tls"] = certificates.options(party, password="canary" if party == "bob" else None)
    parties = files.start()
    for party in parties.values():
        party.tls = unchecked_client(certificates.files("caller"))
    with running(parties):
        yield Cluster(files, parties, certificates)


def test_parties_serve_over_tls(cluster: Cluster) -> None:
    for party in cluster.parties.values():
        assert party.scores("linear", ("alice", "bob"), ["a", "b"]) == [4.5, 6.5]
        open_still = [line for line in party.log.read_text().splitlines() if "NOT PROTECTED" in line]
        assert all("callers are not asked who they are" in line for line in open_still)
        assert "canary" not in party.log.read_text()


def client(certificates: Certificates, who: str) -> TlsFiles:
    if who == "no certificate":
        return TlsFiles(ca_file=certificates.ca_file)
    if who == "wrong CA":
        return certificates.files("impostor", authority="other-ca", party="alice")
    if who == "expired":
        return certificates.files("expired", age=EXPIRED, party="alice")
    return certificates.files(who, password="canary" if who == "bob" else None)


def call(cluster: Cluster, who: str, protocol: str, port: int, rpc: str) -> int:
    """The answer's code, of a call to bob."""
    request, response_type = {
        "ExecutionService/Execute": (apis_pb2.ExecuteRequest(requester_id="alice"), apis_pb2.ExecuteResponse),
        "ModelService/GetModelInfo": (apis_pb2.GetModelInfoRequest(), apis_pb2.GetModelInfoResponse),
        "PredictionService/Predict": (apis_pb2.PredictRequest(), apis_pb2.PredictResponse),
    }[rpc]
    request.service_spec.id = "linear"
    if rpc == "ExecutionService/Execute":
        request.feature_source.type = apis_pb2.FS_SERVICE
        request.feature_source.fs_param.query_datas.append("a")
    elif rpc == "PredictionService/Predict":
        for party in ("alice", "bob"):
            request.fs_params[party].query_datas.append("a")

    async def ask() -> int:
        tls = channel_tls(client(cluster.certificates, who), "bob")
        channel = open_channel("bob", f"127.0.0.1:{port}", protocol, connect_timeout=5, tls=tls)
        try:
            service, _, method = rpc.partition("/")
            answer = await channel.call(f"{APIS}.{service}", method, request, response_type, 10)
            return int(answer.status.code)
        finally:
            await channel.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("who", [*NOBODY, "carol", "bob", "alice"])
@pytest.mark.parametrize("rpc", ["ExecutionService/Execute", "ModelService/GetModelInfo"])
def test_the_communication_port_answers_parties_as_who_they_are(
    cluster: Cluster, rpc: str, who: str, protocol: str
) -> None:
    port = cluster.files.communication_port("bob")
    if who in NOBODY:
        with pytest.raises(PeerError, match="certificate"):
            call(cluster, who, protocol, port, rpc)
        return
    allowed = who == "alice" or (who == "bob" and rpc == "ModelService/GetModelInfo")
    assert call(cluster, who, protocol, port, rpc) == (1 if allowed else 3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("who", [*NOBODY, "caller"])
@pytest.mark.parametrize("rpc", ["PredictionService/Predict", "ModelService/GetModelInfo"])
def test_the_service_port_answers_whom_the_authority_knows(cluster: Cluster, rpc: str, who: str, protocol: str) -> None:
    port = cluster.files.service_port("bob")
    if who in NOBODY:
        with pytest.raises(PeerError, match="certificate"):
            call(cluster, who, protocol, port, rpc)
    else:
        assert call(cluster, who, protocol, port, rpc) == 1


def test_a_signal_has_certificates_read_again(cluster: Cluster) -> None:
    alice = cluster.parties["alice"]
    alice.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "certificates were read again" in alice.log.read_text(), "certificates read again")
    assert alice.scores("linear", ("alice", "bob"), ["a"]) == [4.5]
