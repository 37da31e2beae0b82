"""API keys: random texts, of which the config knows the hashes only."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import Field, field_validator

from sfs_core import AuthenticationError, Authenticator, AuthenticatorContext, Caller, Credentials, PluginConfig

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class ApiKey(PluginConfig):
    """A caller's keys."""

    sha256: list[Sha256] = Field(min_length=1)
    """SHA-256 of each key in hex: `printf %s "$KEY" | sha256sum`. Two at a time let a key be changed without a gap."""
    services: list[str] | None = None
    """Services that the caller may ask; absent: all."""


class ApiKeysConfig(PluginConfig):
    """Options of the `api_key` authenticator."""

    keys: dict[str, ApiKey] = Field(min_length=1)
    """By the caller's name."""
    header: str = Field(default="x-api-key", pattern=r"^[A-Za-z0-9-]+$")
    """Header (gRPC: metadata) that holds the key. `Authorization: Bearer <key>` is read too where it fits a key."""

    @field_validator("keys")
    @classmethod
    def _distinct(cls, keys: dict[str, ApiKey]) -> dict[str, ApiKey]:
        hashes = [each.lower() for key in keys.values() for each in key.sha256]
        if len(set(hashes)) < len(hashes):
            raise ValueError("two callers have the same key")
        return keys


class ApiKeys(Authenticator):
    """Knows callers by the hash of the key that they show.

    Keys are looked up by their hashes: what the look-up takes tells nothing about any key, and 256 random bits cannot
    be guessed, so that no slow password hash is needed.
    """

    Config = ApiKeysConfig
    config: ApiKeysConfig

    def __init__(self, config: Any, context: AuthenticatorContext) -> None:
        super().__init__(config, context)
        self._header = self.config.header.lower()
        self._callers = {
            bytes.fromhex(hash_): Caller(name, None if key.services is None else frozenset(key.services))
            for name, key in self.config.keys.items()
            for hash_ in key.sha256
        }

    def authenticate(self, credentials: Credentials) -> Caller | None:
        """As of the base."""
        key = credentials.headers.get(self._header)
        if key is not None:
            caller = self._caller(key)
            if caller is None:
                raise AuthenticationError("the API key is not known")
            return caller
        scheme, _, token = credentials.headers.get("authorization", "").partition(" ")
        return self._caller(token.strip()) if scheme.lower() == "bearer" else None

    def _caller(self, key: str) -> Caller | None:
        return self._callers.get(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
