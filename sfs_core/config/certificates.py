"""Certificates and private keys in files: made into TLS contexts, with errors that say which file is wrong and how."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sfs_core.errors import ConfigError

__all__ = ["CertificateError", "TlsFiles", "certificate_names", "client_context", "own_certificate", "server_context"]

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: with forward secrecy and authenticated. Those of TLS 1.3 are all sane."""
_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""


class CertificateError(ConfigError):
    """A file of a certificate, a key or CA certificates cannot be used.

    Args:
        option: which of the options `certificate_file`, `key_file`, `key_password`, `ca_file` is wrong.
        message: how.
        hint: what to do.
    """

    def __init__(self, option: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.option = option


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What one end of TLS connections is made from.

    Args:
        certificate_file: own certificate, and the intermediate ones after it (PEM).
        key_file: its private key (PEM).
        key_password: of an encrypted key.
        ca_file: certificates (PEM) of the authorities that the other end's certificate must come from.
    """

    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, for who watches them."""
        return tuple(path for path in (self.certificate_file, self.key_file, self.ca_file) if path is not None)


def server_context(files: TlsFiles, *, client_certificates: ssl.VerifyMode) -> ssl.SSLContext:
    """A server's TLS: version 1.2 or newer, a certificate that is valid today.

    Args:
        files: with a certificate; with CA certificates where clients are to show one.
        client_certificates: whether they are asked for, and must be there.

    Raises:
        CertificateError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    own_certificate(files, ssl.Purpose.SERVER_AUTH)
    _load_own(context, files)
    context.set_alpn_protocols(["http/1.1", "h2"])  # h2 is for gRPC, whose clients know nothing else
    if files.ca_file is not None:
        _load_authorities(context, files.ca_file)
        context.verify_mode = client_certificates
    return context


def client_context(files: TlsFiles, *, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A client's TLS: the server's certificate must come from the CA certificates (absent: from those that this
    system trusts) and be made out to the host.

    Args:
        files: with a certificate where one is to be shown.
        alpn: names of the protocols that are offered, if any.

    Raises:
        CertificateError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if files.certificate_file is not None:
        own_certificate(files, ssl.Purpose.CLIENT_AUTH)
        _load_own(context, files)
    if files.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, files.ca_file)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def certificate_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Whom a certificate, as `ssl` decodes it, is made out to: `DNS:bob`, `URI:sfs://party/bob`, `CN:bob`."""
    alternative = certificate.get("subjectAltName", ())
    names = {f"{kind}:{value.lower() if kind == 'DNS' else value}" for kind, value in alternative}
    common = {f"CN:{value}" for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
    return frozenset(names | common)


# ------------------------------------------------------------------------------------------ reading files
def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Load certificate and key, which must fit each other."""
    certificate = files.certificate_file
    assert certificate is not None
    key = files.key_file or certificate
    at = "key_file" if files.key_file is not None else "certificate_file"
    asked = False

    def password() -> str:  # without it, OpenSSL would ask at the terminal
        nonlocal asked
        asked = True
        return files.key_password or ""

    _read(certificate, "certificate_file")
    _read(key, at)
    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"the private key {key} does not belong to the certificate {certificate}"
            raise CertificateError(at, text, "take the two files that were made together") from None
        if asked and files.key_password is None:
            raise CertificateError(at, f"the private key {key} is encrypted", "give key_password") from None
        if asked:
            text = f"the private key {key} cannot be decrypted with it"
            raise CertificateError("key_password", text, "give the password that the key was written with") from None
        text = f"{key} holds no private key that can be used ({error.reason or 'not PEM'})"
        raise CertificateError(at, text, "a file in PEM form is expected") from None
    except ValueError:
        raise CertificateError("key_password", "is too long", "OpenSSL takes 1023 bytes at most") from None


def _load_authorities(context: ssl.SSLContext, path: Path, option: str = "ca_file") -> None:
    _read(path, option)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        text = f"{path} holds no certificate that can be read ({error.reason or 'not PEM'})"
        raise CertificateError(option, text, "a file in PEM form is expected") from None
    now = time.time()
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in context.get_ca_certs()]
    if ends and max(ends) < now:
        raise CertificateError(option, f"every CA certificate in {path} expired", "renew it")


def _read(path: Path, option: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CertificateError(option, f"{path} cannot be read: {reason}") from None


# --------------------------------------------------------------------------------------- what a file says
def own_certificate(files: TlsFiles, purpose: ssl.Purpose) -> Mapping[str, Any]:
    """What the own certificate says, as `SSLSocket.getpeercert` decodes it.

    The certificate is shown to oneself in a handshake over memory: Python decodes only those of the other end.

    Raises:
        CertificateError: it cannot be used, is not valid yet or any more, or is not for this purpose.
    """
    path = files.certificate_file
    assert path is not None
    shower, reader = (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    if purpose is ssl.Purpose.CLIENT_AUTH:
        shower, reader = reader, shower
    showing, reading = ssl.SSLContext(shower), ssl.SSLContext(reader)
    _load_authorities(reading, path, "certificate_file")  # that file is told apart from the key's
    for context in (showing, reading):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _load_own(context, files)
    reading.verify_mode = ssl.CERT_REQUIRED
    flags = reading.verify_flags | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    reading.verify_flags = ssl.VerifyFlags(flags)
    try:
        shown = _shown(showing, reading)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "it cannot be shown"
        what = "server" if purpose is ssl.Purpose.SERVER_AUTH else "client"
        text = f"the certificate {path} cannot be used as a {what}'s: {reason}"
        raise CertificateError("certificate_file", text, "see its extended key usage and its key") from None
    _check_time(shown, path)
    return shown


def _check_time(certificate: Mapping[str, Any], path: Path) -> None:
    now = time.time()
    if ssl.cert_time_to_seconds(certificate["notAfter"]) < now:
        text = f"the certificate {path} expired on {certificate['notAfter']}"
        raise CertificateError("certificate_file", text, "renew it")
    if ssl.cert_time_to_seconds(certificate["notBefore"]) > now:
        text = f"the certificate {path} is not valid before {certificate['notBefore']}"
        raise CertificateError("certificate_file", text, "see this machine's clock")


def _shown(showing: ssl.SSLContext, reading: ssl.SSLContext) -> Mapping[str, Any]:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    shower = showing.wrap_bio(there, back, server_side=showing.protocol is ssl.PROTOCOL_TLS_SERVER)
    reader = reading.wrap_bio(back, there, server_side=reading.protocol is ssl.PROTOCOL_TLS_SERVER)
    ends: list[Callable[[], None]] = [shower.do_handshake, reader.do_handshake]
    while ends:
        for end in list(ends):
            try:
                end()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    certificate = reader.getpeercert()
    assert certificate is not None
    return certificate
