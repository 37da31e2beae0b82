"""Callers known by API keys."""

from __future__ import annotations

from sfs_core import AuthenticatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_authenticators() -> list[AuthenticatorSpec]:
    """The one authenticator of this plugin."""
    return [AuthenticatorSpec("api_key", "sfs_auth_api_key.authenticator:ApiKeys", "keys in a header of requests")]
