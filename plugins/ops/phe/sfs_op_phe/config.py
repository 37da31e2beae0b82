"""The options of the encrypted operators: one model for all of them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Final, NoReturn

from pydantic import AfterValidator, Field, SecretStr

from sfs_core import PluginConfig

from .keys import DEFAULT_DIGIT_BITS
from .schemes import SCHEMES, is_scheme, modulus_of_secret_key, scheme_name
from .wire import WireError, split_tag

__all__ = ["PheConfig"]

_MOST_WORKERS: Final = 256


def _decoded(key: SecretStr) -> bytes:
    try:
        data = b64decode("".join(key.get_secret_value().split()), validate=True)
        _, scheme = split_tag(data)
        if scheme in SCHEMES:
            modulus_of_secret_key(data)
            return data
    except (binascii.Error, WireError, ValueError):
        scheme = -1
    if is_scheme(scheme):
        raise ValueError(f"keys of scheme {scheme_name(scheme)} are not served, only OU and ZPaillier")
    raise ValueError("a secret key in base64 is expected, as `sfs he keygen` and `sfs he seal` write it")


def _checked(key: SecretStr) -> SecretStr:
    _decoded(key)
    return key


class PheConfig(PluginConfig):
    """Options of all encrypted operators of a party; both parties need the same `digit_bits`."""

    secret_keys: tuple[Annotated[SecretStr, AfterValidator(_checked)], ...] = ()
    """Secret keys for model packages that hold none, in base64: `${file:alice.secret}` or `${env:…}`. Of several,
    each model uses the one that belongs to its public key."""
    workers: int | None = Field(default=None, ge=0, le=_MOST_WORKERS)
    """Processes that merge trees and make random encryptions of zero for requests that wait; as many more, of the
    lowest priority, fill stocks. 0: none, one core does it all. Absent: as many as there are cores."""
    noise_stock: int = Field(default=1 << 15, ge=0, le=1 << 22)
    """Most random encryptions of zero kept ready per key and model (0.3 KB each): those for 32 rows of the model, at
    least 2048; made while the party is idle. 0: none."""
    table_memory: int = Field(default=256 << 20, ge=0)
    """Bytes that the tables of one model's weights may take: 0.3 MB per weight; narrow tables need a ninth. Weights
    that there is no room for have none, which is slower."""
    packing: bool = False
    """Whether rows and leaves of requests share ciphertexts, with other parties of this software that have it switched
    on, too: faster, with less to send. Not part of SecretFlow-Serving's protocol; with other parties the plain form is
    used."""
    digit_bits: int = Field(default=DEFAULT_DIGIT_BITS, ge=8, le=64)
    """Digit size of the Montgomery form of ciphertexts: 60 for HEU up to 0.6.0.dev20250123 and for SecretFlow-Serving
    0.9 and 0.10, 64 for HEU's later default. With a wrong one, requests end with "a decrypted number is out of
    range", and the log of the party that decrypts names the right one."""

    def secret_key_bytes(self) -> list[bytes]:
        """The secret keys as HEU writes them."""
        return [_decoded(key) for key in self.secret_keys]

    def __reduce__(self) -> NoReturn:
        raise TypeError("what holds a secret key is not pickled")
