"""Powers modulo a number, where the structure of the problem makes them cheap."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Final

from gmpy2 import invert, mpz, powmod, powmod_base_list

__all__ = [
    "FixedBase",
    "begin_equal_powers",
    "fixed_base",
    "inverses",
    "product_of_powers",
    "random_powers",
    "signed_digits",
]

_BASES_PER_THREAD: Final = 4
_OBJECT_BYTES: Final = 48  # what Python needs around a number, and a list for its place


class FixedBase:
    """Powers of one base by table: an exponent's digits each select a factor.

    The table holds base^(d * 2^(width * i)) for every digit position i and digit d, so that a power costs one
    multiplication per digit. Exponents beyond the table work too, slower.

    Args:
        base: a residue.
        modulus: of everything.
        num_bytes: length of the exponents that the table covers.
        width: bits of a digit, 8 or 4; 4 takes a ninth of the memory and twice the multiplications.
    """

    __slots__ = ("_beyond", "_levels", "_modulus", "_width", "num_bytes")

    def __init__(self, base: mpz, modulus: mpz, num_bytes: int, width: int = 8) -> None:
        self._modulus = modulus
        self._levels = []
        for _ in range(8 // width * num_bytes):
            level = [mpz(1)]
            for _ in range((1 << width) - 1):
                level.append(level[-1] * base % modulus)
            self._levels.append(level)
            base = level[-1] * base % modulus
        self._beyond = base
        self._width = width
        self.num_bytes = num_bytes

    @staticmethod
    def memory(modulus: mpz, num_bytes: int, width: int) -> int:
        """Bytes that a table takes."""
        number: int = modulus.bit_length() // 8 + _OBJECT_BYTES
        return 8 // width * num_bytes * (1 << width) * number

    def times_power(self, product: mpz, exponent: int) -> mpz:
        """`product` times the power with a non-negative exponent."""
        bits = 8 * self.num_bytes
        high = exponent >> bits
        if high:
            product = product * powmod(self._beyond, high, self._modulus) % self._modulus
            exponent &= (1 << bits) - 1
        return self.times_power_of_bytes(product, exponent.to_bytes(self.num_bytes, "little"))

    def times_power_of_bytes(self, product: mpz, exponent: bytes) -> mpz:
        """The same with a little-endian exponent of `num_bytes` bytes."""
        modulus = self._modulus
        digits = exponent if self._width == 8 else [nibble for byte in exponent for nibble in (byte & 15, byte >> 4)]
        for level, digit in zip(self._levels, digits, strict=True):
            if digit:
                product = product * level[digit] % modulus
        return product

    def __call__(self, exponent: int) -> mpz:
        """The power with a non-negative exponent."""
        return self.times_power(mpz(1), exponent)


@lru_cache(8)
def fixed_base(base: mpz, modulus: mpz, num_bytes: int) -> FixedBase:
    """A table of a base, made once."""
    return FixedBase(base, modulus, num_bytes)


def random_powers(base: mpz, modulus: mpz, num_bytes: int, factor: mpz, count: int) -> list[mpz]:
    """`factor` times powers of a base with random exponents of `num_bytes` bytes; the base's table is kept."""
    table = fixed_base(base, modulus, num_bytes)
    return [table.times_power_of_bytes(factor, secrets.token_bytes(num_bytes)) for _ in range(count)]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sfs-phe-powers")


def begin_equal_powers(bases: Sequence[mpz], exponent: mpz, modulus: mpz) -> Callable[[], list[mpz]]:
    """Have the machine's cores begin to raise each base to the same exponent; calling the result waits for the powers.

    Python's lock is free meanwhile.
    """
    portion = max(_BASES_PER_THREAD, -(-len(bases) // (os.cpu_count() or 1)))
    portions = [list(bases[start : start + portion]) for start in range(0, len(bases), portion)]
    begun = [_threads().submit(powmod_base_list, part, exponent, modulus) for part in portions]
    return lambda: [power for part in begun for power in part.result()]


def inverses(values: Sequence[mpz], modulus: mpz) -> list[mpz]:
    """The inverse of each value, at the cost of one inversion and three multiplications each.

    Raises:
        ZeroDivisionError: a value has no inverse.
    """
    before, product = [], mpz(1)
    for value in values:
        before.append(product)
        product = product * value % modulus
    rest = invert(product, modulus)
    result = []
    for value, others in zip(reversed(values), reversed(before), strict=True):
        result.append(rest * others % modulus)
        rest = rest * value % modulus
    return result[::-1]


@lru_cache(1 << 14)
def signed_digits(exponent: int, width: int) -> list[int]:
    """Digits of an exponent in -2^(width-1) … 2^(width-1), least significant first. Models' exponents come again."""
    sign, rest, digits = (-1 if exponent < 0 else 1), abs(exponent), []
    half, full = 1 << (width - 1), 1 << width
    while rest:
        digit = rest & (full - 1)
        rest >>= width
        if digit > half:
            digit -= full
            rest += 1
        digits.append(sign * digit)
    return digits


# Widths of Pippenger's digits, by the number of bases up to which each is fastest for exponents of about 128 bits.
_WIDTHS: Final = ((10, 3), (30, 4), (75, 5), (130, 6), (230, 7))


def product_of_powers(bases: Sequence[mpz], exponents: Sequence[int], modulus: mpz) -> mpz:
    """Product of each base to its exponent, by buckets per digit (Pippenger's method).

    Raises:
        ZeroDivisionError: a base has no inverse.
    """
    if not bases:
        return mpz(1)
    width = next((width for most, width in _WIDTHS if len(bases) <= most), 8)
    inverted = inverses(bases, modulus)
    positions: list[list[tuple[mpz, int]]] = []
    for base, inverse, exponent in zip(bases, inverted, exponents, strict=True):
        digits = signed_digits(exponent, width)
        while len(positions) < len(digits):
            positions.append([])
        for position, digit in zip(positions, digits, strict=False):
            if digit > 0:
                position.append((base, digit))
            elif digit:
                position.append((inverse, -digit))
    result = mpz(1)
    for position in reversed(positions):
        if result != 1:
            for _ in range(width):
                result = result * result % modulus
        result = result * _by_buckets(position, width, modulus) % modulus
    return result


def _by_buckets(factors: Sequence[tuple[mpz, int]], width: int, modulus: mpz) -> mpz:
    """Product of each factor to its digit: factors of equal digits first, then running products of the buckets."""
    buckets: list[mpz | None] = [None] * ((1 << (width - 1)) + 1)
    for factor, digit in factors:
        held = buckets[digit]
        buckets[digit] = factor if held is None else held * factor % modulus
    running: mpz | None = None
    total: mpz | None = None
    for bucket in buckets[:0:-1]:
        if bucket is not None:
            running = bucket if running is None else running * bucket % modulus
        if running is not None:
            total = running if total is None else total * running % modulus
    return mpz(1) if total is None else total
