"""An authority for development, and certificates of it; needs the library `cryptography` (the extra `certs`)."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["DevelopmentAuthority", "party_names"]

_ORGANIZATION: Final = "SFS development only, never for production"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_SIGNING: Final = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
"""Of certificates and revocation lists."""
_DAY: Final = datetime.timedelta(days=1)


def party_names(party: str, hosts: Sequence[str] = ()) -> list[str]:
    """What a party's certificate is made out to: the party, loopback, and further hosts."""
    own = [party] if party.isascii() and party.replace("-", "").isalnum() else []
    return [*own, f"sfs://party/{quote(party, safe='')}", *_LOOPBACK, *hosts]


class DevelopmentAuthority:
    """A CA that lives in one process; its key is written nowhere.

    Args:
        days: how long it and its certificates are valid.
    """

    def __init__(self, days: float = 30) -> None:
        self._days = days
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject("SFS development CA")
        builder = self._builder(self._name, self._key.public_key(), datetime.timedelta(0))
        self._certificate = (
            builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(_SIGNING, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def write(self, path: Path) -> Path:
        """Write the CA certificate."""
        _write(path, _pem(self._certificate))
        return path

    def issue(
        self,
        certificate_file: Path,
        key_file: Path,
        common_name: str,
        names: Sequence[str],
        *,
        password: str | None = None,
        age: datetime.timedelta = datetime.timedelta(0),
    ) -> None:
        """Write a certificate for server and client, and its key, which only the owner may read.

        Args:
            certificate_file: for the certificate.
            key_file: for the key.
            common_name: of the subject.
            names: DNS names, IP addresses and URIs.
            password: encrypts the key.
            age: how long ago the certificate was made; negative for one that is not valid yet.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(_subject(common_name), key.public_key(), age)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password.encode())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        _write(key_file, pem.decode(), mode=0o600)
        _write(certificate_file, _pem(certificate))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, age: datetime.timedelta
    ) -> x509.CertificateBuilder:
        begin = datetime.datetime.now(datetime.UTC) - age
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - datetime.timedelta(minutes=5))
            .not_valid_after(begin + self._days * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority, critical=False)
        )


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return f"# {_ORGANIZATION}\n" + certificate.public_bytes(serialization.Encoding.PEM).decode()


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a new file whose mode is right from the beginning."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
