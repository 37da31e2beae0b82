"""The keys of a model's two parties, read once and shared by the model's operators."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

from gmpy2 import mpz

from sfs_core import Cluster, ErrorCode, GraphError

from .keys import DEFAULT_DIGIT_BITS, DIGIT_SIZES, LEAST_BITS, PublicKey, SecretKey
from .numbers import MASK_BITS, are_short, out_of_range
from .okamoto_uchiyama import OuPublicKey, OuSecretKey
from .paillier import PaillierPublicKey, PaillierSecretKey
from .stock import Stock
from .tokens import TokenBox
from .wire import WireError, split_tag
from .workers import workers_of

__all__ = ["Keyring", "keyring_of", "number_setting", "read_public_key", "read_secret_key"]

_PUBLIC: Final[dict[int, type[OuPublicKey | PaillierPublicKey]]] = {1: OuPublicKey, 4: PaillierPublicKey}
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


def read_public_key(
    data: bytes, digit_bits: int = DEFAULT_DIGIT_BITS, least_bits: int = LEAST_BITS
) -> OuPublicKey | PaillierPublicKey:
    """A party's public key.

    Raises:
        WireError: it is none, is of a scheme that is not served, or cannot protect anything.
    """
    payload, scheme = split_tag(data)
    if scheme not in _PUBLIC:
        name = _NAMES.get(scheme, f"number {scheme}")
        raise WireError(f"keys of scheme {name} are not served, only OU and ZPaillier")
    return _PUBLIC[scheme].from_payload(payload, digit_bits, least_bits)


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


class Keyring:
    """What a party needs for computing with its one peer.

    Attributes:
        party: this party.
        peer: the other one.
        own: this party's public key.
        secret: this party's secret key.
        theirs: the peer's public key.
        scale: fixed-point scale of weights.
        tokens: keeps this party's selections while they travel.
        workers: calculate in other processes.
    """

    def __init__(self, cluster: Cluster) -> None:
        others = [name for name in cluster.parties if name != cluster.party]
        if len(others) != 1:
            raise GraphError(f"encrypted models are for two parties, the cluster has {len(cluster.parties)}")
        digit_bits = number_setting("SFS_PHE_DIGIT_BITS", DEFAULT_DIGIT_BITS, least=8)
        self.party, self.peer, self.scale = cluster.party, others[0], cluster.encode_scale
        self.own = self._public(cluster, self.party, digit_bits)
        self.theirs = self._public(cluster, self.peer, digit_bits)
        if self.own.scheme != self.theirs.scheme:
            raise GraphError(
                f"{self.party}'s keys are of scheme {self.own.scheme_name}, {self.peer}'s of {self.theirs.scheme_name}"
            )
        if self.own.n == self.theirs.n:
            raise GraphError("both parties have the same key pair", hint="each party serves its own package")
        if not cluster.secret_key:
            raise GraphError(
                f"party {self.party} has no secret key", hint="its model package must hold he_config with sk_buf"
            )
        try:
            self.secret = read_secret_key(cluster.secret_key, self.own)
        except WireError as error:
            raise _unfit(error, self.party) from None
        self.tokens = TokenBox(cluster.secret_key)
        self.workers = workers_of(number_setting("SFS_PHE_WORKERS", os.cpu_count() or 1, least=0))
        self._stock_limit = number_setting("SFS_PHE_NOISE_STOCK", 1 << 15, least=0)

    def decrypt(self, representatives: Sequence[mpz], bits: int, what: str) -> list[int]:
        """The messages of ciphertexts under the own key.

        Args:
            representatives: of the ciphertexts.
            bits: honest messages are not longer.
            what: names them in an error.

        Raises:
            SfsError: a message is longer (code 3); the detail says where another digit size explains it.
        """
        numbers = self.secret.decrypt(representatives)
        if not are_short(numbers, bits):
            raise out_of_range(what, self._digit_detail(representatives[0], bits))
        return numbers

    def _digit_detail(self, representative: mpz, bits: int) -> str:
        for digit_bits in DIGIT_SIZES:
            (number,) = self.secret.decrypt([self.own.from_digits(representative, digit_bits)])
            if digit_bits != self.own.digit_bits and number.bit_length() <= bits:
                return f"the peer writes {digit_bits}-bit digits: set SFS_PHE_DIGIT_BITS={digit_bits} at this party"
        return ""

    @cached_property
    def own_noise(self) -> Stock[mpz]:
        """Random encryptions of zero under the own key."""
        return self._noise_stock(self.own)

    @cached_property
    def their_noise(self) -> Stock[mpz]:
        """Random encryptions of zero under the peer's key."""
        return self._noise_stock(self.theirs)

    def _noise_stock(self, key: PublicKey) -> Stock[mpz]:
        workers = self.workers
        return Stock(lambda count: key.noises(count, workers), self._stock_limit, 16 * max(workers.count, 1))

    @cached_property
    def their_masks(self) -> Stock[tuple[int, mpz]]:
        """Random masks, each with an encryption under the peer's key."""
        key = self.theirs

        def make(count: int) -> list[tuple[int, mpz]]:
            masks = [secrets.randbits(MASK_BITS) for _ in range(count)]
            return [(m, noise * key.power(m) % key.modulus) for m, noise in zip(masks, key.noises(count), strict=True)]

        return Stock(make, self._stock_limit)

    @staticmethod
    def _public(cluster: Cluster, party: str, digit_bits: int) -> PublicKey:
        data = cluster.public_keys.get(party)
        if not data:
            raise GraphError(
                f"party {party} has no public key", hint="its model package must hold he_config with pk_buf"
            )
        try:
            return read_public_key(data, digit_bits)
        except WireError as error:
            raise _unfit(error, party) from None


def _unfit(error: WireError, party: str) -> GraphError:
    return GraphError(
        error.message, code=ErrorCode.LOGIC_ERROR, party=party, hint="export the model again, or regenerate its keys"
    )


_keyrings: WeakKeyDictionary[Cluster, Keyring] = WeakKeyDictionary()
_lock = threading.Lock()


def keyring_of(cluster: Cluster) -> Keyring:
    """The keyring of a cluster, made at the first call.

    Raises:
        GraphError: the cluster cannot serve an encrypted model.
    """
    with _lock:
        keyring = _keyrings.get(cluster)
        if keyring is None:
            keyring = _keyrings[cluster] = Keyring(cluster)
        return keyring


def number_setting(name: str, default: int, *, least: int) -> int:
    """A whole number from the environment.

    Raises:
        GraphError: it is none, or too small.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise GraphError(f"the environment variable {name} must be a whole number, at least {least}")
    return int(text)
