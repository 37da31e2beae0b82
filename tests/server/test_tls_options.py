"""TLS as configs may have it: certificates with names of their own, callers without any, files that change."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sfs_core.client import Client, Tls, UnavailableError
from sfs_core.errors import PeerError
from sfs_core.link.channel import open_channel
from sfs_core.link.tls import ChannelTls, FollowedContext
from sfs_core.proto import apis_pb2
from sfs_core.server import run
from tests.support.certificates import Certificates, unchecked_client
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.in_process import ServersHere, serving_here
from tests.support.processes import Party, reference_configs, running, wait_for

PARTIES = ("alice", "bob")
IDS = ["a", "b"]
COLUMNS = {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [3.0, 4.0]}}
KEY = "canary-key"


def install(certificates: Certificates, name: str, into: Path, party: str) -> None:
    """Put a certificate and its key where a server has its own, as tools do that renew them."""
    files = certificates.files(name, party=party)
    for end, source in (("crt", files.certificate_file), ("key", files.key_file)):
        assert source is not None
        shutil.copy(source, into / f"{party}.{end}.new")
        (into / f"{party}.{end}.new").replace(into / f"{party}.{end}")


def shown_by(port: int, certificates: Certificates) -> str:
    """The serial number of the certificate that a server shows to a new connection."""
    context = unchecked_client(certificates.files("alice"))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        return str((connection.getpeercert() or {})["serialNumber"])


# ---------------------------------------------------------------------- names of one's own, optional certificates
@dataclass(frozen=True)
class Cluster:
    files: ClusterFiles
    here: ServersHere
    certificates: Certificates


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Cluster]:
    """alice is known by a URI, bob by a common name; their hosts are other names than those of their addresses."""
    folder = tmp_path_factory.mktemp("tls")
    files = linear_files(folder, IDS, COLUMNS)
    certificates.files("Alice Inc.", "spiffe://example.org/alice", "alice.example", "127.0.0.1")
    for party, name in (("alice", "Alice Inc."), ("bob", "Robert")):
        config = files.configs[party]
        made_out_to = [f"{party}.example", "127.0.0.1"]
        names = ["spiffe://example.org/alice", *made_out_to] if party == "alice" else made_out_to
        config["listen"]["tls"] = certificates.options(name, *names) | {"client_certificates": "optional"}
        identities = {"alice": ["spiffe://example.org/alice"], "bob": ["CN=Robert"]}
        config["parties"] = {
            other: {
                "address": config["parties"][other],
                "tls": {"server_name": f"{other}.example", "identities": identities[other]},
            }
            for other in PARTIES
        }
    files.configs["alice"]["callers"] = {
        "authenticators": [
            {"name": "api_key", "keys": {"shop": {"sha256": [hashlib.sha256(KEY.encode()).hexdigest()]}}},
            {"name": "certificate", "callers": {"counter": {"names": ["DNS:counter"], "services": ["linear"]}}},
        ]
    }
    with serving_here(files) as here:
        yield Cluster(files, here, certificates)


@pytest.mark.parametrize("scheme", ["https", "https+json", "grpcs", "baidu_stds"])
def test_callers_are_known_by_key_or_certificate(cluster: Cluster, scheme: str) -> None:
    trust = cluster.certificates.ca_file
    counter = cluster.certificates.files("counter")
    nobody, with_certificate = Tls(trust), Tls(trust, counter.certificate_file, counter.key_file)
    url = f"{scheme}://127.0.0.1:{cluster.files.service_port('alice')}"

    def ask(tls: Tls, key: str | None) -> list[float]:
        with Client(url, service="linear", parties=PARTIES, tls=tls, api_key=key, retries=0) as client:
            return client.predict(IDS).score.tolist()

    assert ask(with_certificate, None) == [4.5, 6.5]
    with pytest.raises(UnavailableError, match=r"401|UNAUTHENTICATED|1004"):
        ask(nobody, None)
    impostor = cluster.certificates.files("false-counter", "counter", authority="other-ca")
    with pytest.raises(UnavailableError, match="certificate"):
        ask(Tls(trust, impostor.certificate_file, impostor.key_file), None)
    if scheme == "baidu_stds":
        return
    assert ask(nobody, KEY) == [4.5, 6.5]
    assert ask(with_certificate, KEY) == [4.5, 6.5]
    with pytest.raises(UnavailableError, match=r"401|UNAUTHENTICATED"):
        ask(with_certificate, "canary-wrong")


@pytest.mark.parametrize(
    ("who", "code"), [("Alice Inc.", 1), ("alice", 3), ("Robert", 3), ("counter", 3), ("no certificate", 3)]
)
def test_peers_are_who_the_config_says(cluster: Cluster, who: str, code: int) -> None:
    certificates = cluster.certificates
    names = {
        "Alice Inc.": ("spiffe://example.org/alice", "alice.example", "127.0.0.1"),
        "Robert": ("bob.example", "127.0.0.1"),
    }.get(who, ())
    shown = certificates.files("nobody") if who == "no certificate" else certificates.files(who, *names)
    if who == "no certificate":
        shown = type(shown)(ca_file=certificates.ca_file)
    request = apis_pb2.ExecuteRequest(requester_id="alice")
    request.service_spec.id = "linear"
    request.feature_source.type = apis_pb2.FS_SERVICE
    request.feature_source.fs_param.query_datas.append("a")

    async def check() -> int:
        tls = ChannelTls(FollowedContext("test", shown, unchecked_client), "bob.example", frozenset({"CN:Robert"}))
        channel = open_channel(
            "bob", f"127.0.0.1:{cluster.files.communication_port('bob')}", connect_timeout=60, tls=tls
        )
        try:
            answer = await channel.call(
                "secretflow.serving.apis.ExecutionService", "Execute", request, apis_pb2.ExecuteResponse, 60
            )
        finally:
            await channel.close()
        return int(answer.status.code)

    assert asyncio.run(check()) == code


def test_a_peer_with_another_name_is_not_asked(cluster: Cluster) -> None:
    certificates = cluster.certificates

    async def check() -> None:
        context = FollowedContext("test", certificates.files("alice"), unchecked_client)
        tls = ChannelTls(context, "bob.example", frozenset({"DNS:bob", "URI:sfs://party/bob"}))
        port = cluster.files.communication_port("bob")
        channel = open_channel("bob", f"127.0.0.1:{port}", connect_timeout=60, tls=tls)
        try:
            with pytest.raises(PeerError, match=r"its certificate is made out to CN:Robert, DNS:bob\.example"):
                await channel.call("s", "m", apis_pb2.GetModelInfoRequest(), apis_pb2.GetModelInfoResponse, 60)
        finally:
            await channel.close()

    asyncio.run(check())


# ---------------------------------------------------------------------- files that change
def test_a_server_looks_at_its_files(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CERTIFICATE_SECONDS", 0.01)
    files = linear_files(tmp_path, IDS, COLUMNS)
    for party in PARTIES:
        install(certificates, party, tmp_path, party)
        own = {"certificate_file": f"{party}.crt", "key_file": f"{party}.key", "ca_file": str(certificates.ca_file)}
        files.configs[party]["listen"]["tls"] = own
    with serving_here(files) as here:
        following = asyncio.run_coroutine_threadsafe(run.follow_certificates(list(here.servers.values())), here.loop)
        ports = [files.service_port("bob"), files.communication_port("bob")]
        before = [shown_by(port, certificates) for port in ports]
        install(certificates, "alice-renewed", tmp_path, "alice")
        install(certificates, "bob-renewed", tmp_path, "bob")
        for port, serial in zip(ports, before, strict=True):
            wait_for(lambda port=port, serial=serial: shown_by(port, certificates) != serial, "a new certificate", 60)
        (tmp_path / "bob.key").write_text("broken")
        url = f"https://127.0.0.1:{files.service_port('alice')}"
        mine = certificates.files("counter")
        tls = Tls(certificates.ca_file, mine.certificate_file, mine.key_file)
        with Client(url, service="linear", parties=PARTIES, tls=tls) as client:
            assert client.predict(IDS).score.tolist() == [4.5, 6.5]
        following.cancel()


def test_a_config_of_the_reference_and_a_signal(tmp_path: Path, certificates: Certificates) -> None:
    """Both parties in one process, from serving JSON with `tlsConfig` on both sides."""
    files = linear_files(tmp_path, IDS, COLUMNS)
    packages = {party: Path(c["services"][0]["model"]["source"]["path"]) for party, c in files.configs.items()}
    features = {party: {"csvOpts": {"file_path": str(tmp_path / f"{party}.csv"), "id_name": "id"}} for party in PARTIES}
    (tmp_path / "configs").mkdir()
    configs = reference_configs(tmp_path / "configs", PARTIES, packages, features, service="linear")
    for party, (path, _) in configs.items():
        install(certificates, party, tmp_path, party)
        tls = {
            "certificatePath": str(tmp_path / f"{party}.crt"),
            "privateKeyPath": str(tmp_path / f"{party}.key"),
            "caFilePath": str(certificates.ca_file),
        }
        config = json.loads(path.read_text())
        config["serverConf"]["tlsConfig"] = config["clusterConf"]["channelDesc"]["tlsConfig"] = tls
        path.write_text(json.dumps(config))
    (alice, port), (bob, _) = configs["alice"], configs["bob"]
    both = Party(alice, port, [str(bob)])
    both.tls = unchecked_client(certificates.files("counter"))
    with running({"both": both}):
        assert both.scores("linear", PARTIES, IDS) == [4.5, 6.5]
        open_still = [line for line in both.log.read_text().splitlines() if "NOT PROTECTED" in line]
        assert open_still
        assert all("callers are not asked who they are" in line for line in open_still)
        before = shown_by(port, certificates)
        install(certificates, "alice-renewed", tmp_path, "alice")
        both.process.send_signal(signal.SIGHUP)
        wait_for(lambda: shown_by(port, certificates) != before, "a new certificate", 60)
        assert "certificates were read again" in both.log.read_text()
        assert both.scores("linear", PARTIES, IDS) == [4.5, 6.5]
