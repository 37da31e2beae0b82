"""Services that are away, slow, broken or hostile: a coded error in time, no secrets, then recovery."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import subprocess
import sys
import time

import pyarrow as pa
import pytest
import sfs_feature_http
import sfs_feature_http.endpoints as endpoints_module
from pydantic import ValidationError
from sfs_feature_http.source import HttpConfig

from sfs_core import ConfigError, ErrorCode, FeatureQuery, Schema, SfsError
from tests.support.certificates import Certificates

from .conftest import RESET, Service, http

X = Schema([("x", pa.float64())])
ASKED = FeatureQuery(["s3cret-id"])
GOOD = http({"features": [{"field": {"name": "x", "type": 5}, "value": {"ds": [1.5]}}]})
CUT = GOOD[:-5]
"""Less than its Content-Length: the connection is then reset."""
BUSY = http(b"s3cret-answer", "503 Service Unavailable")


async def fails(source, text) -> SfsError:
    with pytest.raises(SfsError, match=text) as caught:
        await source.fetch(ASKED)
    shown = str(caught.value) + caught.value.detail + caught.value.where
    assert "s3cret" not in shown
    return caught.value


async def works(source) -> bool:
    return (await source.fetch(ASKED)).batch.rows() == [(1.5,)]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return unused.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (RESET, "broke off"),
        (CUT, "broke off"),
        (b"HTTP/9 s3cret\r\n\r\nContent-Length: 0\r\n\r\n", "broke off"),
        (http(b"s3cret", headers="Content-Encoding: gzip\r\n"), "broke off"),
        (BUSY, "HTTP status 503"),
        (http(b"s3cret", "404 Not Found"), "HTTP status 404"),
        (http(b"", "304 Not Modified"), "HTTP status 304"),
        (http(b"x" * 10_000), "more than 5000 bytes"),
        (http(gzip.compress(b" " * 50_000_000), headers="Content-Encoding: gzip\r\n"), "more than 5000 bytes"),
        (http(b"", headers="X: " + "y" * 100_000 + "\r\n"), "broke off"),
    ],
)
async def test_answers_that_fail_are_not_asked_for_again(make, service, answer, text):
    service.answers = [answer, GOOD]
    source = make(X, service, max_answer_bytes=5000)
    assert (await fails(source, text)).code == ErrorCode.NETWORK_ERROR
    assert len(service.asked) == 1
    assert await works(source)


async def test_redirects_are_not_followed(make, service):
    inside = Service()
    await inside.start()
    inside.answers = [GOOD]
    for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
        service.answers = [http(b"", status, f"Location: {inside.endpoint}?s3cret\r\n")]
        error = await fails(make(X, service), f"HTTP status {status[:3]}")
        assert (error.code, "not followed" in error.hint) == (ErrorCode.NETWORK_ERROR, True)
    assert inside.asked == []
    await inside.stop()


async def test_slow_answers(make, service):
    async def late(_):
        await service.release.wait()
        return GOOD

    service.answers = [late, GOOD]
    source = make(X, service, timeout=0.2, retry={"retries": 3, "anything": True})
    start = time.monotonic()
    assert (await fails(source, "in time")).code == ErrorCode.NETWORK_ERROR
    assert 0.2 <= time.monotonic() - start < 60
    assert len(service.asked) == 1
    assert await works(source)


async def test_a_service_that_is_away_and_comes_back(make, service, closed_port):
    away = Service()
    source = make(X, f"127.0.0.1:{closed_port}/features", retry={"retries": 2})
    assert (await fails(source, "cannot be reached")).code == ErrorCode.NETWORK_ERROR
    with pytest.raises(SfsError, match="cannot be reached"):
        source.check()
    away.answers = [GOOD]
    await away.start(closed_port)
    assert await works(source)
    await asyncio.to_thread(source.check)
    await away.stop()


@pytest.mark.parametrize(
    ("retry", "answers", "times"),
    [
        ({"unavailable": True}, [BUSY, BUSY, BUSY, GOOD], 4),
        ({"unavailable": True, "backoff": "exponential", "interval": 0.001}, [BUSY, GOOD], 2),
        ({"anything": True, "backoff": "random", "interval": 0.001, "longest": 0.002}, [RESET, CUT, GOOD], 3),
        ({"retries": 1, "unavailable": True}, [BUSY, BUSY, GOOD], None),
        ({"retries": 0, "unavailable": True}, [BUSY, GOOD], None),
        ({"unavailable": True}, [CUT, GOOD], None),
        ({"unavailable": True}, [http(b"", "501 No"), GOOD], None),
        ({"anything": True}, [http({"status": {"code": 13}}), GOOD], None),
    ],
)
async def test_retries(make, service, retry, answers, times):
    service.answers = list(answers)
    source = make(X, service, retry=retry)
    if times is None:
        assert (await fails(source, ".")).code in {ErrorCode.NETWORK_ERROR, ErrorCode.FS_INTERNAL_ERROR}
        assert len(service.asked) == retry.get("retries", 0) + 1
    else:
        assert await works(source)
        assert len(service.asked) == times


async def test_retries_end_with_the_time(make, service):
    service.answers = [BUSY]
    start = time.monotonic()
    retry = {"retries": 1_000_000, "interval": 0.02, "unavailable": True}
    assert (await fails(make(X, service, timeout=0.3, retry=retry), "in time|503")).code == ErrorCode.NETWORK_ERROR
    assert time.monotonic() - start < 60
    assert 1 < len(service.asked) <= 2 + 0.3 / 0.02


async def test_connections_are_bounded_and_kept(make, service):
    async def both(_):
        if len(service.asked) == 2:
            service.release.set()
        await service.release.wait()
        return GOOD

    service.answers = [both]
    source = make(X, service, pool_size=2)
    results = await asyncio.gather(*(source.fetch(ASKED) for _ in range(10)))
    assert [result.batch.rows() for result in results] == [[(1.5,)]] * 10
    assert service.connections == 2


async def test_all_addresses_of_a_name_are_used_in_turn(make, service, monkeypatch):
    loop = asyncio.get_running_loop()
    other = Service("127.0.0.2")
    await other.start(service.port)
    service.answers = other.answers = [GOOD]
    found = [[socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, service.port)] for host in ("127.0.0.1", "127.0.0.2")]

    async def two(host, port, **_):
        assert (host, port) == ("features.test", service.port)
        return found

    monkeypatch.setattr(loop, "getaddrinfo", two)
    source = make(X, f"http://features.test:{service.port}/features", resolve_all=True, retry={"retries": 1})
    for _ in range(4):
        assert await works(source)
    assert len(service.asked) == len(other.asked) == 2
    assert {asked.headers["host"] for asked in service.asked} == {f"features.test:{service.port}"}
    found[1][4] = ("127.0.0.3", service.port)  # nobody is there
    monkeypatch.setattr(endpoints_module, "_RESOLVE_SECONDS", 0.0)
    source = make(X, f"http://features.test:{service.port}/features", resolve_all=True, retry={"retries": 1})
    for _ in range(4):
        assert await works(source)
    await other.stop()


@pytest.fixture
async def three(service):
    """Three services at one port each, all of which know the row."""
    others = [Service(), Service()]
    for each in others:
        await each.start()
    for each in (service, *others):
        each.answers = [GOOD]
    yield [service, *others]
    for each in others:
        await each.stop()


async def test_endpoints_take_turns_and_stand_in_for_each_other(make, three, monkeypatch):
    first, second, third = three
    source = make(X, first, endpoint=[each.endpoint for each in three], retry={"retries": 0})
    for _ in range(6):
        assert await works(source)
    assert [len(each.asked) for each in three] == [2, 2, 2]
    await second.stop()  # is asked once more, over a connection that was kept, and then passed over
    answers = [(await asyncio.gather(source.fetch(ASKED), return_exceptions=True))[0] for _ in range(8)]
    failures = [each.where for each in answers if isinstance(each, SfsError)]
    assert failures in ([], [second.endpoint])
    assert [len(each.asked) for each in three][1] == 2
    await asyncio.to_thread(source.check)
    monkeypatch.setattr(endpoints_module, "_REST_SECONDS", 0.0)
    await first.stop()
    await third.stop()
    with pytest.raises(SfsError, match="cannot be reached"):
        source.check()
    for _ in three:
        with contextlib.suppress(SfsError):  # a connection that was kept may be the one that breaks
            await source.fetch(ASKED)
    assert (await fails(source, "cannot be reached")).code == ErrorCode.NETWORK_ERROR
    back = Service()
    back.answers = [GOOD]
    await back.start(third.port)
    for _ in range(4):  # also where the turn is that of one that is away
        assert await works(source)
    await back.stop()


async def test_no_other_endpoint_is_asked_for_what_one_was_asked(make, three):
    first, *others = three
    first.answers = [BUSY, CUT, http({"status": {"code": 13}})]
    for text in ("503", "broke off", "service failed"):
        source = make(X, first, endpoint=[each.endpoint for each in three])
        await fails(source, text)
    assert [each.asked for each in others] == [[], []]
    first.answers = [BUSY]
    source = make(X, first, endpoint=[each.endpoint for each in three], retry={"unavailable": True})
    assert await works(source)
    assert len(others[0].asked) == 1


async def test_an_endpoint_that_does_not_answer_is_passed_over(make, three):
    first, *_ = three

    async def late(_):
        await first.release.wait()
        return GOOD

    first.answers = [late]
    source = make(X, first, endpoint=[each.endpoint for each in three], timeout=0.2)
    assert (await fails(source, "in time")).where == first.endpoint
    for _ in range(6):
        assert await works(source)
    assert len(first.asked) == 1


async def test_a_name_that_nobody_has(make):
    for resolve_all in (False, True):
        source = make(X, "http://nobody.invalid/features", resolve_all=resolve_all, retry={"retries": 0})
        assert (await fails(source, "reached|looked up")).code == ErrorCode.NETWORK_ERROR


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def over_tls(certificates):
    """A service that is made out to localhost, and wants to see a client's certificate."""
    files = certificates.files("service", "localhost")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca_file)
    tls.load_cert_chain(files.certificate_file, files.key_file)
    tls.verify_mode = ssl.CERT_REQUIRED
    made = Service()
    await made.start(tls=tls)
    made.endpoint = f"https://localhost:{made.port}/"
    made.answers = [GOOD]
    yield made
    await made.stop()


@pytest.mark.parametrize("resolve_all", [False, True])
async def test_tls(make, certificates, over_tls, resolve_all):
    own = certificates.options("client", "alice") | {"resolve_all": resolve_all}
    good = make(X, over_tls, **own)
    assert await works(good)
    await asyncio.to_thread(good.check)
    for endpoint, ca_file in (
        (over_tls.endpoint, None),  # the system's authorities do not know it
        (over_tls.endpoint.replace("localhost", "127.0.0.1"), own["ca_file"]),  # another name than in the certificate
    ):
        bad = make(X, endpoint, **own | {"ca_file": ca_file})
        assert (await fails(bad, "no certificate that is trusted")).code == ErrorCode.NETWORK_ERROR
        with pytest.raises(SfsError):
            await asyncio.to_thread(bad.check)
    uncertified = make(X, over_tls, ca_file=own["ca_file"], resolve_all=resolve_all)
    assert (await fails(uncertified, "feature service")).code == ErrorCode.NETWORK_ERROR
    assert len(over_tls.asked) == 1


async def test_files_of_tls_that_do_not_fit(make, certificates, over_tls):
    own, locked = certificates.options("client", "alice"), certificates.options("locked", "alice", password="s3cret")
    for files, text in (
        ({"ca_file": "none.pem"}, "ca_file: .* cannot be read"),
        (own | {"key_file": locked["key_file"]}, "key_file: .* is encrypted"),
        (locked | {"key_password": "s3cret?"}, "key_password: .* cannot be decrypted"),
        (locked | {"certificate_file": own["certificate_file"]}, "key_file: .* does not belong"),
    ):
        with pytest.raises(ConfigError, match=text) as caught:
            make(X, over_tls, **files)
        assert "s3cret" not in str(caught.value)


async def test_renewed_certificates_are_shown_to_the_next_connection(make, certificates, over_tls, tmp_path):
    def put(name):
        files = certificates.files(name, password="s3cret")
        (tmp_path / "own.pem").write_bytes(files.certificate_file.read_bytes() + files.key_file.read_bytes())

    put("carol")
    options = {"ca_file": str(certificates.ca_file), "certificate_file": "own.pem", "key_password": "s3cret"}
    source = make(X, over_tls, **options)
    shown = []
    while "dave" not in str(shown):
        assert await works(source)
        shown = [writer.get_extra_info("peercert") for writer in over_tls.serving.values()]
        if len(over_tls.asked) == 1:
            assert "carol" in str(shown)
            put("dave")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": ""},
        {"endpoint": "ftp://host"},
        {"endpoint": []},
        {"endpoint": ["http://host/", "host/"]},
        {"endpoint": ["http://host/", "https://other/"]},
        {"endpoint": ["http://host/", "http://user:s3cret@host/"]},
        {"endpoint": ["http://host/"], "ca_file": "ca.pem"},
        {"endpoint": "http://"},
        {"endpoint": "http://user:s3cret@host/"},
        {"endpoint": "http://host:s3cret/"},
        {"endpoint": "http://host/#part"},
        {"token": "s3cret\r\nX: 1"},
        {"http_headers": {"X": "s3cret\n"}},
        {"http_headers": {"X Y": "s3cret"}},
        {"http_headers": {"Host": "s3cret"}},
        {"user": "sfs"},
        {"password": "s3cret"},
        {"user": "s:fs", "password": "s3cret"},
        {"token": "s3cret", "user": "sfs", "password": "s3cret"},
        {"token": "s3cret", "http_headers": {"authorization": "s3cret"}},
        {"key_file": "key.pem", "endpoint": "https://host"},
        {"ca_file": "ca.pem"},
        {"timeout": 0},
        {"retry": {"retries": -1}},
        {"retry": {"backoff": "random", "interval": 1, "longest": 0.5}},
        {"end_point": "x"},
    ],
)
def test_options_that_do_not_fit_together(options):
    with pytest.raises(ValidationError) as caught:
        HttpConfig(**{"endpoint": "http://host/"} | options)
    assert "s3cret" not in str(caught.value)


async def test_close_needs_no_open_and_may_come_twice(make, service):
    service.answers = [GOOD]
    source = make(X, service)
    assert await works(source)
    for _ in range(2):
        await asyncio.to_thread(source.close)
        assert (await fails(source, "not open")).code == ErrorCode.NOT_READY


def test_the_declaration_is_light_and_says_what_leaves():
    (spec,) = sfs_feature_http.sfs_feature_sources()
    assert (spec.name, spec.egress) == ("http", "ids")
    script = "import sys, sfs_feature_http as s; s.sfs_feature_sources(); sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
