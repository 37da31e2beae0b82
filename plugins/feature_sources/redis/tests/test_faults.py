"""Servers that die, hang, refuse or have moved: a coded error in time, no secrets, then recovery."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pyarrow as pa
import pytest
import sfs_feature_redis
from pydantic import ValidationError
from sfs_feature_redis.options import without_account
from sfs_feature_redis.source import RedisConfig

from sfs_core import ErrorCode, FeatureQuery, Schema, SfsError

from .conftest import Server

X = Schema([("x", pa.float64())])
ASKED = FeatureQuery(["a"])


@pytest.fixture
def own(tmp_path):
    """Starts servers of this test's own."""
    servers = []

    def start(*lines, **options):
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *lines, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


async def test_a_server_killed_and_back(make, own):
    server = own("appendonly yes")
    server.client().hset("user:a", "x", "1.5")
    source = make(X, url=server.url)
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]
    server.stop()
    for _ in range(2):
        with pytest.raises(SfsError, match="cannot be reached") as caught:
            await source.fetch(ASKED)
        assert caught.value.code == ErrorCode.NETWORK_ERROR
    with pytest.raises(SfsError, match="cannot be reached"):
        await asyncio.to_thread(source.check)
    server.start()
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]
    server.stop()
    server.start()
    assert (await source.fetch(ASKED)).batch.rows() == [(1.5,)]  # a lost connection is renewed unnoticed


async def test_a_server_that_hangs(make, server, store):
    store.hset("user:a", "x", "1.5")
    source = make(X, timeout=0.2)
    server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(SfsError, match="in time") as caught:
            await source.fetch(ASKED)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert caught.value.code == ErrorCode.FS_DEADLINE_EXCEEDED
    assert (await make(X).fetch(ASKED)).batch.rows() == [(1.5,)]


async def test_closing_ends_what_is_under_way(make, server, store):
    source = make(X, timeout=60)
    with pytest.raises(SfsError, match="no row"):
        await source.fetch(ASKED)
    server.process.send_signal(signal.SIGSTOP)
    try:
        waiting = asyncio.ensure_future(source.fetch(ASKED))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(source.close)
        with pytest.raises(SfsError, match="cannot be reached"):
            await waiting
    finally:
        server.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(60):
        while len(store.client_list()) > 1:  # noqa: ASYNC110  the server tells of nothing
            await asyncio.sleep(0.01)


async def test_accounts(make, own):
    server = own(
        "user default off",
        "user sfs on >pa:ss ~user:* +@read +ping",
        "user blind on >pa:ss ~other:* +@all",
        "user mute on >pa:ss ~* +@read",
    )
    address = f"127.0.0.1:{server.port}/0"
    source = make(X, url=f"redis://sfs:pa%3Ass@{address}")
    with pytest.raises(SfsError, match="1 of 1 ids have no row"):
        await source.fetch(ASKED)
    for account in ("sfs:wrong-secret@", ""):
        with pytest.raises(SfsError, match="refuses the account") as caught:
            make(X, url=f"redis://{account}{address}")
        assert caught.value.code == ErrorCode.FS_UNAUTHENTICATED
        assert "secret" not in str(caught.value) + repr(caught.value.__dict__)
    with pytest.raises(SfsError, match="refuses the account"):
        await make(X, url=f"redis://blind:pa%3Ass@{address}").fetch(ASKED)
    apart = make(X, url=f"redis://{address}", user="sfs", password="pa:ss")
    with pytest.raises(SfsError, match="1 of 1 ids have no row"):
        await apart.fetch(ASKED)
    with pytest.raises(SfsError, match="refuses the account"):  # without PING nobody knows what answers what
        make(X, url=f"redis://mute:pa%3Ass@{address}")


async def test_sentinels_say_where_the_server_is(make, own):
    server = own()
    server.client().hset("user:a", "x", "1.5")
    sentinel = own(f"sentinel monitor shop 127.0.0.1 {server.port} 1", sentinel=True)
    options = {"url": "redis://ignored:1/0", "sentinels": [f"127.0.0.1:{sentinel.port}"]}
    assert (await make(X, sentinel_master="shop", **options).fetch(ASKED)).batch.rows() == [(1.5,)]
    with pytest.raises(SfsError, match="cannot be reached"):
        make(X, sentinel_master="stop", **options)


def test_tls_is_asked_for(make, server):
    """The server at hand speaks no TLS: the client's hello must fail on it, and not go on in the clear."""
    with pytest.raises(SfsError) as caught:
        make(X, url=server.url.replace("redis://", "rediss://"), connect_timeout=0.1, timeout=0.1)
    assert caught.value.code in {ErrorCode.NETWORK_ERROR, ErrorCode.FS_DEADLINE_EXCEEDED}


@pytest.mark.parametrize(
    "options",
    [
        {"key": "user"},
        {"key": "{id}:{id}"},
        {"url": "http://s3cret"},
        {"layout": "feast"},
        {"sentinels": ["host:1"]},
        {"sentinels": ["host"], "sentinel_master": "m"},
        {"sentinels": ["host:1"], "sentinel_master": "m", "cluster": True},
        {"ca_file": "ca.pem"},
        {"key_file": "key.pem", "url": "rediss://host"},
        {"user": "sfs"},
        {"password": "s3cret"},
        {"url": "redis://host/shop"},
        {"url": "rediss://:s3cret@host?ssl_cert_reqs=none"},
        {"url": "redis://:s3cret@host/1", "cluster": True},
        {"timeout": 0},
        {"kee": "user:{id}"},
    ],
)
def test_options_that_do_not_fit_together(options):
    with pytest.raises(ValidationError) as caught:
        RedisConfig(**{"url": "redis://:s3cret@host", "key": "user:{id}"} | options)
    assert "s3cret" not in str(caught.value)


async def test_close_needs_no_open_and_may_come_twice(make, store):
    for open_ in (False, True):
        source = make(X, open=open_)
        source.close()
        source.close()
        with pytest.raises(SfsError) as caught:
            await source.fetch(ASKED)
        assert caught.value.code == ErrorCode.NOT_READY


def test_the_declaration_is_light_and_says_what_leaves():
    (spec,) = sfs_feature_redis.sfs_feature_sources()
    assert (spec.name, spec.egress) == ("redis", "ids")
    script = "import sys, sfs_feature_redis as s; s.sfs_feature_sources(); sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://sfs:s3cr@t@db.internal:6379/2?protocol=3", "redis://db.internal:6379/2"),
        ("rediss://:s3cret@db.internal:6379", "rediss://db.internal:6379"),
        ("redis://db.internal?password=s3cret", "redis://db.internal"),
        ("unix://s3cret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_the_log_says_which_server_it_is_and_no_account(url: str, place: str) -> None:
    assert without_account(url) == place
