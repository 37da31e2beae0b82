"""Callers known by signed tokens."""

from __future__ import annotations

from sfs_core import AuthenticatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_authenticators() -> list[AuthenticatorSpec]:
    """The one authenticator of this plugin."""
    return [AuthenticatorSpec("jwt", "sfs_auth_jwt.authenticator:JsonWebTokens", "signed tokens (JWT) of an issuer")]
