"""Z-Paillier keys: n = p q; a message m is (1 + n m) hs^r mod n^2."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from gmpy2 import gcd, invert, is_prime, lcm, mpz, next_prime, powmod

from .keys import DEFAULT_DIGIT_BITS, LEAST_BITS, MOST_BITS, KeyFormatError, PublicKey, SecretKey
from .powers import begin_equal_powers
from .wire import Reader, integer_from_bytes, integer_to_bytes, tagged, write_array, write_text

__all__ = ["PaillierPublicKey", "PaillierSecretKey", "generate_paillier_keys"]


class PaillierPublicKey(PublicKey):
    """A public key of Paillier's scheme in HEU's variant "ZPaillier".

    Args:
        n: p q.
        hs: an n-th power modulo n^2, whose powers encrypt zero.
        digit_bits: digit size of the Montgomery form.
    """

    scheme = 4
    scheme_name = "ZPaillier"

    def __init__(self, n: mpz, hs: mpz, digit_bits: int = DEFAULT_DIGIT_BITS) -> None:
        self.n, self.hs = n, hs
        self.limit = n // 2
        self._noise_bytes = max(32, -(-n.bit_length() // 16))
        self._set_modulus(n * n, digit_bits)

    @classmethod
    def from_payload(cls, payload: bytes, digit_bits: int, least_bits: int = LEAST_BITS) -> PaillierPublicKey:
        """The key of a tagged object's payload.

        Raises:
            WireError: it is no such key, or cannot protect anything.
        """
        reader = Reader(payload)
        if reader.array() != 2:
            raise KeyFormatError("a ZPaillier public key has two parts")
        n, hs = integer_from_bytes(reader.text()), integer_from_bytes(reader.text())
        reader.end()
        bits = n.bit_length() if n > 0 else 0
        if not least_bits <= bits <= MOST_BITS:
            raise KeyFormatError(f"a ZPaillier key of {bits} bits; {least_bits} to {MOST_BITS} are served")
        if n.is_even() or not 1 < hs < n * n or gcd(hs, n) != 1 or hs * hs % (n * n) == 1:
            raise KeyFormatError("the numbers of a ZPaillier public key do not belong to a key")
        return cls(n, hs, digit_bits)

    def to_bytes(self) -> bytes:
        """The key as HEU writes it."""
        numbers = b"".join(write_text(integer_to_bytes(number)) for number in (self.n, self.hs))
        return tagged(write_array(2) + numbers, self.scheme)

    @property
    def _noise_base(self) -> mpz:
        return self.hs

    def power(self, message: int) -> mpz:
        """1 + n times the message."""
        self.check_message(message)
        return (1 + self.n * message) % self.modulus


class PaillierSecretKey(SecretKey):
    """A secret key of Paillier's scheme.

    Args:
        p, q: primes.
        public: the public key.

    Raises:
        KeyFormatError: they do not belong together.
    """

    def __init__(self, p: mpz, q: mpz, public: PaillierPublicKey) -> None:
        if p < 3 or q < 3 or p == q or p * q != public.n or not is_prime(p) or not is_prime(q):
            raise KeyFormatError("the ZPaillier secret key is not that of the public key")
        if powmod(public.hs, lcm(p - 1, q - 1), public.modulus) != 1:
            raise KeyFormatError("the ZPaillier secret key does not decrypt what the public key encrypts")
        self._p, self._q, self.public = p, q, public
        self._p_inverse = invert(p, q)
        self._halves = [(prime, prime * prime, invert(_quotient(public.n + 1, prime), prime)) for prime in (p, q)]

    @classmethod
    def from_payload(cls, payload: bytes, public: PaillierPublicKey) -> PaillierSecretKey:
        """The key of a tagged object's payload.

        Raises:
            WireError: it is no such key, or not that of the public key.
        """
        reader = Reader(payload)
        if reader.array() != 4:
            raise KeyFormatError("a ZPaillier secret key has four parts")
        exponent, inverse, p, q = (integer_from_bytes(reader.text()) for _ in range(4))
        reader.end()
        key = cls(p, q, public)
        if 2 * exponent != (p - 1) * (q - 1) or exponent * inverse % public.n != 1:
            raise KeyFormatError("the parts of the ZPaillier secret key contradict each other")
        return key

    def to_bytes(self) -> bytes:
        """The key as HEU writes it."""
        exponent = (self._p - 1) * (self._q - 1) // 2
        numbers = (exponent, invert(exponent, self.public.n), self._p, self._q)
        return tagged(write_array(4) + b"".join(write_text(integer_to_bytes(n)) for n in numbers), self.public.scheme)

    def begin_decrypting(self, representatives: Sequence[mpz]) -> Callable[[], list[int]]:
        """By one power each modulo p^2 and q^2, joined by the Chinese remainder theorem."""
        residues = [self.public.leave(representative) for representative in representatives]
        in_p, in_q = (
            begin_equal_powers([residue % square for residue in residues], prime - 1, square)
            for prime, square, _ in self._halves
        )
        return lambda: list(map(self._message, in_p(), in_q()))

    def _message(self, in_p: mpz, in_q: mpz) -> int:
        """The message whose remainders follow from a ciphertext's powers modulo p^2 and q^2."""
        mod_p, mod_q = (
            (power - 1) // prime * inverse % prime
            for power, (prime, _, inverse) in zip((in_p, in_q), self._halves, strict=True)
        )
        n = self.public.n
        message = mod_p + self._p * ((mod_q - mod_p) * self._p_inverse % self._q)
        return int(message - n if message > n // 2 else message)


def _quotient(residue: mpz, prime: mpz) -> mpz:
    return (powmod(residue, prime - 1, prime * prime) - 1) // prime


def generate_paillier_keys(bits: int = 2048) -> PaillierSecretKey:
    """A fresh key pair with a modulus of about `bits` bits; takes seconds for 3072."""
    while True:
        p, q = (_blum_prime(bits // 2) for _ in range(2))
        n = p * q
        if p != q and gcd(n, (p - 1) * (q - 1)) == 1:
            break
    x = mpz(2 + secrets.randbelow(int(n) - 2))
    h = -x * x % n
    return PaillierSecretKey(p, q, PaillierPublicKey(n, powmod(h, n, n * n)))


def _blum_prime(bits: int) -> mpz:
    while True:
        prime = next_prime(mpz(secrets.randbits(bits) | 3 << (bits - 2)))
        if prime % 4 == 3:
            return prime
