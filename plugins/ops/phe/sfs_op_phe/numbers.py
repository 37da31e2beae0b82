"""Fixed-point numbers: doubles as the integers that are encrypted, and back, bit for bit as the reference does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sfs_core import ErrorCode, FeatureError, GraphError, SfsError

__all__ = [
    "FEATURE_SCALE",
    "MASKED_BITS",
    "MASK_BITS",
    "OFFSET_BITS",
    "SCORE_BITS",
    "are_short",
    "check_scale",
    "decode",
    "encode",
    "out_of_range",
]

FEATURE_SCALE: Final = 10**6
"""Scale of features: their first six decimals count."""
FEATURE_BITS: Final = 84
"""Scaled features are shorter, which those of any 64-bit integer are; larger ones could wrap around unnoticed."""
OFFSET_BITS: Final = 140
"""Scaled offsets are shorter."""
SCORE_BITS: Final = 150
"""Weighted sums of features are shorter: 84 bits of a feature, 53 of a weight, room for the number of features."""
MASK_BITS: Final = 192
"""Length of the random numbers that hide weighted sums: 42 bits more than these have."""
MASKED_BITS: Final = 200
"""Masked sums are shorter, and a decrypted number beyond is not one: its owner wants to learn something of the key."""

_DIGIT_BITS: Final = 60
_INT64: Final = 2.0**62


def check_scale(scale: int) -> None:
    """Refuse a fixed-point scale of weights that cannot be served.

    Raises:
        GraphError: it is not positive, or its product with the features' scale exceeds 64 bits (code 7).
    """
    if not 0 < scale < 2**63 // FEATURE_SCALE:
        raise GraphError(
            f"he_config.encode_scale is {scale}; 1 to {2**63 // FEATURE_SCALE - 1} can be served",
            hint="export the model again with a smaller scale",
        )


def encode(
    values: npt.NDArray[np.float64], scale: int, names: Sequence[str], *, bits: int = FEATURE_BITS
) -> list[list[int]]:
    """Values times the scale, the products rounded to float64 and then cut towards zero; a list per row.

    Args:
        values: rows x columns.
        scale: what to multiply by.
        names: of the columns, for errors.
        bits: results must be shorter.

    Raises:
        FeatureError: a value is not finite, or too large (code 3); names column and row.
    """
    with np.errstate(over="ignore"):
        scaled = np.trunc(values * float(scale))
    magnitudes = np.abs(scaled)
    fits = magnitudes < 2.0**bits  # false for NaN
    if not fits.all():
        row, column = divmod(int(fits.argmin()), len(names))
        finite = np.isfinite(values[row, column])
        why = "is too large for encrypted arithmetic" if finite else "is not finite"
        raise FeatureError(f"column {names[column]!r}, row {row}: the value {why}")
    if (magnitudes < _INT64).all():
        integers: list[list[int]] = scaled.astype(np.int64).tolist()
        return integers
    return [[int(value) for value in row] for row in scaled.tolist()]


def decode(values: list[int], scale: int) -> npt.NDArray[np.float64]:
    """Integers divided by the scale; long ones become doubles digit by digit, as the reference's library does it."""
    return np.array([_to_double(value) for value in values], np.float64) / float(scale)


def _to_double(value: int) -> float:
    magnitude = abs(value)
    digits = []
    while magnitude:
        digits.append(magnitude & ((1 << _DIGIT_BITS) - 1))
        magnitude >>= _DIGIT_BITS
    double = 0.0
    for digit in reversed(digits):
        double = double * 2.0**_DIGIT_BITS + float(digit)
    return -double if value < 0 else double


def are_short(numbers: Sequence[int], bits: int) -> bool:
    """Whether no number is longer than it can honestly be."""
    return all(number.bit_length() <= bits for number in numbers)


def out_of_range(what: str, detail: str = "") -> SfsError:
    """The error where one is; it tells neither which nor what it is. The detail stays in this party's log."""
    return SfsError(
        f"{what}: a decrypted number is out of range",
        code=ErrorCode.INVALID_ARGUMENT,
        hint="check that both parties serve packages of the same export",
        detail=detail,
    )
