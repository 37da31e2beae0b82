"""Keys in files of their own: one line of base64 of what HEU writes."""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final

from sfs_core import ConfigError

from .keys import PublicKey, SecretKey
from .schemes import read_public_key, read_secret_key
from .wire import WireError

__all__ = [
    "SECRET_MODE",
    "describe_key",
    "read_key_file",
    "read_key_pair",
    "refuse_existing",
    "write_key_pair",
    "write_new",
]

SECRET_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644
_MOST_BYTES: Final = 1 << 16


def read_key_file(path: Path) -> bytes:
    """A key as HEU writes it.

    Raises:
        ConfigError: the file cannot be read, or holds no base64.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES)
        return b64decode(b"".join(text.split()), validate=True)
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}", where=str(path)) from None
    except (binascii.Error, ValueError):
        raise ConfigError("it holds no key in base64", where=str(path)) from None


def read_key_pair(stem: Path) -> SecretKey:
    """The keys of `<stem>.public` and `<stem>.secret`.

    Raises:
        ConfigError: a file cannot be read, or holds no base64.
        WireError: a key is none, or they do not belong together.
    """
    path = stem.with_name(f"{stem.name}.public")
    try:
        public = read_public_key(read_key_file(path))
        path = stem.with_name(f"{stem.name}.secret")
        return read_secret_key(read_key_file(path), public)
    except WireError as error:
        error.where = str(path)
        raise


def write_key_pair(stem: Path, key: SecretKey) -> None:
    """Write `<stem>.public`, and `<stem>.secret` for this user alone.

    Raises:
        ConfigError: there is such a file, or it cannot be written.
    """
    public, secret = (stem.with_name(f"{stem.name}.{end}") for end in ("public", "secret"))
    refuse_existing(public, secret)
    write_new(secret, key.to_bytes(), SECRET_MODE)
    write_new(public, key.public.to_bytes(), _PUBLIC_MODE)


def write_new(path: Path, key: bytes, mode: int) -> None:
    """Write a key into a file that there is not yet.

    Raises:
        ConfigError: there is, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(b64encode(key) + b"\n")
    except OSError as error:
        raise ConfigError(f"it cannot be written: {error.strerror}", where=str(path)) from None


def refuse_existing(*paths: Path) -> None:
    """Raise a ConfigError when one of the files is there."""
    if there := [str(path) for path in paths if path.exists()]:
        exist = "exists" if len(there) == 1 else "exist"
        raise ConfigError(f"{', '.join(there)} {exist} already", hint="choose another name, or remove what is there")


def describe_key(key: PublicKey) -> str:
    """A public key in a few words."""
    return f"{key.scheme_name}, {key.n.bit_length()} bits"
