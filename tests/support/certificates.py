"""Certificates for tests: of one authority, and of one that nobody trusts."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from sfs_core.cli.dev_certificates import DevelopmentAuthority, party_names
from sfs_core.config.certificates import TlsFiles
from sfs_core.config.tls import identity_names
from sfs_core.link.tls import ChannelTls, FollowedContext

EXPIRED = datetime.timedelta(days=400)
NOT_YET = datetime.timedelta(days=-2)


class Certificates:
    """Issues certificates into a folder, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authorities = {name: DevelopmentAuthority(30) for name in ("ca", "other-ca")}
        self.ca_file = self.authorities["ca"].write(folder / "ca.crt")
        self.authorities["other-ca"].write(folder / "other-ca.crt")
        self._made: dict[str, object] = {}

    def files(
        self,
        name: str,
        *names: str,
        authority: str = "ca",
        age: datetime.timedelta = datetime.timedelta(0),
        password: str | None = None,
        party: str = "",
    ) -> TlsFiles:
        """The files of a certificate of `party` (by default `name`), or made out to `names`."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        made_out_to = names or tuple(party_names(party or name))
        asked = (made_out_to, authority, age, password)
        assert self._made.setdefault(name, asked) == asked, f"{name} stands for another certificate already"
        if not certificate.exists():
            self.authorities[authority].issue(certificate, key, name, made_out_to, password=password, age=age)
        return TlsFiles(certificate, key, password, self.ca_file)

    def options(self, name: str, *names: str, **more: object) -> dict[str, str]:
        """The same as options of a config."""
        files = self.files(name, *names, **more)  # type: ignore[arg-type]
        assert files.certificate_file is not None
        assert files.key_file is not None
        options = {"certificate_file": str(files.certificate_file), "key_file": str(files.key_file)}
        if files.key_password is not None:
            options["key_password"] = files.key_password
        return options | {"ca_file": str(self.ca_file)}


def unchecked_client(files: TlsFiles) -> ssl.SSLContext:
    """A client's context that shows whatever certificate there is, and trusts the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca_file)
    if files.certificate_file is not None:
        context.load_cert_chain(files.certificate_file, files.key_file, files.key_password)
    return context


def channel_tls(files: TlsFiles, party: str, server_name: str = "127.0.0.1") -> ChannelTls:
    """How a test calls a party."""
    context = FollowedContext("test", files, unchecked_client)
    return ChannelTls(context, server_name, identity_names(party, None))
