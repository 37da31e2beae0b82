"""Okamoto-Uchiyama keys: n = p^2 q; a message m is G^m H^r mod n."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

from gmpy2 import gcd, invert, is_prime, mpz, next_prime, powmod

from .keys import DEFAULT_DIGIT_BITS, LEAST_BITS, MOST_BITS, KeyFormatError, PublicKey, SecretKey
from .powers import FixedBase, begin_equal_powers, fixed_base
from .wire import Reader, integer_from_bytes, integer_to_bytes, tagged, write_array, write_text, write_unsigned

__all__ = ["OuPublicKey", "OuSecretKey", "generate_ou_keys", "random_zeros"]

_TABLE_BYTES: Final = 24
"""Messages of up to 192 bits are encrypted by table; longer ones, where there are any, by a second one: 7 MB."""


class OuPublicKey(PublicKey):
    """A public key of Okamoto and Uchiyama.

    Args:
        n: p^2 q.
        g: encrypts one.
        h: its powers encrypt zero.
        max_bits: messages lie in -2^max_bits … 2^max_bits.
        digit_bits: digit size of the Montgomery form.
    """

    scheme = 1
    scheme_name = "OU"
    _noise_bytes = 32

    def __init__(self, n: mpz, g: mpz, h: mpz, max_bits: int, digit_bits: int = DEFAULT_DIGIT_BITS) -> None:
        self.n, self.g, self.h, self.max_bits = n, g, h, max_bits
        self.limit = mpz(1) << max_bits
        self._set_modulus(n, digit_bits)

    @classmethod
    def from_payload(cls, payload: bytes, digit_bits: int, least_bits: int = LEAST_BITS) -> OuPublicKey:
        """The key of a tagged object's payload.

        Raises:
            WireError: it is no such key, or cannot protect anything.
        """
        reader = Reader(payload)
        if reader.array() != 4:
            raise KeyFormatError("an OU public key has four parts")
        n, g, h = (integer_from_bytes(reader.text()) for _ in range(3))
        max_bits = reader.unsigned()
        reader.end()
        bits = n.bit_length() if n > 0 else 0
        if not least_bits <= bits <= MOST_BITS:
            raise KeyFormatError(f"an OU key of {bits} bits; {least_bits} to {MOST_BITS} are served")
        if n.is_even() or not 1 < g < n or not 1 < h < n or gcd(g * h, n) != 1 or h * h % n == 1:
            raise KeyFormatError("the numbers of an OU public key do not belong to a key")
        if not 1 <= max_bits <= bits // 3:
            raise KeyFormatError(f"an OU public key of {bits} bits cannot encrypt messages of {max_bits} bits")
        return cls(n, g, h, max_bits, digit_bits)

    def to_bytes(self) -> bytes:
        """The key as HEU writes it."""
        numbers = b"".join(write_text(integer_to_bytes(number)) for number in (self.n, self.g, self.h))
        return tagged(write_array(4) + numbers + write_unsigned(self.max_bits), self.scheme)

    @property
    def _noise_base(self) -> mpz:
        return self.h

    @cached_property
    def _positive(self) -> FixedBase:
        return FixedBase(self.g, self.n, _TABLE_BYTES)

    @cached_property
    def _negative(self) -> FixedBase:
        return FixedBase(invert(self.g, self.n), self.n, _TABLE_BYTES)

    @cached_property
    def _positive_wide(self) -> FixedBase:
        return FixedBase(self.g, self.n, -(-self.max_bits // 8))

    def power(self, message: int) -> mpz:
        """G to the message."""
        self.check_message(message)
        if message < 0:
            return self._negative(-message)
        return (self._positive if message >> 8 * _TABLE_BYTES == 0 else self._positive_wide)(message)


class OuSecretKey(SecretKey):
    """A secret key of Okamoto and Uchiyama.

    Args:
        p, q: primes.
        t: the prime order of what H leaves modulo p^2; divides p - 1.
        public: the public key.

    Raises:
        KeyFormatError: they do not belong together.
    """

    def __init__(self, p: mpz, q: mpz, t: mpz, public: OuPublicKey) -> None:
        self._p, self._q, self._t, self._square, self.public = p, q, t, p * p, public
        if p < 3 or q < 3 or t < 3 or self._square * q != public.n or not is_prime(p) or not is_prime(q):
            raise KeyFormatError("the OU secret key is not that of the public key")
        order_fits = (p - 1) % t == 0 and powmod(public.h, t, self._square) == 1 != public.h % self._square
        encrypts_one = (powmod(public.g, t, self._square) - 1) % p
        slope = (powmod(public.g, t, self._square) - 1) // p % p
        if not order_fits or encrypts_one or not slope or 2 * public.limit > p:
            raise KeyFormatError("the OU secret key does not decrypt what the public key encrypts")
        self._slope_inverse = invert(slope, p)
        self._unform = public.unform % self._square
        self._recipe = (
            public.h % self._square,
            t,
            self._square,
            q,
            gcd((p - 1) // t * public.n, q - 1),
            public.form,
        )

    @classmethod
    def from_payload(cls, payload: bytes, public: OuPublicKey) -> OuSecretKey:
        """The key of a tagged object's payload.

        Raises:
            WireError: it is no such key, or not that of the public key.
        """
        reader = Reader(payload)
        if reader.array() != 7:
            raise KeyFormatError("an OU secret key has seven parts")
        p, q, t, slope_inverse, square, half, n = (integer_from_bytes(reader.text()) for _ in range(7))
        reader.end()
        key = cls(p, q, t, public)
        if (slope_inverse, square, half, n) != (key._slope_inverse, p * p, p // 2, public.n):
            raise KeyFormatError("the parts of the OU secret key contradict each other")
        return key

    def to_bytes(self) -> bytes:
        """The key as HEU writes it."""
        p = self._p
        numbers = (p, self._q, self._t, self._slope_inverse, p * p, p // 2, self.public.n)
        return tagged(write_array(7) + b"".join(write_text(integer_to_bytes(n)) for n in numbers), self.public.scheme)

    @property
    def noise_recipe(self) -> tuple[Callable[..., list[mpz]], tuple[object, ...]]:
        """These are distributed as H itself is, and take half of the time; see `random_zeros`."""
        return random_zeros, self._recipe

    def begin_decrypting(self, representatives: Sequence[mpz]) -> Callable[[], list[int]]:
        """By one power modulo p^2 each."""
        square = self._square
        residues = [r % square * self._unform % square for r in representatives]
        powers = begin_equal_powers(residues, self._t, square)
        return lambda: [self._message(power) for power in powers()]

    def _message(self, power: mpz) -> int:
        p = self._p
        message = (power - 1) // p * self._slope_inverse % p
        return int(message - p if message > p // 2 else message)


def random_zeros(h: mpz, t: mpz, square: mpz, q: mpz, index: mpz, form: mpz, count: int) -> list[mpz]:
    """Random encryptions of zero, as representatives, by whoever knows the secret key.

    Each is g^(n u) mod n for a random g of its own, as the public key's H is one, found by its two remainders. Modulo
    p^2 these powers are those of H, of which there are t. Modulo q they are all powers with the exponent
    gcd(n u, q - 1), so that any random number leads to one, without a table and more random than a power of H.

    Args:
        h: H mod p^2.
        t: its order there.
        square: p^2.
        q: the other factor of n.
        index: gcd(n u, q - 1).
        form: the factor that makes a residue a representative.
        count: how many.
    """
    inverse = invert(square, q)
    in_q = form * inverse % q
    start = form % square
    num_bytes, random_bytes = -(-t.bit_length() // 8), q.bit_length() // 8 + 9
    table = fixed_base(h, square, num_bytes)
    zeros = []
    for _ in range(count):
        exponent = secrets.randbelow(int(t)).to_bytes(num_bytes, "little")
        left = table.times_power_of_bytes(start, exponent)
        right = powmod(mpz.from_bytes(secrets.token_bytes(random_bytes)), index, q)
        zeros.append(left + (right * in_q - left * inverse) % q * square)
    return zeros


def generate_ou_keys(bits: int = 2048) -> OuSecretKey:
    """A fresh key pair with a modulus of about `bits` bits; takes seconds for 3072."""
    prime_bits, order_bits = bits // 3 + 2, 160 if bits < 1536 else 224
    t = _random_prime(order_bits)
    while True:
        u = mpz(secrets.randbits(prime_bits - order_bits) | 1 << (prime_bits - order_bits)) & ~1
        p = t * u + 1
        if is_prime(p, 40):
            break
    q = _random_prime(prime_bits)
    square, n = p * p, p * p * q
    while True:
        g = mpz(secrets.randbelow(int(n)))
        if gcd(g, n) == 1 and powmod(g, p - 1, square) != 1:
            break
    h = powmod(mpz(2 + secrets.randbelow(int(n) - 2)), n * u, n)
    public = OuPublicKey(n, powmod(g, u, n), h, p.bit_length() - 2)
    return OuSecretKey(p, q, t, public)


def _random_prime(bits: int) -> mpz:
    return next_prime(mpz(secrets.randbits(bits) | 3 << (bits - 2)))
