"""Options of the `jwt` authenticator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sfs_core import PluginConfig
from sfs_core.spi import Seconds

__all__ = ["Algorithm", "JsonWebTokensConfig"]

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class JsonWebTokensConfig(PluginConfig):
    """Which tokens are good, and who shows them."""

    issuer: str = Field(min_length=1)
    """What the claim `iss` must say."""
    audience: str = Field(min_length=1)
    """What the claim `aud` must contain, so that tokens for other servers are no good here."""
    jwks_file: Path | None = None
    """File with the issuer's public keys (JSON Web Key Set); read again when it changes."""
    jwks_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Where the issuer publishes its public keys, instead of a file."""
    ca_file: Path | None = None
    """Certificates that the server at `jwks_url` is verified with; absent: those that the system trusts."""
    plain_http: bool = False
    """Allow `http://` in `jwks_url`: whoever can change what comes from there can make tokens."""
    refresh: Seconds = 300.0
    """How often keys are read again."""
    algorithms: list[Algorithm] = Field(default=["RS256", "ES256", "EdDSA"], min_length=1)
    """How tokens may be signed."""
    leeway: Seconds = 10.0
    """How far clocks may be apart."""
    caller_claim: str = "sub"
    """The claim that names the caller."""
    services_claim: str | None = None
    """A claim that lists the services that may be asked, as a list or as words of one text. Absent: all may."""

    @model_validator(mode="after")
    def _one_place(self) -> JsonWebTokensConfig:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("either jwks_file or jwks_url is needed")
        if self.jwks_url is not None and self.jwks_url.startswith("http://") and not self.plain_http:
            raise ValueError("jwks_url is plain HTTP; use https, or say plain_http: true")
        return self
