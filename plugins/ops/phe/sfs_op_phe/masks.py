"""Random numbers that hide weighted sums, with what they are under a key: in a module that workers load quickly."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import NamedTuple

from gmpy2 import mpz

from .keys import PublicKey
from .schemes import read_public_key

__all__ = ["Mask", "PackedMask", "random_masks", "random_packed_masks"]


class Mask(NamedTuple):
    """A random number that is used once.

    Args:
        number: itself.
        encrypted: under the peer's key, with fresh randomness, as a representative.
        taken_off: the residue that stands for its negative under the own key.
    """

    number: int
    encrypted: mpz
    taken_off: mpz


class PackedMask(NamedTuple):
    """A random number that hides packed numbers, used once.

    Args:
        number: itself.
        encrypted: under the peer's key, with fresh randomness, as a representative.
    """

    number: int
    encrypted: mpz


def random_packed_masks(peer_key: bytes, digit_bits: int, mask_bits: int, count: int) -> list[PackedMask]:
    """Some masks for packed numbers; arguments as of `random_masks`."""
    peer = _read(peer_key, digit_bits)
    numbers = [secrets.randbits(mask_bits) for _ in range(count)]
    pairs = zip(numbers, peer.noises(count), strict=True)
    return [PackedMask(number, noise * peer.power(number) % peer.modulus) for number, noise in pairs]


def random_masks(peer_key: bytes, own_key: bytes, digit_bits: int, mask_bits: int, count: int) -> list[Mask]:
    """Some masks.

    Args:
        peer_key: the peer's public key as HEU writes it.
        own_key: this party's.
        digit_bits: of the Montgomery form.
        mask_bits: length of the masks.
        count: how many.
    """
    peer, own = _read(peer_key, digit_bits), _read(own_key, digit_bits)
    masks = []
    for noise in peer.noises(count):
        number = secrets.randbits(mask_bits)
        masks.append(Mask(number, noise * peer.power(number) % peer.modulus, own.power(-number)))
    return masks


@lru_cache(8)
def _read(public_key: bytes, digit_bits: int) -> PublicKey:
    return read_public_key(public_key, digit_bits)
