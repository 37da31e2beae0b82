"""Options of the S3 model source."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from sfs_core import PluginConfig
from sfs_core.spi import Seconds

__all__ = ["S3Config"]

_LONGEST_SHOWN: Final = 255


class S3Config(PluginConfig):
    """Where the store is, and who asks."""

    bucket: str = Field(min_length=1, max_length=_LONGEST_SHOWN, pattern=r"^[A-Za-z0-9._:/-]+$")
    """The bucket that holds the package; `path` is the object's key in it."""
    endpoint: str = ""
    """The store's address. Without a scheme, https:// is meant; http:// must be asked for by writing it. Absent:
    AWS, by region."""
    region: str = ""
    """The store's region. Absent: what the environment says, else us-east-1, which most other stores accept."""
    virtual_hosted: bool = False
    """Whether the bucket stands in the host name (OSS, AWS) instead of in the path (MinIO and most others)."""
    access_key: SecretStr | None = None
    """The account's access key. Absent, with `secret_key`: what AWS's tools would use, from their environment
    variables, their files, or the machine's role."""
    secret_key: SecretStr | None = None
    """The account's secret key."""
    session_token: SecretStr | None = None
    """What goes along with keys that are valid for a time only."""
    anonymous: bool = False
    """Whether requests are not signed: for buckets that everybody may read."""
    ca_file: Path | None = None
    """PEM file of the authorities that may vouch for the store, instead of the usual ones. Relative to the config
    file."""
    connect_timeout: Seconds = 10.0
    """Seconds for opening a connection."""
    timeout: Seconds = 300.0
    """Seconds for the whole download."""

    @field_validator("endpoint")
    @classmethod
    def _absolute(cls, endpoint: str) -> str:
        if not endpoint:
            return ""
        try:
            url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
            usable = url.scheme in {"http", "https"} and url.hostname and (url.port is None or url.port > 0)
        except ValueError:
            usable = False
        if not usable or not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
            raise ValueError("a host name or a URL http://… or https://… is expected")
        if url.username is not None or url.query or url.fragment:
            raise ValueError("an address without account, query and fragment is expected")
        return url.geturl()

    @field_validator("access_key", "secret_key", "session_token")
    @classmethod
    def _sendable(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not (secret.get_secret_value().isascii() and secret.get_secret_value().isprintable()):
            raise ValueError("one line of ASCII is expected")
        return secret if secret is not None and secret.get_secret_value() else None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("`access_key` and `secret_key` need each other")
        if self.session_token is not None and self.access_key is None:
            raise ValueError("`session_token` needs `access_key` and `secret_key`")
        if self.anonymous and self.access_key is not None:
            raise ValueError("`anonymous` and `access_key` exclude each other")
        if self.ca_file is not None and self.endpoint.startswith("http://"):
            raise ValueError("`ca_file` needs TLS: an endpoint https://…")
        return self
