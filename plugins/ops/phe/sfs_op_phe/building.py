"""What exporters of encrypted models write into packages: weights under the other party's key, and leaf shares."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np

from .keys import PublicKey
from .matrices import write_cipher_matrix, write_plain_matrix
from .numbers import encode

__all__ = ["encrypt_intercept", "encrypt_weights", "share_leaf_weights"]

_SHARE_BITS: Final = 127


def encrypt_weights(weights: Sequence[float], scale: int, key: PublicKey) -> bytes:
    """`feature_weights_ciphertext` of a party: its features' weights under the *other* party's key.

    Args:
        weights: in the order of the party's features.
        scale: `he_config.encode_scale`.
        key: the other party's.

    Raises:
        FeatureError: a weight is not finite, or too large (code 3).
    """
    numbers = _scaled(weights, scale, "weights")
    noises = key.noises(len(numbers))
    items = [noise * key.power(number) % key.modulus for noise, number in zip(noises, numbers, strict=True)]
    return write_cipher_matrix(len(items), 1, 1, items, key)


def encrypt_intercept(intercept: float, scale: int, key: PublicKey) -> bytes:
    """`intercept_ciphertext` of the one party that adds it, under the other party's key; errors as above."""
    return encrypt_weights([intercept], scale, key)


def share_leaf_weights(weights: Sequence[float], scale: int) -> tuple[bytes, bytes]:
    """`weight_shard` of the two parties: random integers whose sums are the leaves' scaled weights.

    Args:
        weights: in the order of `leaf_node_ids`.
        scale: `he_config.encode_scale`.

    Raises:
        FeatureError: a weight is not finite, or too large (code 3).
    """
    numbers = _scaled(weights, scale, "leaf weights")
    first = [secrets.randbelow(1 << _SHARE_BITS + 1) - (1 << _SHARE_BITS) for _ in numbers]
    second = [number - share for number, share in zip(numbers, first, strict=True)]
    return write_plain_matrix(len(first), 1, 2, first), write_plain_matrix(len(second), 1, 2, second)


def _scaled(values: Sequence[float], scale: int, what: str) -> list[int]:
    return [number for (number,) in encode(np.array(values, np.float64).reshape(-1, 1), scale, [what])]
