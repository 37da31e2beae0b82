"""A party's server, assembled: models behind handlers, handlers behind ports, peers behind channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.network import Peer
from sfs_core.config.schema import ServerConfig
from sfs_core.engine.predictor import Predictor
from sfs_core.errors import ErrorCode, GraphError, PeerError, SfsError
from sfs_core.link.channel import open_replicas
from sfs_core.link.listener import Limits, Listener
from sfs_core.link.peer import PeerClient
from sfs_core.link.retry import retry_policy
from sfs_core.link.rpc import Handler, Routes
from sfs_core.link.sniff import WireProtocol
from sfs_core.observe.metrics import Samples
from sfs_core.observe.server_metrics import ServerMetrics
from sfs_core.sdk.hookspecs import PredictionEvent
from sfs_core.server.agreement import Agreements
from sfs_core.server.bulk import ControlService
from sfs_core.server.desired import Desired, plan
from sfs_core.server.execute import ExecuteHandler
from sfs_core.server.gate import Gate, open_gate
from sfs_core.server.gauges import add_gauges
from sfs_core.server.health import alive, communication_pages, service_pages
from sfs_core.server.management import Management
from sfs_core.server.model_info import ModelInfoHandler
from sfs_core.server.observed import ObservedPeer, peer_calls_watch
from sfs_core.server.open_inference import open_inference
from sfs_core.server.openapi import document_pages
from sfs_core.server.predict import PredictHandler
from sfs_core.server.readiness import Readiness
from sfs_core.server.request_log import request_log
from sfs_core.server.served import ServedModels
from sfs_core.server.tls import PartyIdentities, ServerTls, unprotected
from sfs_core.server.versions import ModelVersions

if TYPE_CHECKING:
    from sfs_core.observe.tracing import Tracer

__all__ = ["Server", "quiet_numpy", "warn_of_what_is_open"]

logger = logging.getLogger("sfs.server")

_APIS: Final = "secretflow.serving.apis"
_CONTROL: Final = ("secretflow.serving.tools.InferenceControlService", "Push")


def quiet_numpy() -> None:
    """Infinities and NaN are legal scores: NumPy is not to warn of them, in this thread."""
    np.seterr(all="ignore")


class Server:
    """One party: loads its models, opens its ports, agrees with its peers, answers.

    Args:
        loaded: the config.
        desired: of a worker: what its supervisor wants to be served. It shares its ports with other workers, and
            leaves those for operators to the supervisor.

    Attributes:
        party: this party's id.
        host: what its ports are bound to.
        versions: the models that are open.
        readiness: whether predictions are answered.
        ready: set when every service agreed with every peer and the service port is open.
        control: the helper's side of bulk scoring, where it is configured.
    """

    def __init__(self, loaded: LoadedConfig, desired: Desired | None = None) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._registry = loaded.registry
        self._pool = ThreadPoolExecutor(
            self._config.blocking_threads, thread_name_prefix="sfs-blocking", initializer=quiet_numpy
        )
        self._models = ServedModels()
        self._metrics = _metrics(loaded)
        self._tracer = _tracer(self._config)
        self._watch = peer_calls_watch(self._metrics, self._tracer)
        self._tls = ServerTls(loaded)
        self._identities = PartyIdentities.of(self._config)
        self.readiness = Readiness(self._config.party, self._models)
        self._told_peers = ModelInfoHandler(self._models, self._watch, self._identities)
        self._peers: dict[str, PeerClient] = {}
        self._gate: Gate | None = None
        self._agreements = Agreements(self._config, self._peers, self._metrics)
        self.versions = ModelVersions(loaded, self._models, self._agreements, self._pool, self._metrics)
        self._desired = desired
        self._management: Management | None = None
        self._exposer: Listener | None = None
        self._probed: Listener | None = None
        self._communication: Listener | None = None
        self._service: Listener | None = None
        self._grpc: Listener | None = None
        self.party = self._config.party
        self.host = self._config.listen.host
        self.ready = asyncio.Event()
        self.control: ControlService | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """Ids of the services."""
        return tuple(self._models)

    @property
    def _is_worker(self) -> bool:
        return self._desired is not None

    @property
    def service_port(self) -> int | None:
        """The port that answers predictions; None where there is none, or not yet."""
        return self._service.port if self._service else None

    @property
    def communication_port(self) -> int | None:
        """The port that answers peers; None before it is open."""
        return self._communication.port if self._communication else None

    @property
    def metrics_port(self) -> int | None:
        """The port that Prometheus reads; None where there is none, or not yet."""
        return self._exposer.port if self._exposer else None

    @property
    def health_port(self) -> int | None:
        """The port that says how this party is and nothing else; None where there is none, or not yet."""
        return self._probed.port if self._probed else None

    @property
    def grpc_port(self) -> int | None:
        """The port for gRPC alone; None where there is none, or not yet."""
        return self._grpc.port if self._grpc else None

    async def start(self) -> None:
        """Load, open, agree; returns when predictions are answered.

        Raises:
            SfsError: anything that keeps this party from serving; it is then closed again.
        """
        try:
            desired = self._begin_management() if self._desired is None else self._desired
            await self.versions.load_all(plan(self._loaded, desired))
            self.readiness.start()
            await self._open_for_operators()
            await self._open_communication()
            await self._agree_on_all()
            await self._open_for_callers()
            self.versions.agree_again()
            if self._management is not None:
                await self._management.start()
        except BaseException:
            await self.stop(grace=0)
            raise
        self.ready.set()
        self.readiness.answer()
        self._registry.notify_server_started(self)

    def _begin_management(self) -> Desired:
        warn_of_what_is_open(self._config)
        self._management = Management(self._loaded, [self.versions], self._tls)
        self.versions.fell_back = self._management.manager.fell_back
        return self._management.manager.desired

    async def _open_for_operators(self) -> None:
        listen = self._config.listen
        if self._metrics is not None:
            add_gauges(self._metrics, self._models, self.readiness, self._ports)
        if self._is_worker:
            return
        if listen.metrics is not None and self._metrics is not None:
            routes = Routes({}, {"/metrics": self._metrics.page, "/health": alive})
            self._exposer = Listener(
                routes, name="metrics", protocols=[WireProtocol.HTTP1], tls=self._tls.of_port("metrics")
            )
            await self._exposer.start(listen.host, listen.metrics)
        if listen.health is not None:
            self._probed = Listener(
                Routes({}, communication_pages(self.readiness.page)), name="health", protocols=[WireProtocol.HTTP1]
            )
            await self._probed.start(listen.host, listen.health)

    def _ports(self) -> Mapping[str, Listener]:
        """The ports that answer calls, as far as they are open."""
        ports = {"service": self._service, "grpc": self._grpc, "communication": self._communication}
        return {name: listener for name, listener in ports.items() if listener is not None}

    def _peer(self, party: str, peer: Peer) -> PeerClient:
        link = self._config.link
        channel = open_replicas(
            party,
            peer.address,
            link.protocol,
            base_directory=self._loaded.base_directory,
            connect_timeout=link.connect_timeout,
            retry=retry_policy(link.retry),
            tls=self._tls.with_peer(party),
            connections=peer.connections,
        )
        if self._metrics is None and self._tracer is None and self._config.logging.slow is None:
            return PeerClient(party, channel, link.request_entries)
        return ObservedPeer(self.party, party, channel, self._metrics, self._tracer, link.request_entries)

    async def _open_communication(self) -> None:
        self._peers |= {
            party: self._peer(party, peer) for party, peer in self._config.parties.items() if party != self.party
        }
        handlers: dict[tuple[str, str], Handler] = {
            (f"{_APIS}.ExecutionService", "Execute"): ExecuteHandler(
                self._models,
                self._config.limits.max_rows,
                self._identities,
                self._watch,
                self._config.link.answer_entries,
            ),
            (f"{_APIS}.ModelService", "GetModelInfo"): self._told_peers,
        }
        bulk = self._config.bulk_scoring
        if bulk is not None and bulk.requester != self.party:
            self.control = ControlService(bulk.requester, self._rows_when_ready, self._identities)
            handlers[_CONTROL] = self.control
        routes = Routes(handlers, communication_pages(self.readiness.page))
        self._communication = Listener(
            routes, limits=self._limits(), name="communication", serving=False, tls=self._tls.of_port("communication")
        )
        listen = self._config.listen
        await self._communication.start(listen.host, listen.communication, share_port=self._is_worker)
        logger.info("%s: peers are answered at %s:%d", self.party, listen.host, self._communication.port)

    def _limits(self, target_seconds: float | None = None) -> Limits:
        limits = self._config.limits
        return Limits(
            max_body=limits.max_body,
            max_calls=limits.max_concurrency,
            max_bytes=limits.max_bytes or 4 * limits.max_body,
            target_seconds=target_seconds,
            write_timeout=limits.write_timeout,
        )

    def _rows_when_ready(self) -> int | None:
        return self.row_count() if self.ready.is_set() else None

    async def _agree_on_all(self) -> None:
        try:
            await asyncio.gather(*(self._agreements.reach(model) for model in self._models.values()))
        except (GraphError, PeerError) as error:
            if isinstance(error, GraphError) or error.code == ErrorCode.NOT_FOUND:
                logger.warning(
                    "%s cannot serve with its peers: %s; it ends when they know", self.party, error.public_text()
                )
                await self._let_peers_see()
            raise

    async def _let_peers_see(self) -> None:
        """Answer peers a little longer: who finds this party gone would wait for it, and not learn what is wrong."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.link.handshake_interval):
                for _ in range(len(self._peers) * len(self._models)):
                    await self._told_peers.answered.acquire()

    async def _open_for_callers(self) -> None:
        assert self._communication is not None
        await self._communication.set_serving(True)
        if self._config.callers is not None:
            self._gate = await asyncio.get_running_loop().run_in_executor(None, open_gate, self._loaded)
            self.readiness.can_record = self._gate.can_record
        timeout = self._config.limits.timeout
        predict = PredictHandler(
            self.party, self._models, self._observers(), self._tracer, self._gate, timeout, self._metrics
        )
        handlers: dict[tuple[str, str], Handler] = {
            (f"{_APIS}.PredictionService", "Predict"): predict,
            (f"{_APIS}.ModelService", "GetModelInfo"): ModelInfoHandler(self._models, self._watch, gate=self._gate),
        }
        inference = open_inference(predict, self._models, self._config.parties, self.readiness, self._gate)
        routes = Routes(handlers, {**service_pages(self.readiness.page), **document_pages()}, inference)
        limits = self._limits(self._config.limits.target_latency)
        listen = self._config.listen
        if listen.service is not None:
            self._service = Listener(routes, limits=limits, name="service", tls=self._tls.of_port("service"))
            await self._service.start(listen.host, listen.service, share_port=self._is_worker)
            logger.info("%s: callers are answered at %s:%d", self.party, listen.host, self._service.port)
        if listen.grpc is not None:
            self._grpc = Listener(
                routes,
                limits=limits,
                name="grpc",
                protocols=[WireProtocol.HTTP2],
                tls=self._tls.of_port("grpc"),
            )
            await self._grpc.start(listen.host, listen.grpc, share_port=self._is_worker)
            logger.info("%s: callers are answered over gRPC at %s:%d", self.party, listen.host, self._grpc.port)

    def _observers(self) -> list[Callable[[PredictionEvent], None]]:
        """What is to be told of every prediction."""
        log = request_log(self._config.logging)
        return [*([log] if log else []), *self._registry.prediction_observers]

    def predictor(self, service: str) -> Predictor:
        """The predictor of a service that is ready.

        Raises:
            SfsError: there is none, or not yet.
        """
        model = self._models.get(service)
        if model is None or model.predictor is None:
            raise SfsError(f"service {service!r} is not ready")
        return model.predictor

    def row_count(self) -> int:
        """Rows that the first service's feature source holds for bulk scoring; -1 for any number."""
        source = next((model.executor.features.source for model in self._models.values()), None)
        return source.row_count if source else -1

    def samples(self) -> list[Samples]:
        """What was counted so far."""
        return self._metrics.samples() if self._metrics is not None else []

    @property
    def peer_timeout(self) -> float:
        """Seconds that a peer may take for one call."""
        return self._config.link.timeout

    @property
    def peers(self) -> dict[str, PeerClient]:
        """The other parties."""
        return self._peers

    @property
    def scheme(self) -> str:
        """`https` where callers are answered over TLS, else `http`."""
        return "https" if self._config.listen.tls_of("service") else "http"

    def refresh_certificates(self, *, force: bool = False) -> None:
        """Have new connections use certificates whose files changed, or all that are there now (`force`)."""
        self._tls.refresh(force=force)

    async def stop(self, grace: float | None = None) -> None:
        """Say that this party is not ready any more, finish calls under way, then close everything.

        Args:
            grace: seconds for calls under way; by default, and how long it is said before, as the config says.
        """
        shutdown = self._config.shutdown
        self.readiness.retire()
        listeners = (self._service, self._grpc, self._communication, self._probed, self._exposer)
        opened = [listener for listener in listeners if listener is not None]
        if self.ready.is_set():
            self.ready.clear()
            self._registry.notify_server_stopping(self)
            for listener in opened:
                if listener is self._communication:
                    # Peers keep their connections: they would connect anew here, and meet the port's closing.
                    await listener.set_serving(False)
                else:
                    await listener.retire()
            await asyncio.sleep(shutdown.notice)
        for listener in opened:
            await listener.stop(shutdown.grace if grace is None else grace)
        self.readiness.stop()
        if self._management is not None:
            await self._management.stop()
        await self._agreements.close()
        for peer in self._peers.values():
            await peer.close()
        await self.versions.close()
        for part in (self._tracer, self._gate):
            if part is not None:
                await asyncio.get_running_loop().run_in_executor(None, part.close)
        self._pool.shutdown(wait=False, cancel_futures=True)


def warn_of_what_is_open(config: ServerConfig) -> None:
    """Say in the log what anybody on the network could do."""
    ports = [
        name for name in ("communication", "service", "grpc", "metrics") if getattr(config.listen, name) is not None
    ]
    for sentence in unprotected(config, ports):
        logger.warning("%s: NOT PROTECTED: %s; see docs/security.md", config.party, sentence)


def _metrics(loaded: LoadedConfig) -> ServerMetrics | None:
    config = loaded.config
    if config.listen.metrics is None:
        return None
    return ServerMetrics(config.party, [each.config.service for each in loaded.services], config.parties)


def _tracer(config: ServerConfig) -> Tracer | None:
    if config.tracing is None:
        return None
    from sfs_core.observe.tracing import Tracer  # noqa: PLC0415 - it brings OpenTelemetry along

    return Tracer(config.party, config.tracing)
