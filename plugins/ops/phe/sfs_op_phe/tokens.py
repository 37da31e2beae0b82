"""Selections that travel through the other party: nobody else can read them, change them, or use them elsewhere."""

from __future__ import annotations

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .wire import WireError

__all__ = ["TokenBox"]

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


class TokenBox:
    """Seals bytes under a key that follows from the party's secret key, so that replicas open each other's tokens."""

    def __init__(self, secret_key: bytes) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"sfs-op-phe selection token 1").derive(secret_key)
        self._cipher = AESGCM(derived)

    def seal(self, content: bytes, place: str) -> bytes:
        """A token that opens only for the same place."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, place.encode())

    def open(self, token: bytes, place: str) -> bytes:
        """The content of a token.

        Raises:
            WireError: this party did not seal it, or for another place.
        """
        if len(token) < _NONCE_BYTES + _TAG_BYTES:
            raise WireError("this party's selection did not come back")
        try:
            return self._cipher.decrypt(token[:_NONCE_BYTES], token[_NONCE_BYTES:], place.encode())
        except InvalidTag:
            raise WireError("this party's selection came back changed, or from elsewhere") from None
