"""Rolling restart and new models under load: two replicas of each party with two workers each, one after the other.

    .venv/bin/python benchmarks/rolling.py [--protocol baidu_std --protocol h2:grpc ...]

For each protocol between the parties, callers of both parties over HTTP, gRPC and `baidu_std` ask without a pause, and
go where `/ready` says yes (over gRPC: the health service). Meanwhile each replica is ended by SIGTERM and started
again, then all are given a new model one by one. Exits with 1 if anything but right scores of the two models came.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import json
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import grpc.aio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sfs_core.link.framing import FrameCutter, message_of, read_meta, request_frame
from sfs_core.proto.apis_pb2 import PredictRequest, PredictResponse
from tests.server.reloading import COLUMNS, FIRST, IDS, PARTIES, SECOND, admin, second_packages
from tests.support.clusters import ClusterFiles, linear_files
from tests.support.processes import Party, free_ports, running

SERVICE: Final = "secretflow.serving.apis.PredictionService"
PROTOCOLS: Final = ("baidu_std", "http", "http:proto", "h2:grpc")
STOPPING: Final = 2003
"""brpc's code of a server that ends: the call was not run."""
REQUEST: Final = PredictRequest()
REQUEST.service_spec.id = "linear"
for each_party in PARTIES:
    REQUEST.fs_params[each_party].query_datas.extend(IDS)
BODY: Final = REQUEST.SerializeToString()
HEALTH_CHECKED: Final = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
)


# ------------------------------------------------------------------------------------------------------------ callers
class Caller(ABC):
    """One caller of one party, who asks until told to stop.

    Args:
        ports: of the replicas.
        ready: ports that say that they are ready, as somebody else finds out.

    Attributes:
        answers: how often each answer came: scores, or what went wrong.
    """

    def __init__(self, ports: Sequence[int], ready: set[int]) -> None:
        self.answers: Counter[object] = Counter()
        self.stopped = False
        self._ports = ports
        self._ready = ready

    async def run(self) -> None:
        """Ask."""
        while not self.stopped:
            for port in sorted(self._ready.intersection(self._ports)):
                with contextlib.suppress(ConnectionRefusedError):  # nothing was asked: the next one is
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        while not self.stopped and port in self._ready and await self._ask(reader, writer):
                            pass
                    except (OSError, asyncio.IncompleteReadError) as error:
                        self.answers[repr(error)] += 1
                    finally:
                        writer.close()
            await asyncio.sleep(0.01)

    @abstractmethod
    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One question; whether the connection may be used again."""

    def _count(self, body: bytes) -> None:
        answer = PredictResponse.FromString(body)
        scores = tuple(row.scores[0].value for row in answer.results)
        self.answers[scores or f"code {answer.status.code}: {answer.status.msg}"] += 1


class HttpCaller(Caller):
    """Over HTTP, with connections that are kept until the server says otherwise."""

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = f"POST /{SERVICE}/Predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/proto\r\n"
        writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        if " 200 " in lines[0]:
            self._count(body)
        else:
            self.answers[lines[0]] += 1
        return headers.get("connection") != "close"


class BaiduStdCaller(Caller):
    """Over `baidu_std`; a call that was not run is made again elsewhere, as brpc's clients do."""

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(request_frame(SERVICE, "Predict", 1, 60_000, BODY))
        cutter = FrameCutter(1 << 20, 1 << 16)
        frames: list[tuple[bytes, bytes]] = []
        while not frames:
            frames = cutter.feed(await reader.read(1 << 16) or await reader.readexactly(1))
        meta = read_meta(frames[0][0])
        if meta.response.error_code == STOPPING:
            return False
        if meta.response.error_code:
            self.answers[f"brpc {meta.response.error_code}: {meta.response.error_text}"] += 1
        else:
            self._count(message_of(meta, frames[0][1], 1 << 20))
        return True


class GrpcCaller(Caller):
    """Over gRPC, whose client looks after its connections and asks the health service by itself."""

    async def run(self) -> None:
        addresses = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        options = [("grpc.service_config", HEALTH_CHECKED), ("grpc.max_reconnect_backoff_ms", 1000)]
        async with grpc.aio.insecure_channel(f"ipv4:{addresses}", options) as channel:
            call = channel.unary_unary(f"/{SERVICE}/Predict")
            while not self.stopped:
                try:
                    self._count(await call(BODY, timeout=60))
                except grpc.aio.AioRpcError as error:
                    self.answers[f"gRPC {error.code().name}: {error.details()}"] += 1

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raise NotImplementedError


CALLERS: Final[Mapping[str, type[Caller]]] = {"HTTP": HttpCaller, "baidu_std": BaiduStdCaller, "gRPC": GrpcCaller}


async def probe(ready: set[int], parties: Mapping[str, Party]) -> None:
    """Look at `/ready` of all replicas ten times a second."""

    def says_ready(party: Party) -> bool:
        with contextlib.suppress(OSError):
            return party.request("GET", "/ready")[0] == 200
        return False

    while True:
        for party in parties.values():
            said = await asyncio.to_thread(says_ready, party)
            (ready.add if said else ready.discard)(party.service_port)
        await asyncio.sleep(0.1)


# -------------------------------------------------------------------------------------------------------- the rolling
def replicated_files(folder: Path, protocol: str) -> ClusterFiles:
    """Configs of alice, alice2, bob and bob2, and packages of two models."""
    link = {"protocol": protocol, "timeout": 20.0, "handshake_interval": 0.1}
    files = linear_files(folder, IDS, COLUMNS, link=link, shutdown={"notice": 1.0})
    second_packages(files)
    for name in PARTIES:
        replica = files.configs[f"{name}2"] = copy.deepcopy(files.configs[name])
        service, communication = free_ports(2)
        replica["listen"] = {"service": service, "communication": communication}
        replica["admin"] = {"socket": str(folder / "private" / f"{name}2.sock")}
    for config in files.configs.values():
        config["workers"] = 2
        config["parties"] = {
            name: [f"127.0.0.1:{files.communication_port(each)}" for each in (name, f"{name}2")] for name in PARTIES
        }
    return files


async def roll(files: ClusterFiles, parties: Mapping[str, Party]) -> Mapping[str, Counter[object]]:
    """What callers got, by protocol."""
    ready = {party.service_port for party in parties.values()}
    callers = {
        (protocol, name): caller([files.service_port(name), files.service_port(f"{name}2")], ready)
        for protocol, caller in CALLERS.items()
        for name in PARTIES
    }
    asking = [asyncio.ensure_future(caller.run()) for caller in callers.values()]
    probing = asyncio.ensure_future(probe(ready, parties))

    async def answered(scores: tuple[float, ...] | None = None) -> None:
        """Until each caller has 20 answers more, of these scores if given."""
        counts = {
            key: (lambda c=caller: c.answers[scores] if scores else c.answers.total())  # type: ignore[misc]
            for key, caller in callers.items()
        }
        wanted = {key: count() + 20 for key, count in counts.items()}
        async with asyncio.timeout(120):
            while any(count() < wanted[key] for key, count in counts.items()):  # noqa: ASYNC110  processes answer
                await asyncio.sleep(0.02)

    try:
        for party in parties.values():
            await answered(FIRST)
            assert await asyncio.to_thread(party.stop) == 0
            party.start()
            await asyncio.to_thread(party.wait_ready)
        for name in parties:
            await answered()
            package = files.folder / f"{name.rstrip('2')}-second.tar.gz"
            done = await asyncio.to_thread(
                admin, files, "reload", name, "linear", "--path", package, "--version", "second"
            )
            assert done.returncode == 0, done.stderr
        await answered(SECOND)
    finally:
        for caller in callers.values():
            caller.stopped = True
        await asyncio.gather(*asking)
        probing.cancel()
    totals: dict[str, Counter[object]] = {protocol: Counter() for protocol in CALLERS}
    for (protocol, _), caller in callers.items():
        totals[protocol].update(caller.answers)
    return totals


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS, help="between parties; default: each in turn")
    failed = 0
    print("| parties speak | callers speak | first model | second model | failed | s |\n|---|---|---|---|---|---|")
    for protocol in parser.parse_args().protocol or PROTOCOLS:
        with tempfile.TemporaryDirectory() as folder:
            files = replicated_files(Path(folder), protocol)
            begin = time.monotonic()
            with running(files.start("--log-level", "warning")) as parties:
                answers = asyncio.run(roll(files, parties))
            for callers, got in answers.items():
                first, second = got.pop(FIRST), got.pop(SECOND)
                failed += got.total()
                seconds = time.monotonic() - begin
                print(
                    f"| {protocol} | {callers} | {first:,} | {second:,} | {got.total()} | {seconds:.0f} |", flush=True
                )
                for answer, count in got.items():
                    print(f"{count} times: {answer}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
