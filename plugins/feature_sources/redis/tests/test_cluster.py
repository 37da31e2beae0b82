"""Two nodes of a real Redis Cluster: rows from both, keys that move, nodes that die, answers that nobody asked for."""

from __future__ import annotations

import asyncio
import time

import pyarrow as pa
import pytest
from redis.crc import key_slot

from sfs_core import ConfigError, ErrorCode, FeatureQuery, Schema, SfsError
from tests.support.relay import FaultyRelay

from .conftest import Server

X = Schema([("x", pa.float64())])
IDS = [str(i) for i in range(40)]
ROWS = [(float(id_),) for id_ in IDS]
HALF = 8192
ON_FIRST = [id_ for id_ in IDS if key_slot(f"user:{id_}".encode()) < HALF]


@pytest.fixture(scope="module")
def relay():
    """Stands before the second node, and is the address that this one tells."""
    made = FaultyRelay(0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, relay):
    """Two nodes with half of the slots each, and the rows."""
    told = ["", f"cluster-announce-port {relay.port}"]
    # A node that starts says no for two seconds, but for this option.
    common = ["cluster-enabled yes", "appendonly yes", "cluster-allow-reads-when-down yes"]
    made = [Server(tmp_path_factory.mktemp("node"), *common, each) for each in told]
    relay.target = made[1].port
    clients = [node.client() for node in made]
    for client, slots in zip(clients, (range(HALF), range(HALF, 2 * HALF)), strict=True):
        client.execute_command("CLUSTER", "ADDSLOTS", *slots)
    clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", made[1].port)
    until_ok(clients)
    for id_ in IDS:
        clients[id_ not in ON_FIRST].hset(f"user:{id_}", "x", id_)
    yield made
    for client in clients:
        client.close()
    for node in made:
        node.stop()


def until_ok(clients):
    for client in clients:
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            time.sleep(0.01)


def move(nodes, id_, source, target, *, whole=True):
    """Move the slot of an id, with its only key; not `whole`: up to the point where the nodes still wait for more."""
    clients = [node.client() for node in nodes]
    names = [client.execute_command("CLUSTER", "MYID") for client in clients]
    slot = key_slot(f"user:{id_}".encode())
    clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    clients[source].migrate("127.0.0.1", nodes[target].port, f"user:{id_}", 0, 60_000)
    if whole:
        for client in (clients[target], clients[source]):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
    for client in clients:
        client.close()


@pytest.fixture
def make_on(make, nodes):
    return lambda **options: make(X, **{"url": nodes[0].url, "cluster": True, "timeout": 60} | options)


async def rows(source, ids=IDS):
    return (await source.fetch(FeatureQuery(list(ids)))).batch.rows()


async def test_rows_come_from_all_nodes_in_query_order(make_on):
    assert 0 < len(ON_FIRST) < len(IDS)
    source = make_on(pool_size=2)
    shuffled = [*IDS[::-1], *IDS[::3]]
    assert await rows(source, shuffled) == [(float(id_),) for id_ in shuffled]
    assert await rows(source, []) == []
    many = await asyncio.gather(*(rows(source) for _ in range(20)))  # more than there may be connections
    assert many == [ROWS] * 20
    with pytest.raises(SfsError, match=r"1 of 2 ids have no row in Redis \(request rows 1\)"):
        await rows(source, ["1", "none"])
    await asyncio.to_thread(source.check)


async def test_keys_that_move_to_another_node(make_on, nodes):
    source = make_on()
    assert await rows(source) == ROWS
    for whole in (False, True):
        moving = ON_FIRST[whole]
        move(nodes, moving, 0, 1, whole=whole)
        for _ in range(2):
            assert await rows(source) == ROWS


@pytest.mark.parametrize("extra", [b"*1\r\n$1\r\n7\r\n", b":7\r\n", b"$-1\r\n"])
async def test_answers_that_nobody_asked_for_shift_no_row(make_on, relay, extra):
    source = make_on(pool_size=1)
    assert await rows(source) == ROWS
    for damage in (lambda data: extra + data, lambda data: data + extra):
        relay.damage = damage
        for _ in range(2):
            (found,) = await asyncio.gather(rows(source), return_exceptions=True)
            code = found.code if isinstance(found, SfsError) else None
            assert found == ROWS or code in {ErrorCode.FS_INTERNAL_ERROR, ErrorCode.NETWORK_ERROR}
        relay.damage = None
        found = [await asyncio.gather(rows(source), return_exceptions=True) for _ in range(3)]
        assert found[-1] == [ROWS]


async def test_a_node_killed_and_back(make_on, nodes):
    source = make_on()
    assert await rows(source) == ROWS
    nodes[1].stop()
    with pytest.raises(SfsError) as caught:
        await rows(source)
    assert caught.value.code == ErrorCode.NETWORK_ERROR
    nodes[1].start()
    assert await rows(source) == ROWS


async def test_a_server_that_is_no_cluster(make, server):
    with pytest.raises(SfsError, match="no node of a Redis Cluster"):
        make(X, url=server.url, cluster=True)


@pytest.mark.parametrize("url", ["redis://host/1", "redis://host?db=1", "unix:///socket"])
def test_what_no_cluster_has(make, url):
    with pytest.raises((ConfigError, ValueError), match="no database but 0"):
        make(X, url=url, cluster=True)
