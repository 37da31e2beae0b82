"""Callers by the names in their verified TLS client certificates."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from sfs_core import AuthenticationError, Authenticator, AuthenticatorContext, Caller, Credentials, PluginConfig

Name = Annotated[str, Field(pattern=r"^(CN|DNS|URI|IP Address|email):.+$")]


class Subject(PluginConfig):
    """A caller's certificate."""

    names: list[Name] = Field(min_length=1)
    """Names of which the certificate has at least one: `CN:shop`, `DNS:shop.example`, `URI:spiffe://example/shop`."""
    services: list[str] | None = None
    """Services that the caller may ask; absent: all."""


class CertificatesConfig(PluginConfig):
    """Options of the `certificate` authenticator."""

    callers: dict[str, Subject] = Field(min_length=1)
    """By the caller's name."""

    @field_validator("callers")
    @classmethod
    def _distinct(cls, callers: dict[str, Subject]) -> dict[str, Subject]:
        names = [_folded(name) for subject in callers.values() for name in subject.names]
        if len(set(names)) < len(names):
            raise ValueError("two callers have the same certificate name")
        return callers


class Certificates(Authenticator):
    """Knows callers by the certificates that TLS has verified; that needs `ca_file` in the port's TLS options."""

    Config = CertificatesConfig
    config: CertificatesConfig

    def __init__(self, config: Any, context: AuthenticatorContext) -> None:
        super().__init__(config, context)
        self._callers = {
            _folded(certificate_name): Caller(name, None if its.services is None else frozenset(its.services))
            for name, its in self.config.callers.items()
            for certificate_name in its.names
        }

    def authenticate(self, credentials: Credentials) -> Caller | None:
        """As of the base."""
        found = {self._callers[name] for name in credentials.certificate_names if name in self._callers}
        if len(found) > 1:
            raise AuthenticationError("the certificate has names of several callers")
        return found.pop() if found else None


def _folded(name: str) -> str:
    """DNS names have no upper and lower case."""
    return f"DNS:{name[4:].lower()}" if name.startswith("DNS:") else name
