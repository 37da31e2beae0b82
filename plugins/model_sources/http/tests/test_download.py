"""Downloads from a web server that behaves as each test says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import ssl
import time
from typing import Any

import pytest
import sfs_model_http.source
from pydantic import ValidationError
from sfs_model_http.source import HttpModelConfig, HttpModelSource

from sfs_core import ErrorCode, PackageError, PluginContext, SfsError
from sfs_core.model.cache import fetch_package
from tests.support.certificates import Certificates

CONTENT = os.urandom(3_000_000)


class WebServer:
    """Serves `pages`: a path's whole HTTP answer, a list of one per request, or a function of the request's headers
    that makes it. One shorter than its Content-Length is followed by a reset; None hangs until the end."""

    def __init__(self):
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.end = asyncio.Event()
        self.serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def start(self, host="127.0.0.1", tls=None):
        self.server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        self.url = f"http{'s' if tls else ''}://{host}:{self.server.sockets[0].getsockname()[1]}"

    async def stop(self):
        self.end.set()
        self.server.close()
        for writer in self.serving.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self.serving), return_exceptions=True)

    async def _serve(self, reader, writer):
        self.serving[asyncio.current_task()] = writer
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
                path = line.split()[1]
                self.asked.append((path, dict(each.lower().split(": ", 1) for each in lines)))
                answer = self.pages[path.partition("?")[0]]
                if isinstance(answer, list):
                    answer = answer.pop(0)
                if callable(answer):
                    answer = answer(self.asked[-1][1])
                if answer is None:
                    await self.end.wait()
                    break
                writer.write(answer)
                await writer.drain()
                head, _, body = answer.partition(b"\r\n\r\n")
                if len(body) < int(head.rpartition(b"Content-Length: ")[2]):
                    writer.transport.abort()
                    break
            writer.close()
            await writer.wait_closed()


def page(body=CONTENT, status="200 OK", headers=""):
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def redirect(location, status="302 Found"):
    return page(b"", status, f"Location: {location}\r\n")


@pytest.fixture
async def web():
    server = WebServer()
    await server.start()
    yield server
    await server.stop()


def ignored(done, total=None):
    pass


@pytest.fixture
def fetch(tmp_path):
    async def fetch_(url, progress=ignored, to="package", **options):
        context = PluginContext("svc", "alice", logging.getLogger("test"), tmp_path)
        await HttpModelSource(HttpModelConfig(**options), context).download(url, tmp_path / to, progress)
        return (tmp_path / to).read_bytes()

    return fetch_


@pytest.fixture
def refused(fetch, tmp_path):
    async def refused_(url, code=ErrorCode.NETWORK_ERROR, text="", **options):
        (tmp_path / "package").unlink(missing_ok=True)
        with pytest.raises(SfsError, match=text) as caught:
            await fetch(url, **options)
        assert caught.value.code == code
        assert "s3cret" not in str(caught.value)
        return caught.value

    return refused_


async def test_downloads_and_says_how_far_it_is(web, fetch):
    web.pages["/p"] = page()
    steps = []
    assert await fetch(f"{web.url}/p?a=%2F", lambda done, total=None: steps.append((done, total))) == CONTENT
    assert steps[0] == (0, len(CONTENT))
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(steps) == steps
    assert web.asked[0][0] == "/p?a=%2F"


async def test_core_keeps_what_is_whole_and_wanted(web, tmp_path):
    web.pages |= {"/p": page(), "/cut": page()[:-1]}
    source = HttpModelSource(HttpModelConfig(), PluginContext("svc", "alice", logging.getLogger("test"), tmp_path))
    digest = hashlib.sha256(CONTENT).hexdigest()
    for _ in range(2):
        kept = await asyncio.to_thread(
            fetch_package, source, f"{web.url}/p", cache=tmp_path, service="svc", sha256=digest
        )
        assert kept.read_bytes() == CONTENT
    assert len(web.asked) == 1
    for path, limit, text in (("cut", 1 << 30, "does not deliver"), ("p", 1000, "larger than 1000 bytes")):
        with pytest.raises(PackageError, match=text):
            await asyncio.to_thread(
                fetch_package, source, f"{web.url}/{path}", cache=tmp_path, service="svc", max_bytes=limit
            )
    assert {file.name for file in (tmp_path / "svc").iterdir()} == {kept.name, ".lock"}


async def test_nothing_is_smuggled_through_the_path(web, fetch):
    web.pages["/p"] = page()
    assert await fetch(f"{web.url}/p?é\r\nX-Evil: 1\r\n\r\n") == CONTENT
    ((_, headers),) = web.asked
    assert "x-evil" not in headers


async def test_chunked_and_encoded_packages_stay_as_they_are(web, fetch):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 0\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    web.pages |= {"/chunked": chunked, "/encoded": page(headers="Content-Encoding: gzip\r\n")}
    steps = []
    assert await fetch(f"{web.url}/chunked", lambda *step: steps.append(step), to="1") == b"abc"
    assert steps == [(0, None), (3, None)]
    assert await fetch(f"{web.url}/encoded", to="2") == CONTENT


@pytest.mark.parametrize("status", ["301 a", "302 b", "303 c", "307 d", "308 e"])
async def test_redirects(web, fetch, status):
    web.pages |= {
        "/a/b": redirect("../c", status),
        "/c": redirect("/d?x=%2F", status),
        "/d": page(),
    }
    assert await fetch(f"{web.url}/a/b") == CONTENT
    assert [path for path, _ in web.asked] == ["/a/b", "/c", "/d?x=%2F"]


async def test_secrets_go_to_the_first_server_only(web, fetch):
    other = WebServer()
    await other.start("127.0.0.2")
    web.pages |= {"/a": redirect("/b"), "/b": redirect(f"{other.url}/p", "307 x")}
    other.pages["/p"] = page()
    assert await fetch(f"{web.url}/a", token="t0ken", http_headers={"X-Key": "s3cret"}) == CONTENT
    for _, headers in web.asked:
        assert (headers["authorization"], headers["x-key"]) == ("bearer t0ken", "s3cret")
    assert not {"authorization", "x-key"} & other.asked[0][1].keys()
    await other.stop()


async def test_servers_outside_cannot_redirect_inside(web, fetch, refused, monkeypatch):
    """Whatever way the inner address is written; 127.0.0.2 stands for a server on the internet."""
    monkeypatch.setattr(sfs_model_http.source, "_is_inside", lambda host: host != "127.0.0.2")
    outside = WebServer()
    await outside.start("127.0.0.2")
    port = web.url.rpartition(":")[2]
    web.pages |= {"/p": page(), "/out": redirect(f"{outside.url}/in")}
    for host in ("127.0.0.1", "localhost", "2130706433", "127.1", "0x7f000001"):
        outside.pages["/in"] = redirect(f"http://{host}:{port}/p")
        await refused(f"{outside.url}/in", text="redirects from outside|does not deliver")
        assert web.asked == []
    await refused(f"{web.url}/out", text="redirects from outside")  # not even back to where it came from
    assert [path for path, _ in web.asked] == ["/out"]
    outside.pages["/in"] = redirect(f"{outside.url}/p")
    outside.pages["/p"] = page()
    assert await fetch(f"{web.url}/out", to="from inside to outside") == CONTENT
    await outside.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "fd00::1"])
def test_addresses_inside(host):
    assert sfs_model_http.source._is_inside(host)
    assert not sfs_model_http.source._is_inside("8.8.8.8")


async def test_redirects_end(web, refused):
    web.pages |= {"/loop": redirect("/loop"), "/nowhere": page(b"", "302 Found")}
    await refused(f"{web.url}/loop", text="more than 5 redirects")
    assert len(web.asked) == 6
    await refused(f"{web.url}/loop", text="more than 0 redirects", redirects=0)
    await refused(f"{web.url}/nowhere", text="to nowhere")
    for target in ("file:/etc/passwd", "ftp://host/s3cret", "http://u:s3cret@host/", "http://[s3cret"):
        web.pages["/x"] = redirect(target)
        await refused(f"{web.url}/x", text="cannot be fetched")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (page()[:-1], "does not deliver"),
        (page()[:1000], "does not deliver"),
        (b"nonsense\r\n\r\nContent-Length: 0\r\n\r\n", "does not deliver"),
        (page(b"s3cret", "404 Not Found"), "HTTP status 404"),
        (page(b"s3cret", "503 Busy"), "HTTP status 503"),
    ],
)
async def test_servers_that_do_not_deliver(web, refused, answer, text):
    web.pages["/p"] = answer
    error = await refused(f"{web.url}/p?signature=s3cret", text=text)
    assert error.where == f"{web.url}/p"


TAG = 'ETag: "1"\r\n'


def rest(start, tag=TAG):
    headers = f"{tag}Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}\r\n"
    return page(CONTENT[start:], "206 Partial", headers)


async def test_what_breaks_off_is_gone_on_with(web, fetch):
    other = WebServer()
    await other.start("127.0.0.2")
    cuts = iter([1_000_000, 2_000_000, len(CONTENT)])

    def answer(headers):
        start, end = int(headers.get("range", "bytes=0-")[6:-1]), next(cuts)
        whole = rest(start) if start else page(headers=TAG)
        return whole[: len(whole) - (len(CONTENT) - end)]

    web.pages["/p"] = redirect(f"{other.url}/p")
    other.pages["/p"] = answer
    steps = []
    made = await fetch(f"{web.url}/p", lambda done, total: steps.append((done, total)), token="t0ken")
    assert made == CONTENT
    assert sorted(steps) == steps
    assert {total for _, total in steps} == {len(CONTENT)}
    assert [path for path, _ in other.asked] == ["/p"] * 3
    assert other.asked[-1][1]["if-range"] == '"1"'
    assert not any("authorization" in headers for _, headers in other.asked)
    await other.stop()


async def test_a_file_that_has_changed_begins_again(web, fetch):
    changed = CONTENT[::-1]
    web.pages["/p"] = [page(headers=TAG)[:-1], page(changed, headers='ETag: "2"\r\n')]
    assert await fetch(f"{web.url}/p") == changed


async def test_what_is_not_gone_on_with(web, refused):
    cut = page(headers=TAG)[:-1]
    cases = [
        ([cut] * 4, 4, "does not deliver", {}),
        ([cut], 1, "does not deliver", {"resumptions": 0}),
        ([page(headers='ETag: W/"1"\r\n')[:-1]], 1, "does not deliver", {}),  # a weak tag is no promise about bytes
        ([page()[:-1]], 1, "does not deliver", {}),
        ([cut, rest(5)], 2, "another part of the file", {}),
        ([rest(0)], 1, "another part of the file", {}),
        ([cut, page(b"", "412 Changed")], 2, "HTTP status 412", {}),
    ]
    for answers, requests, text, options in cases:
        web.pages["/p"], web.asked = answers, []
        await refused(f"{web.url}/p", text=text, **options)
        assert len(web.asked) == requests


async def test_servers_that_hang(web, refused):
    web.pages["/p"] = None
    start = time.monotonic()
    await refused(f"{web.url}/p", text="too long", timeout=0.2)
    assert time.monotonic() - start < 60


async def test_servers_that_are_not_there(web, refused):
    await web.stop()
    await web.server.wait_closed()
    await refused(f"{web.url}/p", text="does not deliver")
    await refused("http://nobody.invalid/p", text="does not deliver")


async def test_progress_may_break_off(web, fetch, tmp_path):
    web.pages["/p"] = page()
    for limit in (0, 1000):

        def too_large(done, total=None, limit=limit):
            if done > limit or not limit:
                raise PackageError("too large")

        with pytest.raises(PackageError, match="too large"):
            await fetch(f"{web.url}/p", too_large)
        (tmp_path / "package").unlink()


async def test_files_that_cannot_be_written(web, fetch, tmp_path):
    web.pages["/p"] = page()
    (tmp_path / "there").write_bytes(b"mine")
    for to in ("there", "no folder/package"):
        with pytest.raises(PackageError, match="cannot be written") as caught:
            await fetch(f"{web.url}/p", to=to)
        assert caught.value.code == ErrorCode.IO_ERROR
    assert (tmp_path / "there").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "url", ["", "package.tar.gz", "ftp://host/x", "http://", "http://u:s3cret@host/x", "http://[x"]
)
async def test_paths_that_are_no_urls(refused, url):
    await refused(url, ErrorCode.INVALID_ARGUMENT, "`path`")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def safe_web(certificates):
    """Starts web servers that are made out to localhost, and take a client's certificate if there is one."""
    made = []

    async def start():
        files = certificates.files("web", "localhost")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca_file)
        tls.load_cert_chain(files.certificate_file, files.key_file)
        tls.verify_mode = ssl.CERT_OPTIONAL
        made.append(WebServer())
        await made[-1].start("localhost", tls)
        return made[-1]

    yield start
    for server in made:
        await server.stop()


def shown(server):
    """Certificates of its clients."""
    return [writer.get_extra_info("peercert") for writer in server.serving.values()]


async def test_tls(web, fetch, refused, safe_web, certificates):
    safe = await safe_web()
    safe.pages |= {"/p": page(), "/down": redirect(f"{web.url}/p")}
    web.pages |= {"/p": page(), "/up": redirect(f"{safe.url}/p")}
    ca_file = str(certificates.ca_file)
    await refused(f"{safe.url}/p", text="Certificate")
    await refused(f"{safe.url}/p".replace("localhost", "127.0.0.1"), text="Certificate", ca_file=ca_file)
    await refused(f"{safe.url}/down", text="from https to http", ca_file=ca_file)
    assert web.asked == []
    await refused(
        f"{safe.url}/p", ErrorCode.INVALID_ARGUMENT, r"ca_file: .*none\.pem cannot be read", ca_file="none.pem"
    )
    assert await fetch(f"{safe.url}/p", to="1", ca_file=ca_file) == CONTENT
    assert await fetch(f"{web.url}/up", to="2", ca_file=ca_file) == CONTENT


async def test_the_own_certificate_is_shown_to_the_first_server_only(fetch, refused, safe_web, certificates):
    first, second = await safe_web(), await safe_web()
    first.pages |= {"/p": page(), "/away": redirect(f"{second.url}/p")}
    second.pages |= {"/p": page()}
    own = certificates.options("client", "alice", password="s3cret")
    assert await fetch(f"{first.url}/p", to="1", **own) == CONTENT
    assert await fetch(f"{first.url}/away", to="2", **own) == CONTENT
    assert all("alice" in str(each) for each in shown(first))
    assert shown(second) == [None]
    del own["key_password"]
    await refused(f"{first.url}/p", ErrorCode.INVALID_ARGUMENT, "key_file: .* is encrypted", **own)


@pytest.mark.parametrize(
    "options",
    [{"token": "s3cret\n"}, {"http_headers": {"X\r\n": "s3cret"}}, {"redirects": -1}, {"timeout": 0}, {"retry": {}}],
)
def test_options_that_are_wrong(options):
    with pytest.raises(ValidationError) as caught:
        HttpModelConfig(**options)
    assert "s3cret" not in str(caught.value)


def test_declares_one_source():
    (spec,) = sfs_model_http.sfs_model_sources()
    assert (spec.name, spec.factory) == ("http", "sfs_model_http.source:HttpModelSource")
