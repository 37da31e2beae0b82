"""Which schemes are served, and keys of any of them as HEU writes them."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from .keys import DEFAULT_DIGIT_BITS, LEAST_BITS, PublicKey, SecretKey
from .okamoto_uchiyama import OuPublicKey, OuSecretKey
from .paillier import PaillierPublicKey, PaillierSecretKey
from .wire import WireError, split_tag

__all__ = ["SCHEMES", "fingerprint", "read_public_key", "read_secret_key", "scheme_name"]

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


def scheme_name(number: int) -> str:
    """What a scheme is called."""
    return _NAMES.get(number, f"number {number}")


def fingerprint(key: PublicKey) -> str:
    """Names a public key to people: the beginning of its SHA-256."""
    return sha256(key.to_bytes()).hexdigest()[:16]


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
        raise WireError("the secret key is of another scheme than the public key")
    if isinstance(public, OuPublicKey):
        return OuSecretKey.from_payload(payload, public)
    assert isinstance(public, PaillierPublicKey)
    return PaillierSecretKey.from_payload(payload, public)
