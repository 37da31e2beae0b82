"""What a config may say: one file per party."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sfs_core.config.callers import AuthenticatorChoice, Callers
from sfs_core.config.explained import wrong_at
from sfs_core.config.network import Limits, Link, Listen, Peer
from sfs_core.config.option_types import FilePath, Id, Port
from sfs_core.config.service import Service
from sfs_core.config.telemetry import Logging, Tracing
from sfs_core.config.tls import ClientTls, PeerTls, ServerTls, identity_names
from sfs_core.sdk.context import PluginConfig

__all__ = ["Admin", "AdminHttp", "Batching", "BulkScoring", "OperatorOptions", "Plugins", "ServerConfig", "Shutdown"]


def _peer(value: Any) -> Any:
    return {"address": value} if isinstance(value, str | list) else value


class Shutdown(PluginConfig):
    """How this party ends on SIGTERM and SIGINT."""

    notice: float = Field(default=0.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds for which `/ready` says no while calls are still answered, so that load balancers can notice."""
    grace: float = Field(default=10.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds after that for calls under way."""


class AdminHttp(PluginConfig):
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


class Admin(PluginConfig):
    """How this party is managed while it runs, with `sfs admin` or over HTTP."""

    socket: FilePath
    """Unix socket for commands, made for this user alone; its folder is made when missing."""
    state: FilePath | None = None
    """File in which it is kept what was changed, for the next start. Absent: it is forgotten at the end."""
    http: AdminHttp | None = None
    """The same commands over HTTP. Absent: over the socket only."""


class Batching(PluginConfig):
    """Joining of requests that arrive while the parties are busy."""

    enabled: bool = True
    """Join requests that differ in nothing but their ids into rounds of calls to the parties."""
    max_rows: int = Field(default=4096, gt=0)
    """Most rows of a joined round."""


class Plugins(PluginConfig):
    """Which installed plugins may be loaded."""

    allow: list[str] = Field(default=[])
    """Ids (patterns with *) of plugins to load; empty: all."""
    deny: list[str] = Field(default=[])
    """Ids (patterns with *) of plugins not to load."""
    directories: list[FilePath] = Field(default=[])
    """Folders of one-file plugins (*.py) to load as well."""


class OperatorOptions(PluginConfig):
    """Options of an operator, or of all operators of a plugin; all keys are the operators' own."""

    model_config = ConfigDict(extra="allow")

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Without the options, which may be secret."""
        return iter(())


class BulkScoring(PluginConfig):
    """Bulk scoring of whole files, under the reference's control protocol."""

    requester: Id
    """The party that drives it."""


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sfs"


class ServerConfig(PluginConfig):
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
            raise wrong_at(("party",), f"{party!r} is not among parties ({', '.join(parties)})")
        return parties

    @model_validator(mode="after")
    def _consistent(self) -> ServerConfig:
        if self.bulk_scoring and self.bulk_scoring.requester not in self.parties:
            raise wrong_at(("bulk_scoring", "requester"), f"it is not among parties ({', '.join(self.parties)})")
        if self.bulk_scoring and self.workers > 1:
            raise wrong_at(("workers",), "bulk scoring takes one process")
        names: set[str] = set()
        for i, service in enumerate(self.services):
            at = ("services", i)
            if self.bulk_scoring and service.features and service.features.cache:
                raise wrong_at((*at, "features", "cache"), "bulk scoring takes rows in their order, without a cache")
            if service.service in names:
                raise wrong_at((*at, "service"), "another service has the same id")
            names.add(service.service)
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
