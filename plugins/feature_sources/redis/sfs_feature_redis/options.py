"""Options of the Redis feature source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from sfs_core import PluginConfig
from sfs_core.spi import Seconds

__all__ = ["ID", "RedisConfig", "without_account"]

ID = "{id}"
Address = Annotated[str, Field(pattern=r"^.+:\d{1,5}$")]


class RedisConfig(PluginConfig):
    """Where the server is, and how a row is kept there."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr
    """The server: `redis://user:password@host:port/database`, `rediss://…` with TLS, or `unix:///path`.
    Shown nowhere."""
    key: str
    """The key of a row: a text with `{id}` in the id's place, such as `user:{id}`."""
    layout: Literal["hash", "json", "msgpack", "arrow"] = "hash"
    """What a key holds: a hash with a field per feature in text, or a string with one row: a JSON object,
    a MessagePack map, or an Arrow IPC stream."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Feature: its field, where these names differ."""
    nulls: Literal["error", "keep"] = "error"
    """What a missing field, or a null in it, means: `error` refuses the request unless `features.missing` says what
    becomes of it, `keep` hands a null to the model."""
    cluster: bool = False
    """Whether `url` is a node of a Redis Cluster."""
    sentinels: list[Address] = Field(default_factory=list)
    """Addresses `host:port` of sentinels, which say where the server is; `url` then gives account and database."""
    sentinel_master: str = ""
    """The name under which the sentinels know the server."""
    ca_file: Path | None = None
    """PEM file of the authorities that may vouch for the server, instead of the system's. Relative to the config
    file, like the next two."""
    certificate_file: Path | None = None
    """PEM file of this client's certificate."""
    key_file: Path | None = None
    """PEM file of this client's private key."""
    pool_size: int = Field(default=5, gt=0)
    """Most connections that are open at a time (to each node)."""
    connect_timeout: Seconds = 2.0
    """Seconds for getting a connection."""
    timeout: Seconds = 2.0
    """Seconds for an answer."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a URL redis://…, rediss://… or unix://… is expected")
        return url

    @field_validator("key")
    @classmethod
    def _one_place_for_the_id(cls, key: str) -> str:
        if key.count(ID) != 1:
            raise ValueError("a text with {id} once in it is expected, such as user:{id}")
        return key

    @model_validator(mode="after")
    def _one_way_to_the_server(self) -> Self:
        if bool(self.sentinels) != bool(self.sentinel_master):
            raise ValueError("`sentinels` and `sentinel_master` need each other")
        if self.cluster and self.sentinels:
            raise ValueError("`cluster` and `sentinels` exclude each other")
        tls = self.ca_file or self.certificate_file or self.key_file
        if tls and not self.url.get_secret_value().startswith("rediss://"):
            raise ValueError("certificates need TLS: a URL rediss://…")
        return self


def without_account(url: str) -> str:
    """The server of a URL, for this party's log: without user, password and options."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    return f"{scheme}://{place.rpartition('@')[2]}"
