"""What the verbs that call servers share: whom they call, and for which ids."""

from __future__ import annotations

import csv
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sfs_core.client.tls import Tls
from sfs_core.config.certificates import TlsFiles, certificate_names, own_certificate
from sfs_core.errors import RequestError

if TYPE_CHECKING:
    from sfs_core.config.tls import ServerTls

__all__ = ["CalledService", "find_service", "read_ids"]

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to call who listens on all


def read_ids(file: Path, column: str) -> list[str]:
    """The ids in a column of a CSV file. Raises RequestError where that cannot be read."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            if column not in (reader.fieldnames or ()):
                raise RequestError(f"{file} has no column {column!r}", hint="name the column with --id-column")
            return [_id_in(row, column, f"{file}:{reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{file} is no CSV file that can be read ({type(error).__name__})") from None


def _id_in(row: Mapping[str, str | None], column: str, where: str) -> str:
    value = row[column]
    if value is None:
        raise RequestError(f"the line ends before column {column!r}", where=where)
    return value


@dataclass(frozen=True)
class CalledService:
    """A service to ask, and where.

    Args:
        url: where callers are answered.
        service: its id.
        parties: who looks ids up.
        tls: how it is spoken to over TLS, as far as a config says; None where none does.
    """

    url: str
    service: str
    parties: tuple[str, ...]
    tls: Tls | None = None


def find_service(target: str, service: str | None, parties: Sequence[str]) -> CalledService:
    """The service of a target: a URL, for which the others must be given, or a party's config file.

    Raises:
        click.UsageError: they are not given, or the config has several services and none is named.
        SfsError: the config is wrong, or opens no service port.
    """
    if "://" in target:
        if not service or not parties:
            raise click.UsageError("with a URL, --service and --party (one for each party) are needed")
        return CalledService(target, service, tuple(parties))
    from sfs_core.config.loader import read_config  # noqa: PLC0415 - a URL needs no config code

    file = read_config(Path(target))
    config = file.config
    names = [s.service for s in config.services]
    service = service or (names[0] if len(names) == 1 else None)
    if service not in names:
        raise click.UsageError(f"--service must be one of {', '.join(names)}")
    if not config.listen.service:
        raise RequestError(f"{target} opens no service port", hint="ask a party whose config has listen.service")
    host = _ANY_ADDRESS.get(config.listen.host, config.listen.host)
    address = f"[{host}]:{config.listen.service}" if ":" in host else f"{host}:{config.listen.service}"
    port_tls = config.listen.tls_of("service")
    if port_tls is None:
        return CalledService(f"http://{address}", service, tuple(config.parties))
    return CalledService(
        f"https://{address}", service, tuple(config.parties), _tls_with(port_tls, host, file.base_directory)
    )


def _tls_with(port_tls: ServerTls, host: str, base: Path) -> Tls:
    """How the config's own server is spoken to: it must show the certificate's names that the config's file has, and
    gets to see the same certificate where it asks for one."""
    from sfs_core.config.tls import tls_files  # noqa: PLC0415 - likewise

    files = tls_files(port_tls, base)
    names = certificate_names(own_certificate(files, ssl.Purpose.SERVER_AUTH))
    usable = sorted(name.partition(":")[2] for name in names if name.startswith("DNS:") and "*" not in name)
    right_host = not usable or {f"DNS:{host}", f"IP Address:{host}"} & names
    if port_tls.ca_file is None or port_tls.client_certificates != "required":
        files = TlsFiles(ca_file=files.ca_file)
    return Tls(
        files.ca_file, files.certificate_file, files.key_file, files.key_password, None if right_host else usable[0]
    )
