"""The process of a server with several workers that a person or a system starts: it starts those that serve.

It answers no predictions and no peers. It starts workers again that end, has them all do what they are told or none,
and answers for all of them where operators ask: metrics, health, commands.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final

import orjson

from sfs_core.config.loaded import LoadedConfig
from sfs_core.errors import ConfigError, ErrorCode, SfsError
from sfs_core.link.listener import Listener
from sfs_core.link.rpc import CallInfo, Resource, Routes, WebAnswer
from sfs_core.link.sniff import WireProtocol
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.server.admin import WorkerStatus
from sfs_core.server.app import warn_of_what_is_open
from sfs_core.server.control import Start
from sfs_core.server.gauges import add_worker_metrics
from sfs_core.server.health import alive, communication_pages
from sfs_core.server.management import Management
from sfs_core.server.tls import ServerTls
from sfs_core.server.worker_process import WorkerProcess

__all__ = ["Supervisor"]

logger = logging.getLogger("sfs.workers")

FIRST_PAUSE: Final = 0.1
"""Seconds before a worker that ended is started again; doubled from one end to the next."""
LONGEST_PAUSE: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A worker that served for so long is started again as if it were the first time."""
MOST_CRASHES: Final = 5
"""In a row, of a worker that has not begun to serve, before the server gives up, if no other worker serves."""
LONGER_SECONDS: Final = 10.0
"""What workers get to end beyond the time that they have for calls, before they are killed."""
WATCH_SECONDS: Final = 5.0
"""Between two looks at whether a worker hangs."""
CERTIFICATE_SECONDS: Final = 2.0


class Supervisor:
    """Keeps `workers` processes running.

    Args:
        loaded: the config.

    Attributes:
        party: this party's id.
        host: what its ports are bound to.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded
        self._config = config = loaded.config
        self.party, self.host = config.party, config.listen.host
        self._tls = ServerTls(loaded)
        self._workers = [
            WorkerProcess(number, self._changed, self._fell_back) for number in range(1, config.workers + 1)
        ]
        self._management = Management(loaded, self._workers, self._tls, self._status)
        self._metrics = ServerMetrics(self.party, [], config.parties)
        self._restarts = add_worker_metrics(self._metrics, self._count_up)
        self._ports: dict[str, int] = {}
        self._stopping = False

    def _count_up(self) -> int:
        return sum(worker.is_up for worker in self._workers)

    @property
    def services(self) -> tuple[str, ...]:
        """Ids of the services, as far as the workers tell."""
        return tuple(sorted({name for worker in self._workers for name in worker.page.get("services", ())}))

    @property
    def service_port(self) -> int | None:
        """The port that answers predictions, if there is one."""
        return self._ports.get("service")

    @property
    def grpc_port(self) -> int | None:
        """The port for gRPC alone, if there is one."""
        return self._ports.get("grpc")

    @property
    def scheme(self) -> str:
        """`https` where callers are answered over TLS, else `http`."""
        return "https" if self._config.listen.tls_of("service") else "http"

    # --------------------------------------------------------------------------------------------------- running
    async def run(self, started: Callable[[Supervisor], None]) -> None:
        """Serve until SIGINT or SIGTERM; SIGHUP has certificates read again.

        Args:
            started: called when all workers serve.

        Raises:
            SfsError: the workers cannot serve, or no longer; all have ended.
        """
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        warn_of_what_is_open(self._config)
        with ExitStack() as reserved:
            for name in ("service", "grpc", "communication"):
                port = getattr(self._config.listen, name)
                if port is not None:
                    self._ports[name] = reserved.enter_context(_reserved(self.host, port, name)).getsockname()[1]
            listeners = await self._open_for_operators()
            keeping = [asyncio.ensure_future(self._keep(worker)) for worker in self._workers]
            watching = (self._watch(worker) for worker in self._workers)
            others = [asyncio.ensure_future(each) for each in (stopped.wait(), self._follow_certificates(), *watching)]
            starting = asyncio.ensure_future(self._start(started))
            try:
                await _until_first([starting, others[0]], keeping)
                await _until_first([others[0]], keeping)
            finally:
                self._stopping = True
                for task in (starting, *others):
                    task.cancel()
                await asyncio.gather(starting, *others, return_exceptions=True)
                await self._management.stop()
                await self._end_workers(keeping)
                for listener in listeners:
                    await listener.stop(0)

    async def _start(self, started: Callable[[Supervisor], None]) -> None:
        for worker in self._workers:
            await worker.wait_up()
        await self._management.start()
        started(self)

    async def _keep(self, worker: WorkerProcess) -> None:
        """Have a worker run, one process after the other.

        Raises:
            SfsError: it cannot begin to serve, and no other worker serves.
        """
        pauses = _pauses()
        crashes = 0
        while not self._stopping:
            began, manager = time.monotonic(), self._management.manager
            start = Start(manager.desired, self._ports, self._not_ready())
            code = await worker.run(start, partial(self._is_stale, manager.generation))
            if self._stopping:
                return
            crashes = 0 if worker.served else crashes + 1
            if worker.was_stale:
                continue
            error = worker.error or SfsError(
                f"worker {worker.number} ended {crashes} times before it served, {_cause(code)}",
                hint="its log may say why; is there memory enough for all workers?",
            )
            if (worker.error is not None or crashes >= MOST_CRASHES) and not self._count_up():
                raise error
            if time.monotonic() - began > STEADY_SECONDS:
                pauses = _pauses()
            pause = next(pauses)
            why = worker.error.public_text() if worker.error is not None else _cause(code)
            logger.error("worker %d ended: %s; it is started again in %g s", worker.number, why, pause)
            await asyncio.sleep(pause)
            worker.restarts += 1
            self._restarts.add()

    def _is_stale(self, generation: int) -> bool:
        return self._management.manager.generation != generation

    async def _end_workers(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        """Have all workers finish their calls; who takes too long is killed."""
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        shutdown = self._config.shutdown
        for task, worker in zip(keeping, self._workers, strict=True):
            if not worker.is_running:  # it may be waiting to be started again
                task.cancel()
        _, left = await asyncio.wait(keeping, timeout=shutdown.notice + shutdown.grace + LONGER_SECONDS)
        for task, worker in zip(keeping, self._workers, strict=True):
            if task in left:
                logger.error("worker %d does not end, it is killed", worker.number)
                worker.signal(signal.SIGKILL)
        await asyncio.gather(*keeping, return_exceptions=True)

    async def _watch(self, worker: WorkerProcess) -> None:
        """Kill a worker that hangs; it is then started again."""
        while True:
            await worker.wait_up()
            if not await worker.answers():
                logger.error("worker %d hangs, it is killed", worker.number)
                worker.signal(signal.SIGKILL)
            await asyncio.sleep(WATCH_SECONDS)

    async def _follow_certificates(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            self._tls.refresh()

    def _hang_up(self) -> None:
        self._tls.refresh(force=True)
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    def _fell_back(self, service: str, id_: str) -> None:
        self._management.manager.fell_back(service, id_)

    # ------------------------------------------------------------------------------------------ telling operators
    async def _open_for_operators(self) -> list[Listener]:
        listen = self._config.listen
        listeners = []
        if listen.metrics is not None:
            routes = Routes({}, {"/health": alive}, [Resource("GET", "/metrics", self._metrics_page)])
            tls = self._tls.of_port("metrics")
            exposer = Listener(routes, name="metrics", protocols=[WireProtocol.HTTP1], tls=tls)
            await exposer.start(listen.host, listen.metrics)
            listeners.append(exposer)
        if listen.health is not None:
            probed = Listener(
                Routes({}, communication_pages(self._ready_page)), name="health", protocols=[WireProtocol.HTTP1]
            )
            await probed.start(listen.host, listen.health)
            listeners.append(probed)
        return listeners

    async def _metrics_page(self, _body: bytes, _info: CallInfo) -> WebAnswer:
        workers = await asyncio.gather(*(worker.samples() for worker in self._workers))
        return WebAnswer(*self._metrics.page(workers))

    def _not_ready(self) -> list[int]:
        return [worker.number for worker in self._workers if not worker.is_ready]

    def _ready_page(self) -> tuple[int, str, bytes]:
        not_ready = self._not_ready()
        pages = {str(worker.number): worker.page for worker in self._workers}
        ready = not not_ready and not self._stopping
        body = {"ready": ready, "workers_not_ready": not_ready, "stopping": self._stopping, "workers": pages}
        return 200 if ready else 503, "application/json", orjson.dumps(body)

    def _changed(self) -> None:
        """A worker began, ended, or says something else of itself: the others' `/ready` tells it, too."""
        not_ready = self._not_ready()
        for worker in self._workers:
            worker.tell_others(not_ready)

    def _status(self) -> list[WorkerStatus]:
        return [WorkerStatus(each.number, each.pid, each.is_up, each.restarts) for each in self._workers]


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _cause(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"


def _reserved(host: str, port: int, name: str) -> socket.socket:
    """A socket that keeps a port for the workers while none listens.

    Raises:
        ConfigError: the port cannot be listened on, or somebody does already.
    """
    reserving = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family) as probe:  # a port that is shared does not tell of others that share it
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = (host, probe.getsockname()[1], *address[2:])
        reserving = socket.socket(family)
        reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserving.bind(address)
    except OSError as error:
        if reserving is not None:
            reserving.close()
        raise ConfigError(
            f"the {name} port cannot listen on {host}:{port}: {error.strerror or type(error).__name__}",
            code=ErrorCode.IO_ERROR,
            hint="choose a free port and an address of this machine",
        ) from None
    return reserving


async def _until_first(awaited: Sequence[asyncio.Future[Any]], keeping: Sequence[asyncio.Future[None]]) -> None:
    """Wait for the first of them; raise what it raised."""
    done, _ = await asyncio.wait([*awaited, *keeping], return_when=asyncio.FIRST_COMPLETED)
    for future in done:
        future.result()
