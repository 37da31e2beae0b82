"""What a server tells about itself: the parts of a config for logs and traces."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from sfs_core.config.explained import nearest
from sfs_core.config.option_types import Bytes, FilePath, Seconds
from sfs_core.sdk.context import PluginConfig

__all__ = ["ROOMS", "Logging", "Tracing", "checked_room"]

Level = Literal["debug", "info", "warning", "error"]
ROOMS: Final = (
    *("access", "admin", "audit", "bulk", "callers", "cli", "execute", "features", "handshake", "link", "load"),
    *("predict", "ready", "reload", "server", "slow", "source", "spi", "tls", "workers"),
)
"""The parts of the server that log; `source` has one for each service, `source.<service>`."""


def checked_room(name: str) -> str:
    """The name of a part of the server.

    Raises:
        ValueError: nothing logs under it.
    """
    if name not in ROOMS and not name.startswith("source."):
        raise ValueError(f"nothing logs under this name; {nearest(name, ROOMS, ())}")
    return name


class _RotatedFile(PluginConfig):
    """A file that is renamed when it is full."""

    file: FilePath | None = None
    """File to write, `serving.log` for example; full ones are renamed to `serving.1.log` and so on."""
    max_file_bytes: Bytes = 500 << 20
    """Size at which the file is renamed."""
    max_files: int = Field(default=10, ge=1)
    """How many full files are kept."""


class Logging(_RotatedFile):
    """What this process logs; it never holds features, ids, keys or secrets."""

    level: Level = "info"
    """How much is logged."""
    rooms: dict[Annotated[str, AfterValidator(checked_room)], Level] = Field(default={})
    """Other levels for parts of the server: `link`, `predict`, `source.<service>`, …"""
    format: Literal["text", "json"] = "text"
    """Lines for people, as the reference writes them, or one JSON object per line."""
    console: bool = True
    """Also to standard error."""
    access: bool = False
    """A line for every request answered."""
    slow: Seconds | None = None
    """A line for every request that takes longer, with the time that each step took: waiting, look-up, this party's and
    the others' parts. `sfs trace` shows more, with `tracing`."""


class Tracing(_RotatedFile):
    """Spans of requests; needs the extra `tracing`. Without this section, requests' traces are only passed on."""

    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """URL of an OTLP collector (HTTP, protobuf), `http://collector:4318/v1/traces` for example."""
    headers: dict[str, SecretStr] = Field(default={})
    """Sent to the collector."""
    sample: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces that begin here to be recorded. Those that come with requests say for themselves."""
    interval: Seconds = 2.0
    """The longest wait before spans are written or sent."""

    @model_validator(mode="after")
    def _somewhere(self) -> Tracing:
        if self.file is None and self.endpoint is None:
            raise ValueError("a file, an endpoint or both are needed")
        return self
