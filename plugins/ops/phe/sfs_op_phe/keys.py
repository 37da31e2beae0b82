"""Public and secret keys: what all schemes have in common.

A ciphertext is an integer modulo the key's `modulus`. On the wire it stands in Montgomery form, c * R mod modulus with
R a power of two that depends on the digit size of the writer's integer library; here that form is called a
*representative*, and c itself a *residue*. The product of a representative and a residue is a representative, so most
results are ready for the wire without a conversion of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final, TypeVar

from gmpy2 import invert, mpz

from sfs_core import ErrorCode, SfsError

from .powers import random_powers
from .wire import WireError, write_ciphertext_text
from .workers import Workers

__all__ = [
    "DEFAULT_DIGIT_BITS",
    "DIGIT_SIZES",
    "LEAST_BITS",
    "MOST_BITS",
    "KeyFormatError",
    "PublicKey",
    "SecretKey",
    "as_texts",
    "made_together",
]

DEFAULT_DIGIT_BITS: Final = 60
"""Digit size of the integer library that the reference uses."""
DIGIT_SIZES: Final = (60, 64)
"""Those of the libraries that HEU can use."""
LEAST_BITS: Final = 2000
"""Shorter moduli protect nothing and are refused."""
MOST_BITS: Final = 8192
"""Longer moduli only cost time."""

Item = TypeVar("Item")

_FRAME_BYTES: Final = 15  # heads of item, array and integer, and the tag
_LEAST_SHARED: Final = 16
"""Fewer random encryptions of zero are not worth asking another process."""


class KeyFormatError(WireError):
    """A key is none, or not fit for use; says which part, never its value."""


class PublicKey(ABC):
    """Encrypts and computes under one party's key.

    Attributes:
        n: the key's modulus.
        modulus: of ciphertexts.
        digit_bits: digit size of the Montgomery form.
        limit: plaintexts lie in -limit … limit.
        form: what turns a residue into its representative.
        unform: what turns a representative into its residue.
    """

    scheme: ClassVar[int]
    """Number of the scheme, the tag of its keys and ciphertexts."""
    scheme_name: ClassVar[str]

    n: mpz
    modulus: mpz
    digit_bits: int
    limit: mpz
    form: mpz
    unform: mpz

    def _set_modulus(self, modulus: mpz, digit_bits: int) -> None:
        self.modulus, self.digit_bits = modulus, digit_bits
        self.form = self._form_of(digit_bits)
        self.unform = invert(self.form, modulus)

    def _form_of(self, digit_bits: int) -> mpz:
        digits = -(-self.modulus.bit_length() // digit_bits)
        return (mpz(1) << (digit_bits * digits)) % self.modulus

    def from_digits(self, representative: mpz, digit_bits: int) -> mpz:
        """The representative, here, of what is one with another digit size."""
        return self.enter(representative * invert(self._form_of(digit_bits), self.modulus) % self.modulus)

    @property
    def item_bytes(self) -> int:
        """Bytes that a ciphertext takes in a matrix, at most."""
        size: int = self.modulus.bit_length() // 8 + 1 + _FRAME_BYTES
        return size

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n.bit_length()} bits)"

    # ------------------------------------------------------------------ schemes
    @abstractmethod
    def to_bytes(self) -> bytes:
        """The key as HEU writes it."""

    @abstractmethod
    def power(self, message: int) -> mpz:
        """The residue that stands for a message, without randomness: multiplying by it adds the message.

        Raises:
            SfsError: the message is beyond `limit` (code 3).
        """

    @property
    @abstractmethod
    def _noise_base(self) -> mpz:
        """Powers of it encrypt zero."""

    _noise_bytes: int
    """Length of the random exponents of an encryption."""

    # ------------------------------------------------------------------- common
    def check_message(self, message: int) -> None:
        """Raise unless the message can be encrypted."""
        if abs(message) > self.limit:
            raise SfsError("a number is too large for the encryption key", code=ErrorCode.INVALID_ARGUMENT)

    def noise(self) -> mpz:
        """A fresh random encryption of zero, as a representative."""
        return self.noises(1)[0]

    def noises(self, count: int, workers: Workers | None = None) -> list[mpz]:
        """Fresh random encryptions of zero, as representatives; many are made by all workers together."""
        return made_together(*self.noise_recipe, count, workers)

    @property
    def noise_recipe(self) -> tuple[Callable[..., list[mpz]], tuple[object, ...]]:
        """A function that makes random encryptions of zero, and its arguments but for their number."""
        return random_powers, (self._noise_base, self.modulus, self._noise_bytes, self.form)

    def enter(self, residue: mpz) -> mpz:
        """The representative of a residue."""
        return residue * self.form % self.modulus

    def leave(self, representative: mpz) -> mpz:
        """The residue of a representative."""
        return representative * self.unform % self.modulus

    def check_ciphertexts(self, representatives: Iterable[mpz]) -> None:
        """Raise WireError unless each can be a ciphertext under this key."""
        modulus = self.modulus
        if not all(0 < representative < modulus for representative in representatives):
            raise WireError("a ciphertext lies outside of its key's range")


class SecretKey(ABC):
    """Decrypts what a public key encrypted. Shows nothing of itself."""

    public: PublicKey

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("secret keys are not pickled")

    @abstractmethod
    def to_bytes(self) -> bytes:
        """The key as HEU writes it."""

    def noises(self, count: int, workers: Workers | None = None) -> list[mpz]:
        """Fresh random encryptions of zero under the public key, as representatives; faster than from that alone where
        a scheme allows it. Workers are then told what they need of the secret key."""
        return made_together(*self.noise_recipe, count, workers)

    @property
    def noise_recipe(self) -> tuple[Callable[..., list[mpz]], tuple[object, ...]]:
        """A function that makes random encryptions of zero, and its arguments but for their number."""
        return self.public.noise_recipe

    def decrypt(self, representatives: Sequence[mpz]) -> list[int]:
        """The signed message of each ciphertext, given as representatives. Other threads run meanwhile."""
        return self.begin_decrypting(representatives)()

    @abstractmethod
    def begin_decrypting(self, representatives: Sequence[mpz]) -> Callable[[], list[int]]:
        """Let other threads begin with it; calling the result waits for the messages."""


def as_texts(scheme: int, make: Callable[..., list[mpz]], recipe: tuple[object, ...], count: int) -> list[bytes]:
    """Some of the ciphertexts that a function makes of a recipe and their number, as texts."""
    return [write_ciphertext_text(item, scheme) for item in make(*recipe, count)]


def made_together(
    make: Callable[..., list[Item]], recipe: tuple[object, ...], count: int, workers: Workers | None
) -> list[Item]:
    """What a function makes of a recipe and a number of items; where these are many, by all workers together."""
    if workers is None or count < _LEAST_SHARED:
        return make(*recipe, count)
    portion = max(_LEAST_SHARED // 2, -(-count // max(workers.count, 1)))
    counts = [min(portion, count - start) for start in range(0, count, portion)]
    return [item for part in workers.map(make, [(*recipe, number) for number in counts]) for item in part]
