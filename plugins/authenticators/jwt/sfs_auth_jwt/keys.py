"""An issuer's public keys, kept fresh by a thread."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import jwt

from sfs_core import ConfigError, ErrorCode

__all__ = ["KeySet"]

FETCH_SECONDS: Final = 10.0
LEAST_SECONDS: Final = 5.0
"""Between two looks because of tokens whose key is not known, so that such tokens cannot keep the issuer busy."""


class KeySet:
    """Public keys by their ids.

    Args:
        read: gives the JSON Web Key Set.
        refresh: seconds between two looks.
        warn: told what is wrong when keys cannot be read again; those that there are go on being used.
    """

    def __init__(self, read: Callable[[], Any], refresh: float, warn: Callable[[str], None]) -> None:
        self._read = read
        self._refresh = refresh
        self._warn = warn
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._wanted = Event()
        self._closed = Event()
        self._thread: Thread | None = None

    def open(self) -> None:
        """Read the keys, and go on reading them.

        Raises:
            ConfigError: they cannot be read.
        """
        self._keys = self._fetched()
        self._thread = Thread(target=self._follow, name="sfs-jwks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read no more."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(FETCH_SECONDS)
            self._thread = None

    def get(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key of that id, or the only key where a token names none; None asks for a look at the issuer's keys."""
        key = self._keys.get(key_id)
        if key is None and key_id is None and len(self._keys) == 1:
            (key,) = self._keys.values()
        if key is None:
            self._wanted.set()
        return key

    def _follow(self) -> None:
        while not self._closed.is_set():
            self._wanted.wait(self._refresh)
            if self._closed.is_set():
                return
            try:
                self._keys = self._fetched()
            except ConfigError as error:
                self._warn(f"{error.message}; the keys known so far go on being used")
            self._closed.wait(min(LEAST_SECONDS, self._refresh))
            self._wanted.clear()

    def _fetched(self) -> dict[str | None, jwt.PyJWK]:
        try:
            keys = jwt.PyJWKSet.from_dict(self._read()).keys
        except OSError as error:
            raise ConfigError(
                f"the issuer's keys cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}",
                code=ErrorCode.IO_ERROR,
            ) from None
        except (ValueError, AttributeError, TypeError, jwt.PyJWTError) as error:
            raise ConfigError(f"the issuer's keys are no JSON Web Key Set ({type(error).__name__})") from None
        return {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}


def file_reader(path: Path) -> Callable[[], Any]:
    """Reads a key set from a file."""
    return lambda: json.loads(path.read_bytes())


def url_reader(url: str, ca_file: Path | None) -> Callable[[], Any]:
    """Reads a key set from a URL."""
    context = ssl.create_default_context(cafile=ca_file)
    client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_SECONDS, ssl_context=context)

    def read() -> Any:
        try:
            return client.fetch_data()
        except jwt.PyJWKClientConnectionError as error:
            raise OSError(0, "the issuer's server does not answer as it should") from error

    return read
