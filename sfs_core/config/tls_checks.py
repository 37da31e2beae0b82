"""What is wrong, or looks wrong, about a config's TLS: files that cannot be used, addresses that contradict it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sfs_core.config.certificates import (
    CertificateError,
    certificate_names,
    client_context,
    own_certificate,
    server_context,
)
from sfs_core.config.problems import Place
from sfs_core.config.schema import ServerConfig
from sfs_core.config.tls import ServerTls, tls_files

__all__ = ["tls_problems", "tls_warnings"]

_SOON_SECONDS: Final = 14 * 86_400


def tls_problems(config: ServerConfig, base: Path) -> Iterator[tuple[Place, str, str]]:
    """Place, message and hint of everything that keeps this party from serving or calling over TLS."""
    for at, tls in _port_sections(config):
        try:
            server_context(tls_files(tls, base), client_certificates=ssl.CERT_REQUIRED)
        except CertificateError as error:
            yield (*at, error.option), error.message, error.hint
    for party in config.parties:
        if party != config.party:
            yield from _peer_problems(config, party, base)
    if config.listen.tls_of("communication"):
        yield from _clashes(config)


def _port_sections(config: ServerConfig) -> Iterator[tuple[Place, ServerTls]]:
    for name in ("tls", "service_tls", "communication_tls", "metrics_tls"):
        tls: ServerTls | None = getattr(config.listen, name)
        if tls is not None:
            yield ("listen", name), tls
    if config.admin is not None and config.admin.http is not None and config.admin.http.tls is not None:
        yield ("admin", "http", "tls"), config.admin.http.tls


def _peer_problems(config: ServerConfig, party: str, base: Path) -> Iterator[tuple[Place, str, str]]:
    at: Place = ("parties", party)
    scheme, tls = config.parties[party].scheme, config.tls_with(party)
    if tls is None:
        if scheme == "https":
            yield (*at, "tls"), "is false, but the address begins with https://", "leave one of them out"
        return
    if scheme == "http":
        hint = "write https:// or no prefix, or `tls: false` for this party"
        yield (*at, "address"), "begins with http://, but TLS is configured", hint
    try:
        client_context(tls_files(tls, base))
    except CertificateError as error:
        place = _place_of(config, party, error.option)
        yield place, error.message, error.hint


def _place_of(config: ServerConfig, party: str, option: str) -> Place:
    """Where the option stands that calls to a party take: with the party, for all of them, or with the port."""
    own = config.parties[party].tls
    from_own = own and (own.ca_file if option == "ca_file" else own.certificate_file)
    if from_own:
        return "parties", party, "tls", option
    if config.link.tls is not None:
        return "link", "tls", option
    if config.listen.tls_of("communication") is None:  # the system's own CA certificates
        return "parties", party
    return "listen", "communication_tls" if config.listen.communication_tls else "tls", option


def _clashes(config: ServerConfig) -> Iterator[tuple[Place, str, str]]:
    seen: dict[str, str] = {}
    for party in config.parties:
        for name in sorted(config.identity_names(party)):
            if name in seen:
                text = f"certificates of {seen[name]!r} and {party!r} could not be told apart, both may say {name}"
                yield ("parties", party), text, "give different `tls: {identities: […]}`"
                break
            seen[name] = party


def tls_warnings(config: ServerConfig, base: Path) -> Iterator[str]:
    """What will go wrong later, or at others."""
    for _, tls in _port_sections(config):
        files = tls_files(tls, base)
        assert files.certificate_file is not None
        for_peers = tls == config.listen.tls_of("communication")
        certificate = own_certificate(files, ssl.Purpose.SERVER_AUTH)
        left = ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()
        if left < _SOON_SECONDS:
            yield f"the certificate {files.certificate_file} expires on {certificate['notAfter']}"
        if for_peers and not certificate_names(certificate) & config.identity_names(config.party):
            wanted = " or ".join(sorted(config.identity_names(config.party)))
            yield (
                f"the certificate {files.certificate_file} is not made out to party {config.party!r} ({wanted}): "
                f"peers refuse it unless their `parties.{config.party}.tls.identities` name it as it is"
            )
