"""`sfs he`: keys and packages of encrypted models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from sfs_core import ConfigError, Graph, read_package, write_package

from .encrypting import DEFAULT_SCALE, encrypt_graphs
from .inspecting import inspect_file
from .key_files import SECRET_MODE, describe_key, read_key_pair, refuse_existing, write_key_pair, write_new
from .keys import SecretKey
from .okamoto_uchiyama import generate_ou_keys
from .paillier import generate_paillier_keys
from .schemes import fingerprint, read_public_key, read_secret_key

__all__ = ["command"]

_GENERATORS: Final = {"ou": generate_ou_keys, "zpaillier": generate_paillier_keys}
_existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_path = click.Path(path_type=Path)
_scheme = click.option("--scheme", type=click.Choice(list(_GENERATORS)), default="ou", show_default=True)
_bits = click.option("--bits", type=click.Choice(["2048", "3072"]), default="2048", show_default=True)


@click.group("he")
def command() -> None:
    """Make and inspect keys and packages of encrypted models."""


@command.command("keygen")
@click.argument("name", type=_path)
@_scheme
@_bits
def keygen(name: Path, scheme: str, bits: str) -> None:
    """Make a key pair: NAME.public, for anybody, and NAME.secret, for this user alone.

    OU is several times faster than ZPaillier. Both parties of a model need keys of one scheme.
    """
    refuse_existing(*(name.with_name(f"{name.name}.{end}") for end in ("public", "secret")))
    key = _GENERATORS[scheme](int(bits))
    write_key_pair(name, key)
    click.echo(f"{name}.public, {name}.secret: {describe_key(key.public)}, {fingerprint(key.public.n)}")


@command.command("inspect")
@click.argument("files", nargs=-1, required=True, type=_existing_file)
@click.pass_context
def inspect(context: click.Context, files: tuple[Path, ...]) -> None:
    """Show what model packages and key FILES hold, without any secret; exits with 1 where something is wrong.

    A key pair is named by 16 digits, the same for both keys.
    """
    wrong = False
    for path in files:
        lines, problems = inspect_file(path)
        for line in lines:
            click.echo(line)
        for problem in problems:
            wrong = True
            click.echo(f"  WRONG: {problem}")
    if wrong:
        context.exit(1)


@command.command("seal")
@click.argument("package", type=_existing_file)
@click.option("--to", required=True, type=_path, metavar="PACKAGE", help="The package to write, without the key.")
@click.option("--secret-key", required=True, type=_path, metavar="FILE", help="The file to write the key into.")
def seal(package: Path, to: Path, secret_key: Path) -> None:
    """Take the secret key out of PACKAGE, so that the package can travel and the key need not.

    A server then finds the key by its config, operators: {sfs-op-phe: {secret_keys: ["${file:…}"]}}. The reference's
    server only serves packages with the key inside.
    """
    refuse_existing(to, secret_key)
    model = read_package(package)
    keys = model.graph.he
    if keys is None or not keys.secret_key:
        raise ConfigError("the package holds no secret key", where=str(package))
    key = read_secret_key(keys.secret_key, read_public_key(keys.public_key))
    write_new(secret_key, key.to_bytes(), SECRET_MODE)
    graph = replace(model.graph, he=replace(keys, secret_key=b""))
    _write(to, model.name, model.description, graph)
    click.echo(f"{to}: without secret key\n{secret_key}: {describe_key(key.public)}, {fingerprint(key.public.n)}")


@command.command("encrypt")
@click.argument("packages", nargs=2, metavar="PARTY=PACKAGE PARTY=PACKAGE")
@click.option("--to", required=True, type=_path, metavar="DIR", help="Where to write PARTY.tar.gz, and new keys.")
@click.option("--keys", type=_path, metavar="DIR", help="Where PARTY.public and PARTY.secret are; absent: new ones.")
@_scheme
@_bits
@click.option("--scale", type=click.IntRange(1, 2**43), default=DEFAULT_SCALE, show_default=True)
def encrypt(packages: tuple[str, str], to: Path, keys: Path | None, scheme: str, bits: str, scale: int) -> None:
    """Make encrypted packages from the plain PACKAGEs of a linear model or a tree ensemble of two parties.

    They hold no secret keys. This machine sees the plain model and both secret keys: give each party its own package
    and key only. SCALE is how finely weights are rounded.
    """
    paths = dict(_party_and_path(text) for text in packages)
    if len(paths) != 2:
        raise click.BadParameter("two different parties are expected", param_hint="PARTY=PACKAGE")
    written = {party: to / f"{party}.tar.gz" for party in paths}
    key_files = [] if keys else [to / f"{party}.{end}" for party in paths for end in ("public", "secret")]
    refuse_existing(*written.values(), *key_files)
    models = {party: read_package(path) for party, path in paths.items()}
    secrets: dict[str, SecretKey] = {
        party: read_key_pair(keys / party) if keys else _GENERATORS[scheme](int(bits)) for party in paths
    }
    graphs = encrypt_graphs(
        {party: model.graph for party, model in models.items()}, secrets, scale, with_secret_keys=False
    )
    for party, graph in graphs.items():
        if keys is None:
            write_key_pair(to / party, secrets[party])
        _write(written[party], models[party].name, models[party].description, graph)
        click.echo(f"{written[party]}: {describe_key(secrets[party].public)}, {fingerprint(secrets[party].public.n)}")


def _party_and_path(text: str) -> tuple[str, Path]:
    party, equals, path = text.partition("=")
    if not (party and equals and Path(path).is_file()) or "/" in party:
        raise click.BadParameter(f"{text!r} is not PARTY=PACKAGE, with a file", param_hint="PARTY=PACKAGE")
    return party, Path(path)


def _write(path: Path, name: str, description: str, graph: Graph) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_package(path, name, description, graph)
    except OSError as error:
        raise ConfigError(f"it cannot be written: {error.strerror}", where=str(path)) from None
