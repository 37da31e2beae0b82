"""Authenticator: how a party knows who asks it for predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import ClassVar

from sfs_core.sdk.context import PluginConfig

__all__ = ["AuthenticationError", "Authenticator", "AuthenticatorContext", "Caller", "Credentials"]


class AuthenticationError(Exception):
    """Credentials were shown and are not good.

    Args:
        message: why, for the caller and the log: `the token has expired`. Holds nothing of the credentials.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(slots=True)
class Credentials:
    """What a call brings along by which the caller may be known.

    Args:
        headers: HTTP headers or gRPC metadata, names in lower case; empty over `baidu_std`.
        certificate_names: whom the verified TLS client certificate is made out to, empty without one:
            `CN:shop`, `DNS:shop.example`, `URI:spiffe://example/shop`.
    """

    headers: Mapping[str, str]
    certificate_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may ask.

    Args:
        name: for limits, the audit log and the log; no secret.
        services: ids of the services that may be asked; None for all.
    """

    name: str
    services: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class AuthenticatorContext:
    """Where an authenticator lives.

    Args:
        party: this party's id.
        logger: for messages; nothing of credentials at any level.
        base_directory: what relative paths in the config are relative to.
    """

    party: str
    logger: Logger
    base_directory: Path


class Authenticator(ABC):
    """Base of authenticators; one instance serves all services of a party.

    Attributes:
        Config: the model of its options.
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    def __init__(self, config: PluginConfig, context: AuthenticatorContext) -> None:
        self.config = config
        self.context = context

    def open(self) -> None:
        """Read keys. Called once, in a thread, before the first call.

        Raises:
            SfsError: it cannot work; the server then refuses to start.
        """

    def close(self) -> None:
        """Release everything. May be called twice, and without `open`."""

    @abstractmethod
    def authenticate(self, credentials: Credentials) -> Caller | None:
        """Who asks; None where there are no credentials of this kind, so that the next authenticator is tried.

        Called on the event loop, before anything of a request is read: it only touches memory, for a few
        microseconds.

        Raises:
            AuthenticationError: there are credentials of this kind, and they are not good.
        """
