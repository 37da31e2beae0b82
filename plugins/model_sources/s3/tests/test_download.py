"""Downloads from moto's object store, and from stores that behave as each test says."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import pytest
import sfs_model_s3
from moto.server import ThreadedMotoServer
from pydantic import ValidationError
from sfs_model_s3.source import S3Config, S3ModelSource

from sfs_core import ErrorCode, PackageError, PluginContext, SfsError
from sfs_core.model.cache import fetch_package
from sfs_core.model.package import write_package
from sfs_core.model.split import split_linear
from tests.support.clusters import registry, write_csv
from tests.support.processes import reference_configs, running, start_parties

CONTENT = os.urandom(9_000_000)
KEYS = {"access_key": "AKIA-s3cret", "secret_key": "s3cret"}
IDS = [f"u{i}" for i in range(30)]


@pytest.fixture(scope="module")
def store():
    """The URL of an object store with the bucket `models`."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def put(store):
    """Write an object."""
    client = boto3.client(
        "s3", endpoint_url=store, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="models")
    yield lambda key, content: client.put_object(Bucket="models", Key=key, Body=content)
    client.close()


class Store(http.server.ThreadingHTTPServer):
    """Answers as `answer` says, called with the handler: after that, nothing more is sent."""

    daemon_threads = True

    def __init__(self, tls=None):
        self.asked = []
        self.closing = threading.Event()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.close_connection = True
                store.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                store.answer(self)

            do_HEAD = do_GET  # noqa: N815  asked for after a redirect, to learn the region

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://localhost:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


@pytest.fixture
def stub():
    """A function that starts a Store."""
    started = []

    def start(answer, tls=None):
        server = Store(tls)
        server.answer = answer
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def reply(handler, status=200, body=b"", length=None, **headers):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def ignored(done, total=None):
    pass


@pytest.fixture
def source(tmp_path):
    def make(**options):
        context = PluginContext("svc", "alice", logging.getLogger("test"), tmp_path)
        return S3ModelSource(S3Config(**({"bucket": "models"} | options)), context)

    return make


@pytest.fixture
def refused(source, tmp_path):
    def refused_(code, text, progress=ignored, **options):
        (tmp_path / "package").unlink(missing_ok=True)
        with pytest.raises(SfsError, match=text) as caught:
            source(**({**KEYS} | options)).download("key", tmp_path / "package", progress)
        assert caught.value.code == code
        assert "s3cret" not in str(caught.value) + caught.value.detail
        return caught.value

    return refused_


def test_downloads_and_says_how_far_it_is(store, put, source, tmp_path):
    put("credit/é +%2F.tar.gz", CONTENT)
    steps = []
    source(endpoint=store, **KEYS).download(
        "credit/é +%2F.tar.gz", tmp_path / "package", lambda done, total: steps.append((done, total))
    )
    assert (tmp_path / "package").read_bytes() == CONTENT
    assert steps[0] == (0, len(CONTENT))
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in steps} == {len(CONTENT)}


def test_core_keeps_the_last_good_package(store, put, source, tmp_path):
    put("p", CONTENT)
    made = source(endpoint=store, **KEYS)
    digest = hashlib.sha256(CONTENT).hexdigest()

    def fetch(**more):
        return fetch_package(made, "p", cache=tmp_path, service="svc", **more)

    kept = fetch(sha256=digest)
    put("p", CONTENT[:-1])
    assert fetch(sha256=digest) == kept  # not asked again
    for more, text in (({"sha256": "0" * 64}, "SHA-256"), ({"max_bytes": 1000}, "larger than 1000 bytes")):
        with pytest.raises(PackageError, match=text) as caught:
            fetch(**more)
        assert caught.value.code == ErrorCode.IO_ERROR
    assert kept.read_bytes() == CONTENT
    assert {file.name for file in (tmp_path / "svc").iterdir()} == {kept.name, ".lock"}


def test_what_is_not_there(store, put, refused):
    error = refused(ErrorCode.NOT_FOUND, "there is no such model package", endpoint=store)
    assert error.where == f"bucket models of {store}"
    refused(ErrorCode.NOT_FOUND, "there is no such model package", endpoint=store, bucket="others")


@pytest.mark.parametrize(
    ("options", "path", "host", "signed"),
    [
        ({}, "/models/a/b", "localhost", True),
        ({"virtual_hosted": True, "region": "eu-west-7"}, "/a/b", "models.localhost", True),
        ({"access_key": None, "secret_key": None, "anonymous": True}, "/models/a/b", "localhost", False),
        ({"session_token": "t0ken"}, "/models/a/b", "localhost", True),
    ],
)
def test_how_stores_are_asked(stub, source, tmp_path, monkeypatch, options, path, host, signed):
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *more: look_up(name.removeprefix("models."), *more))
    server = stub(lambda handler: reply(handler, body=b"package", ETag='"1"'))
    source(**{**KEYS, "endpoint": server.url} | options).download("a/b", tmp_path / "package", ignored)
    assert [(verb, asked) for verb, asked, _ in server.asked] == [("GET", path)]
    for _, _, headers in server.asked:
        assert headers["host"] == f"{host}:{server.server_port}"
        assert headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential=AKIA-s3cret/") == signed
        if signed:
            assert f"/{options.get('region', 'us-east-1')}/s3/" in headers["authorization"]
        assert headers.get("x-amz-security-token") == options.get("session_token")
        assert not any("checksum" in name for name in headers)


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, ErrorCode.IO_ERROR, "the object store refuses"),
        (404, ErrorCode.NOT_FOUND, "there is no such"),
        (400, ErrorCode.IO_ERROR, "the object store fails"),
        (301, ErrorCode.NETWORK_ERROR, "the object store does not deliver"),
    ],
)
def test_refusals(stub, refused, status, code, text):
    server = stub(lambda handler: reply(handler, status, b"<s3cret/>", Location="http://169.254.1.1/s3cret"))
    refused(code, text, endpoint=server.url)
    assert all(headers["host"].startswith("localhost:") for _, _, headers in server.asked)


@pytest.mark.parametrize("cuts", [[0], [1], [3_000_000, 8_999_999]])
def test_what_breaks_off_is_gone_on_with(stub, source, tmp_path, cuts):
    def answer(handler):
        first = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        last = cuts[len(server.asked) - 1] if len(server.asked) <= len(cuts) else len(CONTENT)
        if first:
            assert handler.headers["If-Match"] == '"1"'
        more = {"Content_Range": f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}"} if first else {}
        reply(handler, 206 if first else 200, CONTENT[first:last], len(CONTENT) - first, ETag='"1"', **more)

    server, steps = stub(answer), []
    made = source(endpoint=server.url, **KEYS)
    made.download("key", tmp_path / "package", lambda done, total: steps.append((done, total)))
    assert (tmp_path / "package").read_bytes() == CONTENT
    assert len(server.asked) == len(cuts) + 1
    assert sorted(steps) == steps
    assert {total for _, total in steps} == {len(CONTENT)}


@pytest.mark.parametrize(
    ("headers", "requests", "text"),
    [
        ({"ETag": '"1"'}, 2, "does not go on from there"),  # ranges are ignored
        ({}, 1, "does not deliver"),  # nobody could say whether it is still the same
        ({"ETag": '"1"', "Content_Range": "bytes 4-999/1000"}, 3, "does not deliver"),
    ],
)
def test_stores_that_break_off(stub, refused, headers, requests, text):
    cuts = iter([b"half", b"", b""])
    server = stub(lambda handler: reply(handler, body=next(cuts), length=1000, **headers))
    refused(ErrorCode.NETWORK_ERROR, text, endpoint=server.url)
    assert len(server.asked) == requests


def test_objects_that_change_meanwhile(stub, refused):
    def answer(handler):
        if "Range" not in handler.headers:
            reply(handler, body=b"half", length=1000, ETag='"1"')
        elif handler.headers["If-Match"] == '"1"':
            reply(handler, 412, b"<Error><Code>PreconditionFailed</Code></Error>", ETag='"2"')

    refused(ErrorCode.IO_ERROR, "the object changes while it is fetched", endpoint=stub(answer).url)


def test_stores_that_hang(stub, refused):
    server = stub(lambda _: server.closing.wait())
    refused(ErrorCode.NETWORK_ERROR, "does not deliver", endpoint=server.url, timeout=0.1)


def test_stores_that_trickle(stub, refused):
    def answer(handler):
        reply(handler, body=b"x", length=1 << 40)
        while not server.closing.wait(0.01):
            handler.wfile.write(b"x" * 100_000)

    server = stub(answer)
    refused(ErrorCode.NETWORK_ERROR, "takes too long", endpoint=server.url, timeout=0.2)


def test_stores_that_are_not_there(stub, refused):
    refused(ErrorCode.NETWORK_ERROR, "does not deliver", endpoint="http://nobody.invalid", connect_timeout=0.5)


def test_progress_may_break_off(store, put, refused):
    put("key", CONTENT)

    def too_large(done, total=None):
        if done > 1000:
            raise PackageError("too large")

    refused(ErrorCode.IO_ERROR, "too large", too_large, endpoint=store)


def test_files_that_cannot_be_written(store, put, source, tmp_path):
    put("key", b"x")
    (tmp_path / "there").write_bytes(b"mine")
    for to in ("there", "no folder/package"):
        with pytest.raises(PackageError, match="cannot be written"):
            source(endpoint=store, **KEYS).download("key", tmp_path / to, ignored)
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_no_keys(refused, monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    refused(
        ErrorCode.INVALID_ARGUMENT, "there are no keys", endpoint="http://127.0.0.1:9", access_key=None, secret_key=None
    )


def test_certificates_are_checked(stub, source, refused, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 2"
    files = f"-addext subjectAltName=DNS:localhost -keyout {tmp_path}/key.pem -out {tmp_path}/ca.pem"
    subprocess.run(["openssl", *command.split(), *files.split()], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    url = stub(lambda handler: reply(handler, body=b"package", ETag='"1"'), tls).url
    refused(ErrorCode.NETWORK_ERROR, "no certificate that is trusted", endpoint=url)
    by_address = url.replace("localhost", "127.0.0.1")
    refused(ErrorCode.NETWORK_ERROR, "no certificate that is trusted", endpoint=by_address, ca_file="ca.pem")
    refused(ErrorCode.INVALID_ARGUMENT, "`ca_file`", endpoint=url, ca_file="none.pem")
    # Without a scheme, https is meant.
    made = source(endpoint=url.removeprefix("https://"), ca_file="ca.pem", **KEYS)
    made.download("key", tmp_path / "package", ignored)
    assert (tmp_path / "package").read_bytes() == b"package"


@pytest.mark.parametrize(
    "options",
    [
        {"bucket": ""},
        {"bucket": "a b"},
        {"access_key": "s3cret"},
        {"session_token": "s3cret"},
        {"access_key": "a", "secret_key": "s3cret\n"},
        {"access_key": "a", "secret_key": "s3cret", "anonymous": True},
        {"endpoint": "ftp://host"},
        {"endpoint": "http://"},
        {"endpoint": "http://u:s3cret@host"},
        {"endpoint": "http://host/?key=s3cret"},
        {"endpoint": "http://[host"},
        {"endpoint": "http://host\r\nX: s3cret"},
        {"endpoint": "http://host", "ca_file": "ca.pem"},
        {"timeout": 0},
        {"verify": False},
    ],
)
def test_options_that_are_wrong(options):
    with pytest.raises(ValidationError) as caught:
        S3Config(**{"bucket": "models"} | options)
    assert "s3cret" not in str(caught.value)


def test_declares_one_source_and_is_light():
    (spec,) = sfs_model_s3.sfs_model_sources()
    assert (spec.name, spec.factory) == ("s3", "sfs_model_s3.source:S3ModelSource")
    script = "import sys, sfs_model_s3; sfs_model_s3.sfs_model_sources(); assert 'boto3' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_two_parties_with_packages_in_a_store(store, put, tmp_path: Path):
    columns = {"alice": {"age": [0.1 * i for i in range(30)]}, "bob": {"rate": [1.5**i for i in range(30)]}}
    weights = {party: dict.fromkeys(own, 0.3) for party, own in columns.items()}
    packages, features = {}, {}
    for party, graph in split_linear(registry().operator, weights, label_holder="alice", intercept=0.5).items():
        packages[party] = tmp_path / f"{party}.tar.gz"
        write_package(packages[party], "svc", "made for a test", graph)
        put(f"svc/{party}", packages[party].read_bytes())
        table = write_csv(tmp_path / f"{party}.csv", IDS, columns[party])
        features[party] = {"csvOpts": {"filePath": str(table), "idName": "id"}}
    configs = reference_configs(tmp_path, list(columns), packages, features)
    meta = {"accessKey": "AKIA-s3cret", "secretKey": "s3cret", "endpoint": store, "bucket": "models"}
    for party, (path, _) in configs.items():
        config = json.loads(path.read_text())
        config["modelConf"] |= {"sourceType": "ST_OSS", "sourcePath": f"svc/{party}", "ossSourceMeta": meta}
        path.write_text(json.dumps(config))
    with running(start_parties(configs)) as parties:
        scores = parties["alice"].scores("svc", list(columns), IDS)
        logs = [party.log.read_text() for party in parties.values()]
    expected = [0.5 + 0.3 * (a + b) for a, b in zip(columns["alice"]["age"], columns["bob"]["rate"], strict=True)]
    assert scores == pytest.approx(expected)
    assert not any("s3cret" in log for log in logs)
