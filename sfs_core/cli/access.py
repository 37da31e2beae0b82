"""How the verbs that call servers get in: the options for TLS and credentials that they share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from sfs_core.client.credentials import sent_headers
from sfs_core.client.target import Target
from sfs_core.client.tls import Tls
from sfs_core.errors import ErrorCode, RequestError

__all__ = ["Access", "access_options"]

_Command = Callable[..., None]
_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_PASSWORD_VARIABLE: Final = "SFS_KEY_PASSWORD"  # noqa: S105 - names of variables
_API_KEY_VARIABLE: Final = "SFS_API_KEY"
_TOKEN_VARIABLE: Final = "SFS_TOKEN"  # noqa: S105


@dataclass(frozen=True)
class Access:
    """What was said of TLS and credentials, and of further headers. Secrets come from files and the environment, where
    `ps` shows none."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    server_name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    plain_credentials: bool = False
    own_headers: dict[str, str] = field(default_factory=dict, repr=False)

    def tls(self, target: Target, known: Tls | None = None) -> Tls | None:
        """TLS with a server: what was said, else what a config says of it. None for a plain address.

        Args:
            target: the server.
            known: what a config says.

        Raises:
            click.UsageError: options of TLS were given, and the address is plain.
        """
        given = self.ca_file or self.certificate_file or self.key_file or self.server_name
        if not target.tls:
            if given:
                raise click.UsageError(f"options of TLS are given, but {target.address} is not asked over TLS")
            return None
        tls = known or Tls()
        if self.certificate_file or self.key_file:
            tls = replace(
                tls,
                certificate_file=self.certificate_file,
                key_file=self.key_file,
                key_password=self.key_password,
            )
        return replace(tls, ca_file=self.ca_file or tls.ca_file, server_name=self.server_name or tls.server_name)

    def headers(self, target: Target) -> dict[str, str]:
        """Credentials and further headers for a server.

        Raises:
            ConfigError: as of `sent_headers`.
        """
        plain = self.plain_credentials
        return sent_headers(target, self.api_key, self.token, self.own_headers, plain_credentials=plain)


_OPTIONS: Final = (
    click.option("--ca-file", type=_FILE, help="CA certificates (PEM) to believe, instead of this machine's."),
    click.option("--certificate-file", type=_FILE, help="Own certificate (PEM), for servers that ask for one."),
    click.option("--key-file", type=_FILE, help="Its private key (PEM), where that is in another file."),
    click.option("--key-password-file", type=_FILE, help=f"File with the key's password; else {_PASSWORD_VARIABLE}."),
    click.option("--server-name", help="What the server's certificate is made out to, if not to the URL's host."),
    click.option("--api-key-file", type=_FILE, help=f"File with an API key; else the variable {_API_KEY_VARIABLE}."),
    click.option("--token-file", type=_FILE, help=f"File with a bearer token; else the variable {_TOKEN_VARIABLE}."),
    click.option("--plain-credentials", is_flag=True, help="Send credentials without TLS to other machines, too."),
    click.option(
        "-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="HTTP header or gRPC metadata; repeat."
    ),
)


def access_options(command: _Command) -> _Command:
    """Have a command take the options, and get an `Access` as its argument `access`."""

    @functools.wraps(command)
    def with_access(
        *arguments: Any,
        key_password_file: Path | None,
        api_key_file: Path | None,
        token_file: Path | None,
        ca_file: Path | None,
        certificate_file: Path | None,
        key_file: Path | None,
        server_name: str | None,
        plain_credentials: bool,
        headers: tuple[str, ...],
        **more: Any,
    ) -> None:
        access = Access(
            ca_file,
            certificate_file,
            key_file,
            _secret(key_password_file, _PASSWORD_VARIABLE),
            server_name,
            _secret(api_key_file, _API_KEY_VARIABLE),
            _secret(token_file, _TOKEN_VARIABLE),
            plain_credentials,
            _read_headers(headers),
        )
        command(*arguments, access=access, **more)

    made: _Command = with_access
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


def _read_headers(headers: Sequence[str]) -> dict[str, str]:
    sent = {}
    for i, header in enumerate(headers, 1):
        name, colon, value = header.partition(":")
        if not (colon and name.strip() and value.strip() and header.isascii() and header.isprintable()):
            raise RequestError(f"header {i} is not NAME:VALUE", where="--header")
        sent[name.strip()] = value.strip()
    return sent


def _secret(file: Path | None, variable: str) -> str | None:
    if file is None:
        return os.environ.get(variable) or None
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} cannot be read ({type(error).__name__})", code=ErrorCode.IO_ERROR) from None
