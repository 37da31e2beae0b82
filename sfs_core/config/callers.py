"""Who may ask for predictions, how much, and what is written down about it: the `callers` part of a config."""

from __future__ import annotations

from pydantic import Field, SecretStr

from sfs_core.config.option_types import Bytes, FilePath
from sfs_core.config.source_choice import SourceChoice
from sfs_core.sdk.context import PluginConfig

__all__ = ["Audit", "AuthenticatorChoice", "CallerLimits", "Callers"]


class AuthenticatorChoice(SourceChoice):
    """An authenticator picked by name; all other keys are its own options."""


class CallerLimits(PluginConfig):
    """What one caller may ask; an option that is absent sets no limit."""

    requests_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Requests per second on average; up to twice as many in one second."""
    concurrency: int | None = Field(default=None, gt=0)
    """Requests under way at a time."""
    rows_per_day: int | None = Field(default=None, gt=0)
    """Rows from midnight to midnight, UTC: a fence against reading a model or its features off its scores."""


class Audit(PluginConfig):
    """A log of who asked for what, each line bound to all before it; see `sfs audit`."""

    file: FilePath
    """File to append to."""
    key: SecretStr
    """Secret that ids are hashed with, and that lines are bound with: `${file:…}` or `${env:…}`."""
    max_file_bytes: Bytes = 100 << 20
    """Size at which the file is renamed, `audit.jsonl` to `audit.1.jsonl` for example. No file is ever removed."""


class Callers(PluginConfig):
    """Who may ask for predictions. Without this section, everybody who reaches a port may."""

    authenticators: list[AuthenticatorChoice] = Field(min_length=1)
    """How callers are known; the first that finds credentials of its kind decides."""
    limits: CallerLimits = CallerLimits()
    """What each caller may ask."""
    limits_of: dict[str, CallerLimits] = Field(default={})
    """Other limits for callers by name, instead of `limits`."""
    audit: Audit | None = None
    """Where to write down who asked."""
