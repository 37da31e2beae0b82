"""`sfs certs`: certificates for trying TLS out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from sfs_core.config.option_types import Id
from sfs_core.errors import ConfigError

__all__ = ["command"]


@click.group("certs", short_help="Make certificates for development.")
def command() -> None:
    """Make certificates for development."""


@command.command("dev", short_help="Make a CA and a certificate per party, for development.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--parties", required=True, metavar="ID,ID,…", help="The parties' ids.")
@click.option("--hosts", default="", metavar="NAME,NAME,…", help="Further host names and addresses of all parties.")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 365), help="How long they are valid.")
def dev(folder: Path, parties: str, hosts: str, days: int) -> None:
    """Write ca.crt, and for each party ID.crt and ID.key, into DIR; print the config lines to paste.

    The certificates are for server and client, made out to the party and to this machine. They are for development:
    whoever gets a key is that party. The CA's key is thrown away, so nobody can add certificates later.
    """
    ids = _ids(parties)
    write_certificates(folder, ids, [host.strip() for host in hosts.split(",") if host.strip()], days)
    click.echo(f"Certificates for development, valid for {days} days, are in {folder}. Never use them in production.")
    for party in ids:
        click.echo(f"\n# {party}'s config: TLS on all ports and to all peers, under `listen:`\n{_lines(folder, party)}")


def _ids(parties: str) -> list[str]:
    ids = [party.strip() for party in parties.split(",")]
    try:
        TypeAdapter(list[Id]).validate_python(ids)
    except ValidationError:
        raise click.BadParameter("ids of parties, separated by commas, are expected", param_hint="--parties") from None
    if len({*ids, "ca"}) <= len(ids):
        raise click.BadParameter("ids differ from each other, and from ca", param_hint="--parties")
    return ids


def _lines(folder: Path, party: str) -> str:
    files = {"certificate_file": f"{party}.crt", "key_file": f"{party}.key", "ca_file": "ca.crt"}
    lines = [f"    {option}: {json.dumps(str(folder.absolute() / name))}" for option, name in files.items()]
    return "\n".join(["  tls:", *lines])


def write_certificates(folder: Path, parties: Sequence[str], hosts: Sequence[str] = (), days: int = 30) -> None:
    """Write `ca.crt`, and `<party>.crt` and `<party>.key` for each party.

    Raises:
        ConfigError: the library for it is not installed, the folder cannot be written, or has such files already.
    """
    try:
        from sfs_core.cli.dev_certificates import DevelopmentAuthority, party_names  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "certificates are made with the library cryptography, which is not installed",
            hint="pip install 'sfs-core[certs]'",
        ) from None
    written = [folder / "ca.crt", *(folder / f"{party}.{end}" for party in parties for end in ("crt", "key"))]
    there = [path.name for path in written if path.exists()]
    if there:
        raise ConfigError(f"{folder} has {', '.join(there)} already", hint="choose another folder, or remove them")
    authority = DevelopmentAuthority(days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority.write(folder / "ca.crt")
        for party in parties:
            certificate, key = folder / f"{party}.crt", folder / f"{party}.key"
            authority.issue(certificate, key, party, party_names(party, hosts))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from None
    except ValueError:
        raise ConfigError(
            "one of --hosts is no host name", hint="names in ASCII (a-z, 0-9, -) and addresses are expected"
        ) from None
