"""Which schemes are served, and keys of any of them as HEU writes them."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from gmpy2 import mpz

from .keys import DEFAULT_DIGIT_BITS, LEAST_BITS, PublicKey, SecretKey
from .okamoto_uchiyama import OuPublicKey, OuSecretKey
from .paillier import PaillierPublicKey, PaillierSecretKey
from .wire import Reader, WireError, integer_from_bytes, integer_to_bytes, split_tag

__all__ = [
    "SCHEMES",
    "fingerprint",
    "is_scheme",
    "modulus_of_secret_key",
    "read_public_key",
    "read_secret_key",
    "scheme_name",
]

SCHEMES: Final[dict[int, type[OuPublicKey | PaillierPublicKey]]] = {1: OuPublicKey, 4: PaillierPublicKey}
"""The public keys of the schemes that are served, by number."""
_NAMES: Final = {
    0: "mock (no encryption)",
    1: "OU",
    2: "IPCL Paillier",
    3: "GPU Paillier",
    4: "ZPaillier",
    5: "FPaillier",
    6: "IC-Paillier",
    7: "Clustar FPGA",
    8: "EC ElGamal",
    10: "DGK",
    11: "Damgard-Jurik",
}


def is_scheme(number: int) -> bool:
    """Whether HEU has a scheme of this number."""
    return number in _NAMES


def scheme_name(number: int) -> str:
    """What a scheme is called. Other numbers are not told: where a key was cut off, they are a part of it."""
    return _NAMES.get(number, "(unknown)")


def fingerprint(modulus: mpz) -> str:
    """Names a key pair to people: the beginning of the SHA-256 of its modulus `n`."""
    return sha256(integer_to_bytes(modulus)).hexdigest()[:16]


def modulus_of_secret_key(data: bytes) -> tuple[str, mpz]:
    """The scheme's name and the modulus `n` that a secret key claims to belong to, without its public key.

    Raises:
        WireError: it is no secret key of a scheme that is served.
    """
    payload, scheme = split_tag(data)
    reader = Reader(payload)
    parts = reader.array()
    if (scheme, parts) not in ((1, 7), (4, 4)):
        raise WireError("this is no secret key of OU or ZPaillier")
    numbers = [integer_from_bytes(reader.text()) for _ in range(parts)]
    reader.end()
    return SCHEMES[scheme].scheme_name, numbers[6] if scheme == 1 else numbers[2] * numbers[3]


def read_public_key(
    data: bytes, digit_bits: int = DEFAULT_DIGIT_BITS, least_bits: int = LEAST_BITS
) -> OuPublicKey | PaillierPublicKey:
    """A party's public key.

    Raises:
        WireError: it is none, is of a scheme that is not served, or cannot protect anything.
    """
    payload, scheme = split_tag(data)
    if scheme not in SCHEMES:
        raise WireError(f"keys of scheme {scheme_name(scheme)} are not served, only OU and ZPaillier")
    return SCHEMES[scheme].from_payload(payload, digit_bits, least_bits)


def read_secret_key(data: bytes, public: PublicKey) -> SecretKey:
    """The secret key of a public key.

    Raises:
        WireError: it is none, or of another public key.
    """
    payload, scheme = split_tag(data)
    if scheme != public.scheme:
        raise WireError("the secret key is damaged, or of another scheme than the public key")
    if isinstance(public, OuPublicKey):
        return OuSecretKey.from_payload(payload, public)
    assert isinstance(public, PaillierPublicKey)
    return PaillierSecretKey.from_payload(payload, public)
