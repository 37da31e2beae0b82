"""Options of the Redis feature source."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from sfs_core import PluginConfig
from sfs_core.spi import Seconds, TlsOptions

__all__ = ["ID", "FeastView", "RedisConfig", "without_account"]

ID = "{id}"
_IN_QUERY = {"db", "username", "password", "protocol"}
Address = Annotated[str, Field(pattern=r"^.+:\d{1,5}$")]


class FeastView(PluginConfig):
    """A feature view of Feast, with one entity, as Feast's online store in Redis keeps it."""

    project: str = Field(min_length=1)
    """The project."""
    view: str = Field(min_length=1)
    """The feature view; of a versioned one also the version, such as `trips_v2`."""
    entity: str = Field(min_length=1)
    """The entity's join key."""
    entity_type: Literal["string", "int32", "int64"] = "string"
    """Its type."""


class RedisConfig(TlsOptions):
    """Where the server is, and how a row is kept there."""

    url: SecretStr
    """The server: `redis://user:password@host:port/database`, `rediss://…` with TLS, or `unix:///path`.
    Shown nowhere."""
    user: str = ""
    """The ACL account, where it is not in `url`."""
    password: SecretStr | None = None
    """Its password, or that of the server's default account: as it is, without the quoting that a URL needs."""
    key: str = ""
    """The key of a row: a text with `{id}` in the id's place, such as `user:{id}`. Feast has keys of its own."""
    layout: Literal["hash", "json", "msgpack", "arrow", "feast"] = "hash"
    """What a key holds: a hash with a field per feature in text, or a string with one row: a JSON object,
    a MessagePack map, or an Arrow IPC stream; or what Feast has written."""
    feast: FeastView | None = None
    """With `layout: feast`: which feature view."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Feature: its field, where these names differ."""
    id_field: str = ""
    """The field, if there is one, in which a row holds its own id, a text or an integer. It is compared with the id
    that was asked for, so that no answer can be taken for another id's."""
    nulls: Literal["error", "keep"] = "error"
    """What a missing field, or a null in it, means: `error` refuses the request unless `features.missing` says what
    becomes of it, `keep` hands a null to the model."""
    cluster: bool = False
    """Whether `url` is a node of a Redis Cluster."""
    sentinels: list[Address] = Field(default_factory=list)
    """Addresses `host:port` of sentinels, which say where the server is; `url` then gives account and database."""
    sentinel_master: str = ""
    """The name under which the sentinels know the server."""
    pool_size: int = Field(default=5, gt=0)
    """Most connections that are open at a time (to each node)."""
    connect_timeout: Seconds = 2.0
    """Seconds for getting a connection."""
    timeout: Seconds = 2.0
    """Seconds for an answer."""

    @field_validator("url")
    @classmethod
    def _of_known_parts(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("a URL redis://…, rediss://… or unix://… is expected")
        if not parse_qs(parts.query).keys() <= _IN_QUERY:
            raise ValueError(f"only {', '.join(sorted(_IN_QUERY))} can be said after its question mark")
        if parts.scheme != "unix" and not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
            raise ValueError("the number of a database is expected after the host")
        return url

    @field_validator("key")
    @classmethod
    def _one_place_for_the_id(cls, key: str) -> str:
        if key and key.count(ID) != 1:
            raise ValueError("a text with {id} once in it is expected, such as user:{id}")
        return key

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        if (self.layout == "feast") != (self.feast is not None):
            raise ValueError("`layout: feast` and `feast` need each other")
        if bool(self.key) == (self.feast is not None):
            raise ValueError("`key` is needed, such as user:{id}" if not self.key else "Feast has keys of its own")
        if self.id_field and self.feast is not None:
            raise ValueError("Feast keeps no id in its rows that `id_field` could name")
        return self

    @model_validator(mode="after")
    def _one_way_to_the_server(self) -> Self:
        if bool(self.sentinels) != bool(self.sentinel_master):
            raise ValueError("`sentinels` and `sentinel_master` need each other")
        if self.cluster and self.sentinels:
            raise ValueError("`cluster` and `sentinels` exclude each other")
        url = self.url.get_secret_value()
        if self.cluster and (url.startswith("unix:") or urlsplit(url).path.strip("/0") or "db=" in url):
            raise ValueError("a cluster is reached over the network, and has no database but 0")
        if self.names_certificates and not url.startswith("rediss://"):
            raise ValueError("certificates need TLS: a URL rediss://…")
        if (self.user or self.password) and ("@" in url or "password=" in url):
            raise ValueError("`url` holds an account already: leave it there, or `user` and `password` away")
        return self


def without_account(url: str) -> str:
    """The server of a URL, for this party's log: without user, password and options."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    return f"{scheme}://{place.rpartition('@')[2]}"
