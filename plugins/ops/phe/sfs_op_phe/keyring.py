"""The keys of a model's two parties, read once and shared by the model's operators."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

from gmpy2 import mpz

from sfs_core import Cluster, GraphError

from .config import PheConfig
from .keys import DIGIT_SIZES, PublicKey, SecretKey
from .numbers import MASK_BITS, are_short, out_of_range
from .own_keys import own_keys, public_key_of
from .stock import Stock
from .tokens import TokenBox
from .workers import workers_of

__all__ = ["Keyring", "keyring_of"]

_STOCKS: Final = ("own_noise", "their_noise", "their_masks")
_MOST_BEGUN: Final = 64
"""Decryptions that wait for their request to go on; those of requests that failed are dropped in the end."""


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
        table_memory: bytes that further tables of weights may take.
        progress: to be told how far tables are.
    """

    def __init__(self, cluster: Cluster, config: PheConfig) -> None:
        others = [name for name in cluster.parties if name != cluster.party]
        if len(others) != 1:
            raise GraphError(f"encrypted models are for two parties, the cluster has {len(cluster.parties)}")
        self.party, self.peer, self.scale = cluster.party, others[0], cluster.encode_scale
        self.secret = own_keys(cluster, config)
        self.own = self.secret.public
        self.theirs = public_key_of(cluster, self.peer, config.digit_bits)
        if self.own.scheme != self.theirs.scheme:
            raise GraphError(
                f"{self.party}'s keys are of scheme {self.own.scheme_name}, {self.peer}'s of {self.theirs.scheme_name}"
            )
        if self.own.n == self.theirs.n:
            raise GraphError("both parties have the same key pair", hint="each party serves its own package")
        self.tokens = TokenBox(self.secret.to_bytes())
        self.workers = workers_of((os.cpu_count() or 1) if config.workers is None else config.workers)
        self._stock_limit = config.noise_stock
        self.table_memory = config.table_memory
        self.progress = cluster.progress
        self._begun: dict[tuple[mpz, ...], Callable[[], list[int]]] = {}

    def decrypt(self, representatives: Sequence[mpz], bits: int, what: str) -> list[int]:
        """The messages of ciphertexts under the own key.

        Args:
            representatives: of the ciphertexts.
            bits: honest messages are not longer.
            what: names them in an error.

        Raises:
            SfsError: a message is longer (code 3); the detail says where another digit size explains it.
        """
        begun = self._begun.pop(tuple(representatives), None)
        numbers = begun() if begun else self.secret.decrypt(representatives)
        if not are_short(numbers, bits):
            raise out_of_range(what, self._digit_detail(representatives[0], bits))
        return numbers

    def begin_decrypting(self, representatives: Sequence[mpz]) -> None:
        """Begin with what `decrypt` will be asked for later, while this party waits for its peer."""
        self._begun[tuple(representatives)] = self.secret.begin_decrypting(representatives)
        with suppress(KeyError, RuntimeError):  # where others do the same
            while len(self._begun) > _MOST_BEGUN:
                del self._begun[next(iter(self._begun))]

    def _digit_detail(self, representative: mpz, bits: int) -> str:
        for digit_bits in DIGIT_SIZES:
            (number,) = self.secret.decrypt([self.own.from_digits(representative, digit_bits)])
            if digit_bits != self.own.digit_bits and number.bit_length() <= bits:
                return f"the peer writes {digit_bits}-bit digits: set `digit_bits: {digit_bits}` at this party"
        return ""

    @cached_property
    def own_noise(self) -> Stock[mpz]:
        """Random encryptions of zero under the own key."""
        return self._noise_stock(self.secret)

    @cached_property
    def their_noise(self) -> Stock[mpz]:
        """Random encryptions of zero under the peer's key."""
        return self._noise_stock(self.theirs)

    def state(self) -> dict[str, float]:
        """Of each stock in use: the items that it holds, those it can hold, and those made while a request waited."""
        stocks = {name: stock for name in _STOCKS if (stock := vars(self).get(name)) is not None}
        return {
            f"phe_{name}_{what}": number
            for name, stock in stocks.items()
            for what, number in (("held", len(stock)), ("limit", stock.size), ("missed", stock.missed))
        }

    def _noise_stock(self, key: PublicKey | SecretKey) -> Stock[mpz]:
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


_keyrings: WeakKeyDictionary[Cluster, dict[PheConfig, Keyring]] = WeakKeyDictionary()
_lock = threading.Lock()


def keyring_of(cluster: Cluster, config: PheConfig) -> Keyring:
    """The keyring of a cluster, made at the first call; operators with equal options share it.

    Raises:
        GraphError: the cluster cannot serve an encrypted model.
    """
    with _lock:
        keyrings = _keyrings.setdefault(cluster, {})
        if config not in keyrings:
            keyrings[config] = Keyring(cluster, config)
        return keyrings[config]
