"""A running two-party service whose peer sends damaged tables; as a program: damage.py [COUNT], a thousand by default.

Both parties are whole servers with real sockets between them. What one of them sends or is sent is damaged once per
request: a matrix, a ciphertext, a sealed selection, a party's name, anywhere between the parties.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from gmpy2 import mpz
from sfs_op_phe.encrypting import encrypt_graphs
from sfs_op_phe.keys import SecretKey
from sfs_op_phe.okamoto_uchiyama import generate_ou_keys
from sfs_op_phe.wire import integer_to_bytes, read_matrix, tagged, write_array, write_matrix, write_text

from sfs_core import Batch, SfsError, write_package
from sfs_core.codec.execution import ExecuteCall, ExecuteReply
from sfs_core.codec.prediction import FeatureParam, PredictRequest
from sfs_core.config.loader import load
from sfs_core.host.registry import Registry
from sfs_core.model.split import Tree, split_linear, split_trees
from sfs_core.server.app import Server

__all__ = ["Outcomes", "damage_service"]

PARTIES = ("alice", "bob")
TREES = [
    Tree([1, 3, -1, -1, -1], [2, 4, -1, -1, -1], ["a", "b", "", "", ""], [0.5, -1.0, 0, 0, 0], [0, 0, 4.0, 0.5, 2.0]),
    Tree([1, -1, -1], [2, -1, -1], ["b", "", ""], [1.0, 0, 0], [0, 1.5, -0.25]),
]
FEATURES = {"alice": {"a": [0.25, 0.75]}, "bob": {"b": [-3.0, 2.0]}}
OPERATORS = {"sfs-op-phe": {"noise_stock": 0, "workers": 0}}
LONGEST_SECONDS = 60.0
_TABLES = {"linear": 3, "trees": 7}
"""How many tables go between the parties for a request."""

Outcomes = Counter[str]
"""How many damages gave an error, and how many did not touch what was needed."""


# ------------------------------------------------------------------------------------------------- the damage
class Damager:
    """Damages one cell of what goes between parties, when it is armed."""

    def __init__(self, dice: random.Random, modulus: mpz) -> None:
        self._dice = dice
        self._modulus = modulus
        self.wanted = 0
        """Which of the tables that go by is next to be damaged."""
        self.done: str = ""

    def tables(self, where: str, tables: Mapping[str, list[Batch]]) -> dict[str, list[Batch]]:
        """The tables that go on instead."""
        return {name: [self._table(f"{where} {name}", each) for each in its] for name, its in tables.items()}

    def _table(self, where: str, table: Batch) -> Batch:
        self.wanted -= 1
        if self.wanted != 0:
            return table
        (row,) = table.rows()
        column = self._dice.randrange(len(row))
        cell = row[column]
        how, damaged = ("party", "eve") if isinstance(cell, str) else self._cell(cell)
        if damaged == cell:
            self.wanted = 1  # the next one, then
            return table
        self.done = f"{where} {table.schema.names[column]} {how}"
        return Batch.from_rows(table.schema, [(*row[:column], damaged, *row[column + 1 :])])

    def _cell(self, cell: bytes) -> tuple[str, bytes]:
        kinds: dict[str, Callable[[bytes], bytes]] = {
            "cut": lambda data: data[: self._dice.randrange(len(data))] if data else data,
            "longer": lambda data: data + self._dice.randbytes(self._dice.randint(1, 9)),
            "noise": lambda data: self._dice.randbytes(len(data)) if data else data,
            "empty": lambda _: b"",
        }
        if cell[:1] == b"\x94":
            kinds |= {"item": self._item, "shape": self._shape, "claim": self._claim}
        how = self._dice.choice(list(kinds))
        return how, kinds[how](cell)

    def _item(self, cell: bytes) -> bytes:
        matrix = read_matrix(cell)
        items = list(matrix.items)
        at = self._dice.randrange(len(items))
        is_cipher = len(items[at]) > 200
        numbers = [mpz(0), self._modulus, self._modulus + 1, mpz(-7), mpz(1) << 9000]
        if is_cipher:
            numbers.append(mpz(self._dice.randrange(int(self._modulus))))
            made = [tagged(write_array(1) + write_text(integer_to_bytes(number)), 1) for number in numbers]
        else:
            made = [tagged(integer_to_bytes(number), 1) for number in (mpz(1) << 300, -(mpz(1) << 205))]
        made += [items[at][:-8] + b"\4" + bytes(7), items[at][-8:], b"", b"\xff" * 40]
        items[at] = self._dice.choice(made)
        return write_matrix(matrix.rows, matrix.columns, matrix.dimensions, items)

    def _shape(self, cell: bytes) -> bytes:
        matrix = read_matrix(cell)
        more = self._dice.randint(1, 3)
        items = list(matrix.items)
        match self._dice.randrange(3):
            case 0:
                return write_matrix(matrix.rows + more, matrix.columns, 2, items + items[: more * matrix.columns])
            case 1:
                return write_matrix(matrix.columns + more, matrix.rows, 2, items)
            case _:
                return write_matrix(matrix.rows, matrix.columns + 1, 2, items + items[: matrix.rows])

    def _claim(self, cell: bytes) -> bytes:
        """Numbers of rows, columns or items that are not there."""
        huge = b"\xce\xff\xff\xff\xff"
        choices = [b"\x94" + huge + cell[2:], cell[:2] + huge + cell[3:], cell[:4] + b"\xdd\xff\xff\xff\xff" + cell[5:]]
        return self._dice.choice(choices)


def between(server: Server, other: str, damager: Damager) -> None:
    """Have a party's calls to another, and the answers, go through a damager."""
    peer = server.peers[other]
    execute = peer.execute

    def damaging(call: ExecuteCall, timeout: float) -> asyncio.Future[ExecuteReply]:
        call.inputs = damager.tables(f"to execution {call.execution}:", call.inputs)
        return asyncio.ensure_future(answered(execute(call, timeout)))

    async def answered(pending: asyncio.Future[ExecuteReply]) -> ExecuteReply:
        reply = await pending
        single = {name: [table] for name, table in reply.outputs.items()}
        reply.outputs = {name: table for name, (table,) in damager.tables("answer:", single).items()}
        return reply

    peer.execute = damaging  # type: ignore[method-assign]


# ------------------------------------------------------------------------------------------------ the service
def write_configs(folder: Path, keys: Mapping[str, SecretKey]) -> dict[str, Path]:
    """Configs of both parties, which serve an encrypted linear model and encrypted trees."""
    find = Registry.discover().operator
    weights = {party: dict.fromkeys(columns, 0.5) for party, columns in FEATURES.items()}
    owner = {name: party for party, columns in FEATURES.items() for name in columns}
    models = {
        "linear": split_linear(find, weights, label_holder="bob", intercept=0.125),
        "trees": split_trees(find, TREES, owner, parties=PARTIES, label_holder="alice"),
    }
    for name, graphs in models.items():
        for party, graph in encrypt_graphs(graphs, keys).items():
            write_package(folder / f"{party}-{name}.tar.gz", name, "", graph)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in PARTIES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = dict(zip(PARTIES, (each.getsockname()[1] for each in sockets), strict=True))
    return {party: _write_config(folder, party, ports, list(models)) for party in PARTIES}


def _write_config(folder: Path, party: str, ports: Mapping[str, int], models: list[str]) -> Path:
    with (folder / f"{party}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *FEATURES[party]])
        writer.writerows(zip("12", *FEATURES[party].values(), strict=True))
    config = {
        "party": party,
        "listen": {"communication": ports[party]},
        "parties": {name: f"127.0.0.1:{port}" for name, port in ports.items()},
        "cache": str(folder / f"cache-{party}"),
        "operators": OPERATORS,
        "link": {"timeout": LONGEST_SECONDS, "retry": {"retries": 0}, "handshake_interval": 0.1},
        "batching": {"enabled": False},
        "services": [
            {
                "service": name,
                "model": {"source": {"name": "local", "path": str(folder / f"{party}-{name}.tar.gz")}},
                "features": {"source": {"name": "csv", "path": str(folder / f"{party}.csv")}},
            }
            for name in models
        ],
    }
    path = folder / f"{party}.json"
    path.write_text(json.dumps(config))
    return path


async def _scores(server: Server, service: str) -> list[float]:
    request = PredictRequest.of(service, {party: FeatureParam(["1", "2"]) for party in PARTIES})
    reply = await asyncio.wait_for(server.predictor(service).predict(request), 2 * LONGEST_SECONDS)
    scores: list[float] = reply.scores.float64(0).tolist()
    return scores


def _is_right(scores: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) < 1e-6 for a, b in zip(scores, expected, strict=True))


async def damage_service(
    folder: Path, count: int, keys: Mapping[str, SecretKey] | None = None, seed: int = 1, tell: Any = None
) -> Outcomes:
    """Damage `count` requests of a running service, and see that it scores right afterwards.

    Args:
        folder: for packages and configs.
        count: of damages.
        keys: of both parties.
        seed: of the dice.
        tell: called with a line about each damage.

    Raises:
        AssertionError: a score was wrong, or an error is not one of ours.
    """
    keys = keys or {party: generate_ou_keys() for party in PARTIES}
    configs = write_configs(folder, keys)
    servers = {party: Server(load(path)) for party, path in configs.items()}
    expected = {"linear": [-1.25, 1.5], "trees": [0.5 + 1.5, 4.0 - 0.25]}
    dice, outcomes = random.Random(seed), Outcomes()
    damager = Damager(dice, keys["bob"].public.modulus)
    try:
        await asyncio.gather(*(server.start() for server in servers.values()))
        for party, other in (PARTIES, PARTIES[::-1]):
            between(servers[party], other, damager)
        while sum(outcomes.values()) < count:
            service, party = dice.choice(list(expected)), dice.choice(PARTIES)
            damager.wanted, damager.done = dice.randint(1, _TABLES[service]), ""
            outcome = "an error"
            with suppress(SfsError):
                scores = await _scores(servers[party], service)
                assert _is_right(scores, expected[service]), f"{service} at {party}, {damager.done}: {scores}"
                outcome = "not needed" if damager.done else "not damaged"
            outcomes[outcome] += 1
            if tell is not None:
                tell(f"{service} at {party}, {damager.done}: {outcome}")
        damager.wanted = 0
        for party in PARTIES:
            for service, right in expected.items():
                assert _is_right(await _scores(servers[party], service), right)
    finally:
        await asyncio.gather(*(server.stop(grace=0) for server in servers.values()))
    return outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(dict(asyncio.run(damage_service(Path(name), int([*sys.argv, "1000"][1]), tell=print))))
