"""What a config may say: one file per party."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sfs_core.config.address import read_address, read_replicas
from sfs_core.config.callers import AuthenticatorChoice, Callers
from sfs_core.config.option_types import Bytes, FilePath, Id, Port, Seconds
from sfs_core.config.source_choice import SourceChoice
from sfs_core.config.telemetry import Logging, Tracing
from sfs_core.config.tls import ClientTls, PeerTls, ServerTls, identity_names
from sfs_core.sdk.context import PluginConfig

__all__ = [
    "Admin",
    "AdminHttp",
    "Batching",
    "BulkScoring",
    "FeatureCache",
    "FeaturePart",
    "Features",
    "Limits",
    "Link",
    "Listen",
    "Logging",
    "ModelPackage",
    "OperatorOptions",
    "Peer",
    "Plugins",
    "Retry",
    "ServerConfig",
    "Service",
    "Shutdown",
    "SourceChoice",
    "Tracing",
]

_PROTOCOLS: Final = ("baidu_std", "http", "http:proto", "h2:grpc")


def _address(value: str | list[str]) -> str | list[str]:
    if isinstance(value, str):
        read_replicas(value)
    elif len({read_address(each).scheme for each in value}) > 1:
        raise ValueError("all addresses of a party begin with https://, or none does")
    return value


class _Section(PluginConfig):
    """A part of a config, under the rules that plugins' options are under too."""


class Listen(_Section):
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


class Peer(_Section):
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


def _peer(value: Any) -> Any:
    return {"address": value} if isinstance(value, str | list) else value


class Retry(_Section):
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


class Link(_Section):
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


class Limits(_Section):
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


class Shutdown(_Section):
    """How this party ends on SIGTERM and SIGINT."""

    notice: float = Field(default=0.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds for which `/ready` says no while calls are still answered, so that load balancers can notice."""
    grace: float = Field(default=10.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds after that for calls under way."""


class AdminHttp(_Section):
    """Managing this party over HTTP, from other machines as well."""

    host: str = "127.0.0.1"
    """Address that the port is bound to."""
    port: Port
    """Port of its own for it. 0 takes any free one."""
    tls: ServerTls | None = None
    """TLS on the port. Absent: what is sent and told can be read on the way."""
    authenticators: list[AuthenticatorChoice] = Field(min_length=1)
    """How administrators are known; the first that finds credentials of its kind decides."""
    administrators: list[str] = Field(min_length=1)
    """Names, as the authenticators give them, of those who may manage this party. Nobody else may."""


class Admin(_Section):
    """How this party is managed while it runs, with `sfs admin` or over HTTP."""

    socket: FilePath
    """Unix socket for commands, made for this user alone; its folder is made when missing."""
    state: FilePath | None = None
    """File in which it is kept what was changed, for the next start. Absent: it is forgotten at the end."""
    http: AdminHttp | None = None
    """The same commands over HTTP. Absent: over the socket only."""


class Batching(_Section):
    """Joining of requests that arrive while the parties are busy."""

    enabled: bool = True
    """Join requests that differ in nothing but their ids into rounds of calls to the parties."""
    max_rows: int = Field(default=4096, gt=0)
    """Most rows of a joined round."""


class ModelChoice(SourceChoice):
    """A model source and what to fetch from it."""

    path: str = Field(min_length=1)
    """What to fetch, in the source's terms: a file, an object key, a URL."""


class ModelPackage(_Section):
    """The model to serve."""

    source: ModelChoice
    """Where it comes from."""
    sha256: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None
    """What the package must hash to (hex). With it, a package fetched before is used again."""
    version: Annotated[str, Field(max_length=100)] = ""
    """A name of the export; the same at all parties. Parties of this software that name different ones wait for each
    other and do not score together. The reference knows nothing of it."""


class FeaturePart(_Section):
    """One of several feature sources."""

    source: SourceChoice
    """Where its features are looked up."""
    features: list[str] | None = Field(default=None, min_length=1)
    """Which features it gives, under their names in the model. Absent, at one source only: all that the others do not
    give."""


class FeatureCache(_Section):
    """Rows of feature sources, remembered for a while."""

    ttl: Seconds
    """How long a row is remembered: nobody gets an older one."""
    missing_ttl: float = Field(default=0.0, ge=0, le=86_400, allow_inf_nan=False)
    """Seconds that an id is remembered to have no row; 0: not at all."""
    max_rows: int = Field(default=100_000, gt=0)
    """Most ids remembered, of each source; those not used for longest make room."""
    max_memory: Bytes = 256 << 20
    """Bytes that they may take, of each source, as estimated; those not used for longest make room."""
    headers: list[str] | None = None
    """Names of the header entries of requests that rows depend on. Absent: all but those of tracing."""


class FeaturePrecompute(_Section):
    """What this party's operators make of a row, remembered."""

    at: Literal["first_use", "load"] = "first_use"
    """When a row is computed: as it is first asked for, or all when the model is loaded, before the party is ready."""
    max_memory: Bytes = 64 << 20
    """Bytes that this may take, as estimated; the rows that were remembered first make room. With `at: load` rows are
    computed until it is used up."""


class Features(_Section):
    """This party's features."""

    source: SourceChoice | None = None
    """Where they are looked up. Absent: only features sent along with requests can be scored."""
    sources: list[FeaturePart] | None = Field(default=None, min_length=1)
    """Instead of `source`: several, each with some of the features; all are asked at the same time."""
    cache: FeatureCache | None = None
    """Remembers rows that were looked up. Absent: every request is looked up."""
    precompute: FeaturePrecompute | None = None
    """Remembers what this party's part of the model makes of a row, for sources whose rows never change. Absent: it is
    computed for every request."""
    mapping: dict[str, str] = Field(default={})
    """Name at the source: name in the model. Names that are equal need no entry."""
    missing: Literal["error", "default", "per_row"] = "error"
    """What becomes of rows that the source does not have, and of values that are not in them: `error` fails the
    request, `default` takes `defaults` instead, `per_row` scores the other rows. See docs/features.md."""
    defaults: dict[str, bool | int | float | str | None] = Field(default={})
    """With `missing: default`: a value for each feature of the model, under its name in the model. null hands a null
    to the model."""

    @property
    def parts(self) -> list[FeaturePart]:
        """All feature sources, also where there is one only."""
        return self.sources or ([FeaturePart(source=self.source)] if self.source is not None else [])

    @model_validator(mode="after")
    def _defaults_have_a_use(self) -> Features:
        if self.defaults and self.missing != "default":
            raise ValueError("`defaults` are for `missing: default`")
        return self

    @model_validator(mode="after")
    def _each_feature_once(self) -> Features:
        if self.source is not None and self.sources is not None:
            raise ValueError("either `source` or `sources` is expected, and not both")
        listed = Counter(name for part in self.parts for name in set(part.features or ()))
        twice = [name for name, times in listed.items() if times > 1]
        if twice:
            raise ValueError(f"several sources are to give {', '.join(sorted(twice)[:10])}")
        if sum(part.features is None for part in self.parts) > 1:
            raise ValueError("only one of the sources can give the rest; name the `features` of the others")
        for option in ("cache", "precompute"):
            if getattr(self, option) is not None and not self.parts:
                raise ValueError(f"`{option}` needs a source")
        return self

    @field_validator("mapping")
    @classmethod
    def _one_to_one(cls, value: dict[str, str]) -> dict[str, str]:
        twice = sorted(name for name, times in Counter(value.values()).items() if times > 1)
        if twice:
            raise ValueError(f"several source names stand for {', '.join(twice[:10])}")
        return value


class Service(_Section):
    """One model that is served."""

    service: Id
    """The service id; the same at all parties."""
    model: ModelPackage
    """This party's part of the model."""
    features: Features | None = None
    """Absent: only features sent along with requests can be scored."""


class Plugins(_Section):
    """Which installed plugins may be loaded."""

    allow: list[str] = Field(default=[])
    """Ids (patterns with *) of plugins to load; empty: all."""
    deny: list[str] = Field(default=[])
    """Ids (patterns with *) of plugins not to load."""
    directories: list[FilePath] = Field(default=[])
    """Folders of one-file plugins (*.py) to load as well."""


class OperatorOptions(_Section):
    """Options of an operator, or of all operators of a plugin; all keys are the operators' own."""

    model_config = ConfigDict(extra="allow")

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Without the options, which may be secret."""
        return iter(())


class BulkScoring(_Section):
    """Bulk scoring of whole files, under the reference's control protocol."""

    requester: Id
    """The party that drives it."""


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sfs"


class ServerConfig(_Section):
    """One party's server."""

    party: Id
    """This party's id."""
    listen: Listen
    """Its ports."""
    parties: dict[Id, Annotated[Peer, BeforeValidator(_peer, json_schema_input_type=Peer | str | list[str])]] = Field(
        min_length=2
    )
    """All parties, this one included: their ids, and where each answers the others."""
    services: list[Service] = Field(min_length=1)
    """The models served. A single one may be written without this level: service, model, features."""
    workers: int = Field(default=1, ge=1, le=128)
    """Processes that serve on the same ports. See docs/operations.md for when more than one pays."""
    link: Link = Link()
    """How peers are called."""
    batching: Batching = Batching()
    """How requests are joined."""
    shutdown: Shutdown = Shutdown()
    """How this party ends."""
    admin: Admin | None = None
    """How this party is managed while it runs; absent: not at all."""
    limits: Limits = Limits()
    """What one caller or peer may ask."""
    callers: Callers | None = None
    """Who may ask for predictions, and how much. Absent: everybody who reaches a port for callers."""
    plugins: Plugins = Plugins()
    """Which plugins may be loaded."""
    operators: dict[str, OperatorOptions] = Field(default={})
    """Options of operators, by an operator's name, or by a plugin's id for all of its operators; for all services."""
    logging: Logging = Logging()
    """What is logged, and where."""
    tracing: Tracing | None = None
    """Where spans of requests go."""
    cache: FilePath = Field(default_factory=_cache)
    """Folder that model packages are fetched into."""
    blocking_threads: int = Field(default=16, gt=0, le=1000)
    """Threads for feature sources that wait and operators that take long."""
    bulk_scoring: BulkScoring | None = None
    """Turns bulk scoring on; needs a `streaming` or `mock` feature source."""

    @field_validator("parties")
    @classmethod
    def _with_this_party(cls, parties: dict[str, Peer], info: ValidationInfo) -> dict[str, Peer]:
        party = info.data.get("party")  # absent where it is wrong itself
        if party is not None and party not in parties:
            raise ValueError(f"party {party!r} is not among parties ({', '.join(parties)})")
        return parties

    @model_validator(mode="after")
    def _consistent(self) -> ServerConfig:
        if self.bulk_scoring and self.bulk_scoring.requester not in self.parties:
            raise ValueError(f"bulk_scoring.requester is not among parties ({', '.join(self.parties)})")
        if self.bulk_scoring and any(service.features and service.features.cache for service in self.services):
            raise ValueError("bulk scoring takes rows in their order: features.cache cannot be used with it")
        if self.bulk_scoring and self.workers > 1:
            raise ValueError("bulk scoring takes one process: workers cannot be used with it")
        names = [service.service for service in self.services]
        if len(set(names)) != len(names):
            raise ValueError("two services have the same id")
        return self

    def identity_names(self, party: str) -> frozenset[str]:
        """The names of which a certificate of this party has at least one."""
        return identity_names(party, self.parties[party].tls)

    def tls_with(self, party: str) -> PeerTls | None:
        """TLS of calls to a party, its own options completed by those for all; None for plain calls."""
        peer = self.parties[party]
        if peer.tls and not peer.tls.enabled:
            return None
        general: ClientTls | ServerTls | None = self.link.tls or self.listen.tls_of("communication")
        if general is None and peer.tls is None and peer.scheme != "https":
            return None
        options = peer.tls or PeerTls()
        if general is None:
            return options
        completed: dict[str, Any] = {"ca_file": options.ca_file or general.ca_file}
        if options.certificate_file is None:
            completed |= {name: getattr(general, name) for name in ("certificate_file", "key_file", "key_password")}
        return options.model_copy(update=completed)
