"""Callers known by their TLS client certificates."""

from __future__ import annotations

from sfs_core import AuthenticatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_authenticators() -> list[AuthenticatorSpec]:
    """The one authenticator of this plugin."""
    factory = "sfs_auth_certificate.authenticator:Certificates"
    return [AuthenticatorSpec("certificate", factory, "verified TLS client certificates")]
