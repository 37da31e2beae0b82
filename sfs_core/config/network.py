"""The parts of a config about ports, peers, calls between them, and how much anybody may ask."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from sfs_core.config.address import read_address, read_replicas
from sfs_core.config.option_types import Bytes, Port, Seconds
from sfs_core.config.tls import ClientTls, PeerTls, ServerTls
from sfs_core.sdk.context import PluginConfig

__all__ = ["Limits", "Link", "Listen", "Peer", "Retry"]

_PROTOCOLS: Final = ("baidu_std", "http", "http:proto", "h2:grpc")


def _address(value: str | list[str]) -> str | list[str]:
    if isinstance(value, str):
        read_replicas(value)
    elif len({read_address(each).scheme for each in value}) > 1:
        raise ValueError("all addresses of a party begin with https://, or none does")
    return value


class Listen(PluginConfig):
    """Ports of this party."""

    host: str = "127.0.0.1"
    """Address that all ports are bound to."""
    service: Port | None = None
    """Port for callers; absent: this party answers peers only. 0 takes any free one."""
    grpc: Port | None = None
    """Port for callers that speak gRPC and nothing else; the service port speaks it too. 0 takes any free one."""
    communication: Port
    """Port for the other parties. 0 takes any free one."""
    metrics: Port | None = None
    """Port for Prometheus, path `/metrics`; absent: nothing is counted. 0 takes any free one."""
    health: Port | None = None
    """Port for probes, paths `/health` and `/ready` and nothing else; always plain HTTP. The ports `service` and
    `communication` answer them too. 0 takes any free one."""
    tls: ServerTls | None = None
    """TLS on every port; without `link.tls` also of calls to peers. Absent: ports without their own are plain."""
    service_tls: ServerTls | None = None
    """TLS on the ports for callers (`service` and `grpc`), instead of `tls`."""
    communication_tls: ServerTls | None = None
    """TLS on the communication port, instead of `tls`."""
    metrics_tls: ServerTls | None = None
    """TLS on the metrics port, instead of `tls`."""

    def tls_of(self, port: str) -> ServerTls | None:
        """TLS of the port `service`, `grpc`, `communication` or `metrics`; None where that is plain."""
        own: ServerTls | None = getattr(self, f"{'service' if port == 'grpc' else port}_tls")
        return own or self.tls

    @model_validator(mode="after")
    def _different(self) -> Listen:
        given = (self.service, self.grpc, self.communication, self.metrics, self.health)
        ports = [port for port in given if port]
        if len(set(ports)) < len(ports):
            raise ValueError("service, grpc, communication, metrics and health need different ports")
        return self


def _peer_tls(value: Any) -> Any:
    return {"enabled": False} if value is False else value


class Peer(PluginConfig):
    """Where a party listens to the others."""

    address: Annotated[str | Annotated[list[str], Field(min_length=1)], AfterValidator(_address)]
    """`host:port` of its communication port, also with `http://` or `https://` before it. Of a party with several
    replicas a list of them, `dns:` before the address of a name that stands for all and is looked up again, or `file:`
    before the name of a file with one address a line, which is watched. See docs/operations.md."""
    tls: Annotated[
        PeerTls | None, BeforeValidator(_peer_tls, json_schema_input_type=PeerTls | Literal[False] | None)
    ] = None
    """TLS with this party; `false` for none, although others are spoken to over TLS."""
    connections: int = Field(default=1, ge=1, le=64)
    """Connections to each of its addresses, over `baidu_std` and gRPC. One carries any number of calls, but all of them
    to one process: with several, more of the party's `workers` are asked. See docs/operations.md."""

    @property
    def known_addresses(self) -> list[str]:
        """The addresses that are written here; none where a file has them."""
        if not isinstance(self.address, str):
            return self.address
        how, what = read_replicas(self.address)
        return [] if how == "file" else [what]

    @property
    def scheme(self) -> str:
        """`http`, `https`, or empty where none is written."""
        return next((read_address(address).scheme for address in self.known_addresses), "")


class Retry(PluginConfig):
    """When a call to a peer is tried again."""

    retries: int = Field(default=3, ge=0)
    """Attempts after the first; 0 for none."""
    backoff: Literal["fixed", "exponential", "random"] = "fixed"
    """How long to wait before each: always `interval`, growing by `factor`, or random up to `longest`."""
    interval: Seconds = 0.01
    """The wait (fixed), the first wait (exponential) or the least wait (random)."""
    factor: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    """Growth of the wait (exponential)."""
    longest: Seconds = 0.05
    """The longest wait (random)."""
    unavailable: bool = False
    """Also after HTTP statuses that usually pass: 408, 429, 500, 502, 503, 504."""
    anything: bool = False
    """Also after any other failure but a time limit; calls may then run twice."""
    budget: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    """Retries per call to a peer in the long run, so that a peer in trouble is not asked ever more; ten, or
    `retries`, may be made beyond that."""

    @model_validator(mode="after")
    def _ordered(self) -> Retry:
        if self.backoff == "random" and self.longest < self.interval:
            raise ValueError("longest is less than interval")
        return self


class Link(PluginConfig):
    """How peers are called."""

    protocol: str = "baidu_std"
    """`baidu_std`, `http` (JSON), `http:proto` or `h2:grpc`. Incoming calls may use any of them."""
    timeout: Seconds = 2.0
    """For one call to a peer, retries included."""
    connect_timeout: Seconds = 0.5
    """For opening a connection to a peer."""
    handshake_attempts: int = Field(default=60, ge=1)
    """With `handshake_interval`: how long peers are waited for at the start."""
    handshake_interval: Seconds = 5.0
    """The longest wait between two questions whether a peer is there."""
    retry: Retry = Retry()
    """When a call is tried again."""
    tls: ClientTls | None = None
    """TLS of calls to every peer. Absent: as `listen` says for the communication port."""

    headers: list[str] | None = None
    """Names of the entries of a request's header that peers are told, besides those for tracing. Absent: all, as the
    reference does."""
    answer_headers: list[str] | None = None
    """Names of the header entries that feature services answer with and that leave this party: to peers and to callers,
    peers' entries included. Absent: all, as the reference does."""

    @property
    def request_entries(self) -> frozenset[str] | None:
        """`headers`."""
        return None if self.headers is None else frozenset(self.headers)

    @property
    def answer_entries(self) -> frozenset[str] | None:
        """`answer_headers`."""
        return None if self.answer_headers is None else frozenset(self.answer_headers)

    @field_validator("protocol")
    @classmethod
    def _known(cls, value: str) -> str:
        if value in ("h2", "grpc"):
            raise ValueError(f"{value!r} is not spoken here; gRPC is called h2:grpc")
        if value not in _PROTOCOLS:
            raise ValueError(f"one of {', '.join(_PROTOCOLS)} is expected")
        return value


class Limits(PluginConfig):
    """What one caller or peer may ask of this party."""

    max_rows: int = Field(default=100_000, gt=0)
    """Rows in one prediction request, and in one call of a peer."""
    max_body: Bytes = 64 << 20
    """Bytes in one request, after decompression."""
    max_concurrency: int = Field(default=10_000, gt=0)
    """Calls under way at a time, on each port; further ones are refused."""
    max_bytes: Bytes | None = None
    """Bytes of requests that are being received or answered at a time, on each port; further ones are refused.
    Absent: four times `max_body`."""
    max_waiting_rows: int = Field(default=1_000_000, gt=0)
    """Rows of one service that wait for a round, see `batching`; further requests are refused."""
    target_latency: Seconds | None = 0.05
    """How long predictions may take before fewer are let in at a time (64 always are, 32 where most are refused) and
    the others refused; where they take longer without load, twice as long as that. null: only `max_concurrency`. See
    docs/operations.md."""
    timeout: Seconds = 60.0
    """For a prediction whose caller does not say how long it is going to wait (`X-Request-Timeout`, gRPC's and
    `baidu_std`'s time limits). One call to a peer has at most `link.timeout` of it."""
    write_timeout: Seconds = 30.0
    """How long a client may take nothing of what has piled up for it, before it is hung up on."""

    @model_validator(mode="after")
    def _consistent(self) -> Limits:
        if self.max_bytes is not None and self.max_bytes < self.max_body:
            raise ValueError("max_bytes is less than max_body, so that the largest requests would never be read")
        return self
