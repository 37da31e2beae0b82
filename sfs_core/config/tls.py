"""What a config may say of TLS, and which files and names follow from it for a port or a peer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr, model_validator

from sfs_core.config.certificates import TlsFiles
from sfs_core.config.option_types import FilePath
from sfs_core.sdk.context import PluginConfig

__all__ = ["ClientTls", "PeerTls", "ServerTls", "identity_names", "tls_files"]

_COMMON_NAME: Final = "CN="


def _identity(value: str) -> str:
    if not value.removeprefix(_COMMON_NAME).strip() or not value.isprintable():
        raise ValueError("a DNS name, a URI or CN=… is expected, as certificates have them")
    return value


class ServerTls(PluginConfig):
    """TLS of the ports."""

    certificate_file: FilePath
    """This party's certificate, intermediate ones after it (PEM)."""
    key_file: FilePath | None = None
    """Its private key (PEM). Absent: it is in `certificate_file`."""
    key_password: SecretStr | None = None
    """Of an encrypted key."""
    ca_file: FilePath | None = None
    """CA certificates (PEM) that clients' certificates must come from. Absent: clients show none."""
    client_certificates: Literal["required", "optional"] = "required"
    """With `ca_file`: whether a client without a certificate may connect. Peers' calls need one in any case."""


class ClientTls(PluginConfig):
    """TLS of calls to peers."""

    ca_file: FilePath | None = None
    """CA certificates (PEM) that peers' certificates must come from. Absent: those that this machine trusts."""
    certificate_file: FilePath | None = None
    """This party's certificate, intermediate ones after it (PEM). Absent: none is shown."""
    key_file: FilePath | None = None
    """Its private key (PEM). Absent: it is in `certificate_file`."""
    key_password: SecretStr | None = None
    """Of an encrypted key."""

    @model_validator(mode="after")
    def _whole(self) -> ClientTls:
        if self.certificate_file is None and (self.key_file or self.key_password):
            raise ValueError("a key needs its certificate_file")
        return self


class PeerTls(ClientTls):
    """TLS with one party; what is absent is as in `link.tls`."""

    enabled: bool = True
    """Whether it is called over TLS at all; `tls: false` for short."""
    server_name: str | None = Field(default=None, min_length=1)
    """Host name that its certificate must be made out to. Absent: the host of its address."""
    identities: list[Annotated[str, AfterValidator(_identity)]] = Field(default=[])
    """Who it is by its certificate: DNS names and URIs among the alternative names, `CN=…` for the common name.
    One must match. Empty: DNS name `<party>` or URI `sfs://party/<party>`."""


def identity_names(party: str, tls: PeerTls | None) -> frozenset[str]:
    """The names, as `certificate_names` writes them, of which a certificate of this party has at least one."""
    if tls is None or not tls.identities:
        return frozenset({f"DNS:{party.lower()}", f"URI:sfs://party/{quote(party, safe='')}"})
    return frozenset(map(_certificate_name, tls.identities))


def _certificate_name(identity: str) -> str:
    if identity.startswith(_COMMON_NAME):
        return f"CN:{identity.removeprefix(_COMMON_NAME)}"
    return f"URI:{identity}" if ":" in identity else f"DNS:{identity.lower()}"


def tls_files(tls: ServerTls | ClientTls, base: Path) -> TlsFiles:
    """The files that a part of the config names, relative to `base`."""
    return TlsFiles(
        certificate_file=tls.certificate_file and base / tls.certificate_file,
        key_file=tls.key_file and base / tls.key_file,
        key_password=tls.key_password.get_secret_value() if tls.key_password else None,
        ca_file=tls.ca_file and base / tls.ca_file,
    )
