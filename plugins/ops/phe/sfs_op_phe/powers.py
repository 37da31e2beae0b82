"""Powers modulo a number, where the structure of the problem makes them cheap."""

from __future__ import annotations

import os
import secrets
from bisect import insort
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
    if not values:
        return []
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


def product_of_powers(bases: Sequence[mpz], exponents: Sequence[int], modulus: mpz) -> mpz:
    """Product of each base to its exponent, by subtracting exponents from each other (Bos and Coster's method).

    Where a^x b^y with x > y is wanted, a^(x - y) (ab)^y is the same, and costs one multiplication. Of many exponents
    the largest two are close to each other, so each such step takes several bits away.

    Raises:
        ZeroDivisionError: a base with a negative exponent has no inverse.
    """
    bases = list(bases)
    negative = [place for place, exponent in enumerate(exponents) if exponent < 0]
    for place, inverse in zip(negative, inverses([bases[place] for place in negative], modulus), strict=True):
        bases[place] = inverse
    shift = len(bases).bit_length()
    places = (1 << shift) - 1
    # Ascending: exponents above the places of their bases. The zero at the start is never taken.
    pending = [0, *sorted(abs(exponent) << shift | place for place, exponent in enumerate(exponents) if exponent)]
    if len(pending) == 1:
        return mpz(1)
    largest = pending.pop()
    while second := pending[-1]:
        a, b = largest & places, second & places
        rest = largest - second + b
        if rest <= second:
            bases[b] = bases[b] * bases[a] % modulus
        else:
            quotient, exponent = divmod(largest >> shift, second >> shift)
            bases[b] = bases[b] * powmod(bases[a], quotient, modulus) % modulus
            rest = exponent << shift | a
        largest = pending.pop()
        if rest > places:
            insort(pending, rest)
    return powmod(bases[largest & places], largest >> shift, modulus)
