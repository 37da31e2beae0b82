"""Who is answered: every call on every port, by certificate and by a caller's credentials.

One cluster inside this process serves the whole table. bob has every port there is, and helps with bulk scoring.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from sfs_core.config.address import parse_address
from sfs_core.config.certificates import TlsFiles
from sfs_core.errors import PeerError
from sfs_core.link.channel import PROTOCOLS, Channel, open_channel
from sfs_core.link.grpc_entrance import GrpcEntrance
from sfs_core.link.retry import RetryPolicy
from sfs_core.link.tls import ChannelTls, FollowedContext
from sfs_core.proto import apis_pb2, tools_pb2
from tests.support.certificates import EXPIRED, Certificates, unchecked_client
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.in_process import ServersHere, serving_here
from tests.support.processes import free_ports

PARTIES = ("alice", "bob")
APIS = "secretflow.serving.apis"
EXECUTE: Final = f"{APIS}.ExecutionService/Execute"
MODEL_INFO: Final = f"{APIS}.ModelService/GetModelInfo"
PREDICT: Final = f"{APIS}.PredictionService/Predict"
PUSH: Final = "secretflow.serving.tools.InferenceControlService/Push"
HEALTH: Final = "grpc.health.v1.Health/Check"

STRANGERS: Final = ("no certificate", "wrong CA", "expired")
"""Clients that TLS lets nowhere."""
KNOWN: Final = ("carol", "counter", "alice", "bob")
"""Clients with a certificate of the authority: another party's, a caller's, the peer's, and the server's own."""
CREDENTIALS: Final = ("no credentials", "wrong key", "expired token", "over limit", "right key", "right token")
KEYS: Final = {name: f"canary-key-of-{name}" for name in ("shop", "eager")}
OK, CODED_REFUSAL = "1", "3"
UNKNOWN, TOO_MUCH, NO_METHOD, NO_CONNECTION = "unknown caller", "over limit", "no such method", "no TLS connection"


@dataclass(frozen=True)
class Cluster:
    files: ClusterFiles
    here: ServersHere
    certificates: Certificates
    headers: Mapping[str, Mapping[str, str]]
    """What goes with each of `CREDENTIALS`."""

    def port(self, name: str) -> int:
        """A port of bob's."""
        bob = self.files.configs["bob"]
        return int(bob["admin"]["http"]["port"] if name == "admin" else bob["listen"][name])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("tls")
    files = linear_files(folder, ["a", "b"], {"alice": {"x": [1.0, 2.0]}, "bob": {"y": [3.0, 4.0]}})
    for party, config in files.configs.items():
        config["listen"]["tls"] = certificates.options(party)
    bob = files.configs["bob"]
    bob["listen"] |= dict(zip(("grpc", "metrics"), free_ports(2), strict=True))
    (admin_port,) = free_ports(1)
    bob["bulk_scoring"] = {"requester": "alice"}
    bob["services"][0]["features"]["source"] = {"name": "mock"}
    issuer = ec.generate_private_key(ec.SECP256R1())
    published = jwt.get_algorithm_by_name("ES256").to_jwk(issuer.public_key(), as_dict=True) | {"kid": "one"}
    (folder / "keys.json").write_text(json.dumps({"keys": [published]}))
    hashes = {name: {"sha256": [hashlib.sha256(key.encode()).hexdigest()]} for name, key in KEYS.items()}
    authenticators: list[dict[str, Any]] = [
        {"name": "api_key", "keys": hashes},
        {"name": "jwt", "issuer": "https://login.example/", "audience": "sfs-bob", "jwks_file": "keys.json"},
        {"name": "certificate", "callers": {"counter": {"names": ["DNS:counter"]}}},
    ]
    by_certificate = {"counter": {"names": ["DNS:counter"]}, "partner": {"names": ["DNS:alice"]}}
    bob["admin"] = {
        "socket": str(folder / "admin"),
        "http": {
            "port": admin_port,
            "tls": bob["listen"]["tls"],
            "authenticators": [*authenticators[:2], {"name": "certificate", "callers": by_certificate}],
            "administrators": ["shop", "counter"],
        },
    }
    bob["callers"] = {
        "authenticators": authenticators,
        "limits_of": {"eager": {"requests_per_second": 0.0001}},
    }

    def bearer(expires: float) -> dict[str, str]:
        claims = {"iss": "https://login.example/", "aud": "sfs-bob", "sub": "shop", "exp": expires}
        return {"Authorization": f"Bearer {jwt.encode(claims, issuer, 'ES256', {'kid': 'one'})}"}

    headers = {
        "no credentials": {},
        "wrong key": {"X-API-Key": "canary-wrong"},
        "expired token": bearer(time.time() - 3600),
        "over limit": {"X-API-Key": KEYS["eager"]},
        "right key": {"X-API-Key": KEYS["shop"]},
        "right token": bearer(time.time() + 86_400),
    }
    with serving_here(files) as here:
        cluster = Cluster(files, here, certificates, headers)
        # All that this caller may ask at once:
        assert ask(cluster, "service", "http", "alice", MODEL_INFO, ["over limit"]) == {"over limit": OK}
        yield cluster


def client(certificates: Certificates, who: str) -> TlsFiles:
    if who == "no certificate":
        return TlsFiles(ca_file=certificates.ca_file)
    if who == "wrong CA":
        return certificates.files("impostor", authority="other-ca", party="alice")
    if who == "expired":
        return certificates.files("expired", age=EXPIRED, party="alice")
    return certificates.files(who)


def tls_of(cluster: Cluster, who: str) -> ChannelTls:
    context = FollowedContext("test", client(cluster.certificates, who), unchecked_client)
    return ChannelTls(context, "127.0.0.1", None)


def request_of(rpc: str) -> tuple[Message, type[Message]]:
    if rpc == PUSH:
        return tools_pb2.ControlRequest(party_id="alice", type=tools_pb2.CM_KEEPALIVE), tools_pb2.ControlResponse
    if rpc == EXECUTE:
        execute = apis_pb2.ExecuteRequest(requester_id="alice")
        execute.service_spec.id = "linear"
        execute.feature_source.type = apis_pb2.FS_SERVICE
        execute.feature_source.fs_param.query_datas.append("a")
        return execute, apis_pb2.ExecuteResponse
    if rpc == PREDICT:
        predict = apis_pb2.PredictRequest()
        predict.service_spec.id = "linear"
        for party in PARTIES:
            predict.fs_params[party].query_datas.append("a")
        return predict, apis_pb2.PredictResponse
    info = apis_pb2.GetModelInfoRequest()
    info.service_spec.id = "linear"
    return info, apis_pb2.GetModelInfoResponse


def ask(
    cluster: Cluster, port: str, protocol: str, who: str, rpc: str, credentials: Any = CREDENTIALS
) -> dict[str, str]:
    """What became of a call, with each of the credentials."""
    request, response_type = request_of(rpc)
    service, _, method = rpc.partition("/")

    async def one(channel: Channel, headers: Mapping[str, str]) -> str:
        try:
            answer: Any = await channel.call(service, method, request, response_type, 60, headers)
        except PeerError as error:
            return outcome(error.message)
        return str(answer.status.code)

    async def every() -> dict[str, str]:
        address = f"127.0.0.1:{cluster.port(port)}"
        channel = open_channel(
            "bob", address, protocol, connect_timeout=60, retry=RetryPolicy(0), tls=tls_of(cluster, who)
        )
        try:
            return {name: await one(channel, cluster.headers[name]) for name in credentials}
        finally:
            await channel.close()

    return asyncio.run(every())


def outcome(message: str) -> str:
    """In a word why a call failed."""
    assert "canary" not in message
    for pattern, word in [
        ("certificate", NO_CONNECTION),
        ("HTTP status 401|UNAUTHENTICATED|code 1004", UNKNOWN),
        ("HTTP status 429|RESOURCE_EXHAUSTED|code 11:", TOO_MUCH),
        ("HTTP status 404|UNIMPLEMENTED|code 100[12]:", NO_METHOD),
    ]:
        if re.search(pattern, message):
            return word
    return message


def wanted_of_callers(who: str, protocol: str) -> dict[str, str]:
    """What callers get on a port for them: credentials of a kind that is known decide, else the certificate."""
    if who in STRANGERS:
        return dict.fromkeys(CREDENTIALS, NO_CONNECTION)
    by_certificate = OK if who == "counter" else UNKNOWN
    if protocol == "baidu_std":  # which has no place for credentials
        return dict.fromkeys(CREDENTIALS, by_certificate)
    refused = {"wrong key": UNKNOWN, "expired token": UNKNOWN, "over limit": TOO_MUCH}
    return {"no credentials": by_certificate, **refused, "right key": OK, "right token": OK}


PORTS_FOR_CALLERS = [*(("service", protocol) for protocol in PROTOCOLS), ("grpc", "h2:grpc")]


@pytest.mark.parametrize("who", [*STRANGERS, *KNOWN])
@pytest.mark.parametrize(("port", "protocol"), PORTS_FOR_CALLERS)
def test_ports_for_callers(cluster: Cluster, port: str, protocol: str, who: str) -> None:
    for rpc in (PREDICT, MODEL_INFO):
        assert ask(cluster, port, protocol, who, rpc) == wanted_of_callers(who, protocol)
    for rpc in (EXECUTE, PUSH):
        wanted = NO_CONNECTION if who in STRANGERS else NO_METHOD
        assert ask(cluster, port, protocol, who, rpc, ["right key"]) == {"right key": wanted}


@pytest.mark.parametrize("who", [*STRANGERS, *KNOWN])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_communication_port(cluster: Cluster, protocol: str, who: str) -> None:
    """A certificate says which party it is; what callers show is nothing to it."""
    answered_to = {EXECUTE: ["alice"], PUSH: ["alice"], MODEL_INFO: ["alice", "bob"]}
    for rpc, parties in answered_to.items():
        wanted = NO_CONNECTION if who in STRANGERS else OK if who in parties else CODED_REFUSAL
        assert ask(cluster, "communication", protocol, who, rpc) == dict.fromkeys(CREDENTIALS, wanted)
    wanted = NO_CONNECTION if who in STRANGERS else NO_METHOD
    assert ask(cluster, "communication", protocol, who, PREDICT, ["right key"]) == {"right key": wanted}


Asked = tuple[str, str, bytes]
"""Path, credentials, body of a POST or nothing."""


async def statuses(cluster: Cluster, who: str, port: str, asked: Sequence[Asked]) -> list[str]:
    """HTTP statuses of requests, one after the other on a connection."""
    context = unchecked_client(client(cluster.certificates, who))
    got: list[str] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port(port), ssl=context)
    try:
        async with asyncio.timeout(60):
            for path, credentials, body in asked:
                lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: bob", f"Content-Length: {len(body)}"]
                lines += [*(f"{name}: {value}" for name, value in cluster.headers[credentials].items()), "", ""]
                writer.write("\r\n".join(lines).encode() + body)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                got.append(head.split(b" ", 2)[1].decode())
    except (OSError, EOFError):  # among them all that `ssl` raises; with TLS 1.3 not before something is read
        return [NO_CONNECTION] * len(asked)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return got


PAGES = {
    ("metrics", "/metrics"): False,
    ("metrics", "/health"): False,
    ("service", "/health"): False,
    ("service", "/v2/health/ready"): False,
    ("service", "/v2/models/linear"): True,
    ("service", "/v2/models/linear/infer"): True,
    ("communication", "/health"): False,
    ("communication", "/metrics"): None,
    ("service", "/metrics"): None,
    ("metrics", "/v2/models/linear"): None,
}
"""Whether pages ask callers who they are; None where there is none."""


@pytest.mark.parametrize("who", [*STRANGERS, *KNOWN])
def test_pages(cluster: Cluster, who: str) -> None:
    infer = json.dumps(
        {"inputs": [{"name": p, "shape": [1], "datatype": "BYTES", "data": ["a"]} for p in PARTIES]}
    ).encode()

    async def check() -> None:
        for port in ("metrics", "service", "communication"):
            asked, wanted = [], []
            for (its_port, path), for_callers in PAGES.items():
                for credentials, answer in wanted_of_callers(who, "http").items() if its_port == port else ():
                    asked.append((path, credentials, infer if path.endswith("/infer") else b""))
                    status = {OK: "200", UNKNOWN: "401", TOO_MUCH: "429"}.get(answer, answer)
                    if who not in STRANGERS and not for_callers:
                        status = "404" if for_callers is None else "200"
                    wanted.append(status)
            got = await statuses(cluster, who, port, asked)
            assert list(zip(asked, got, strict=True)) == list(zip(asked, wanted, strict=True))

    asyncio.run(check())


@pytest.mark.parametrize("who", [*STRANGERS, "carol"])
@pytest.mark.parametrize("port", ["service", "grpc", "communication"])
def test_the_health_service(cluster: Cluster, port: str, who: str) -> None:
    async def check() -> str:
        address = parse_address("bob", f"127.0.0.1:{cluster.port(port)}")
        entrance = GrpcEntrance("bob", address, 60, tls_of(cluster, who))
        channel = grpc.aio.insecure_channel(entrance.target, [("grpc.use_local_subchannel_pool", 1)])
        read = health_pb2.HealthCheckResponse.FromString
        try:
            answer = await channel.unary_unary(f"/{HEALTH}", response_deserializer=read)(b"", timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        finally:
            await channel.close()
            await entrance.closed()
        return str(answer.status)

    assert asyncio.run(check()) == ("UNAVAILABLE" if who in STRANGERS else "1")


@pytest.mark.parametrize("who", [*STRANGERS, *KNOWN])
def test_the_admin_port(cluster: Cluster, who: str) -> None:
    """Callers who are known, by certificates too, are no administrators yet; the limits of callers do not matter."""
    known = {"right key": "200", "right token": "200", "over limit": "403", "wrong key": "401", "expired token": "401"}
    known["no credentials"] = {"counter": "200", "alice": "403"}.get(who, "401")
    paths = {"/admin/v1/status": b"", "/admin/v1/log-level": b"{}"}
    asked = [(path, credentials, body) for credentials in known for path, body in paths.items()]
    wanted = [NO_CONNECTION if who in STRANGERS else known[credentials] for _, credentials, _ in asked]
    assert asyncio.run(statuses(cluster, who, "admin", asked)) == wanted


def test_the_admin_socket_is_for_this_user_alone(cluster: Cluster) -> None:
    path = cluster.files.folder / "admin"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
