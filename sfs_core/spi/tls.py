"""TLS of components that are clients: their options, and a context that follows its files."""

from __future__ import annotations

import ssl
import time
from functools import partial
from pathlib import Path
from typing import Final, Self

from pydantic import SecretStr, model_validator

from sfs_core.config.certificates import CertificateError, TlsFiles, client_context
from sfs_core.errors import ConfigError
from sfs_core.link.tls import FollowedContext
from sfs_core.sdk.context import PluginConfig, PluginContext

__all__ = ["ClientTls", "TlsOptions"]

_LOOK_SECONDS: Final = 0.2


class TlsOptions(PluginConfig):
    """A base for the options of a component that is a client: whom it trusts, and what it shows."""

    ca_file: Path | None = None
    """PEM file of the authorities that may vouch for the server, instead of the system's. Relative to the config
    file, like the other files."""
    certificate_file: Path | None = None
    """PEM file of this client's certificate, and what leads from it to its authority."""
    key_file: Path | None = None
    """PEM file of this client's private key, where the certificate's file does not hold it."""
    key_password: SecretStr | None = None
    """Of an encrypted private key."""

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.certificate_file is None and (self.key_file or self.key_password):
            raise ValueError("`key_file` and `key_password` need `certificate_file`")
        return self

    @property
    def names_certificates(self) -> bool:
        """Whether any of these options is given, so that the server must be one that speaks TLS."""
        return self.ca_file is not None or self.certificate_file is not None


class ClientTls:
    """TLS, version 1.2 or newer, to servers whose certificate and name are checked.

    The context follows its files: where one changes, it is made again within a second, for connections that begin then.
    Files that then cannot be used are logged, and the context stays as it is.

    Args:
        name: of what is spoken to, for the log.
        options: which files.
        context: what their paths are relative to.
        alpn: names of protocols to offer.

    Raises:
        ConfigError: a file cannot be used (says which option names it, and why).
    """

    def __init__(self, name: str, options: TlsOptions, context: PluginContext, *, alpn: tuple[str, ...] = ()) -> None:
        named = (options.certificate_file, options.key_file, options.ca_file)
        certificate, key, authorities = (None if path is None else context.resolve(path) for path in named)
        password = None if options.key_password is None else options.key_password.get_secret_value()
        files = TlsFiles(certificate, key, password, authorities)
        try:
            self._followed = FollowedContext(name, files, partial(client_context, alpn=alpn))
        except CertificateError as error:
            raise ConfigError(error.message, where=error.option, hint=error.hint) from None
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def current(self) -> ssl.SSLContext:
        """The context for connections that begin now."""
        if time.monotonic() >= self._look_at:
            self._followed.refresh()
            self._look_at = time.monotonic() + _LOOK_SECONDS
        return self._followed.current
