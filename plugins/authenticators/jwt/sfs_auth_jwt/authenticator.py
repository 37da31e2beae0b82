"""JSON Web Tokens (RFC 7519), signed with keys that an issuer publishes (RFC 7517)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import jwt

from sfs_core import AuthenticationError, Authenticator, AuthenticatorContext, Caller, Credentials

from .keys import KeySet, file_reader, url_reader
from .options import JsonWebTokensConfig

__all__ = ["JsonWebTokens"]

KNOWN_TOKENS: Final = 4096
"""How many verified tokens are remembered, so that a signature is checked once per token and not per request."""


class JsonWebTokens(Authenticator):
    """Knows callers by the tokens in `Authorization: Bearer <token>`."""

    Config = JsonWebTokensConfig
    config: JsonWebTokensConfig

    def __init__(self, config: Any, context: AuthenticatorContext) -> None:
        super().__init__(config, context)
        options = self.config
        if options.jwks_file is not None:
            read = file_reader(context.base_directory / options.jwks_file.expanduser())
        else:
            ca_file = options.ca_file and context.base_directory / options.ca_file.expanduser()
            read = url_reader(str(options.jwks_url), ca_file)
        self._keys = KeySet(read, options.refresh, context.logger.warning)
        self._known: dict[str, tuple[Caller, float]] = {}

    def open(self) -> None:
        """As of the base."""
        self._keys.open()

    def close(self) -> None:
        """As of the base."""
        self._keys.close()

    def authenticate(self, credentials: Credentials) -> Caller | None:
        """As of the base."""
        scheme, _, token = credentials.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token.count(".") != 2:
            return None
        known = self._known.get(token)
        if known is not None and known[1] > time.time():
            return known[0]
        claims = self._verified(token)
        caller = Caller(self._name(claims), self._services(claims))
        if len(self._known) >= KNOWN_TOKENS:
            self._known.clear()
        self._known[token] = caller, float(claims["exp"]) + self.config.leeway
        return caller

    def _verified(self, token: str) -> Mapping[str, Any]:
        options = self.config
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise AuthenticationError("the token is signed with a key that its issuer does not publish")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=options.algorithms,
                audience=options.audience,
                issuer=options.issuer,
                leeway=options.leeway,
                options={"require": ["exp", "iss", "aud", options.caller_claim]},
            )
        except jwt.ExpiredSignatureError:
            raise AuthenticationError("the token has expired") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise AuthenticationError("the token is of another issuer, or for another server") from None
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise AuthenticationError(f"the token is not good ({type(error).__name__})") from None
        return claims

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims[self.config.caller_claim]
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 256:
            raise AuthenticationError(f"the token's claim {self.config.caller_claim!r} is no name")
        return name

    def _services(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        if self.config.services_claim is None:
            return None
        services = claims.get(self.config.services_claim, [])
        if isinstance(services, str):
            services = services.split()
        return frozenset(map(str, services)) if isinstance(services, list) else frozenset()
