"""The keys of a model's two parties, read once and shared by the model's operators."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from gmpy2 import mpz

from sfs_core import Cluster, GraphError

from .config import PheConfig
from .keys import DIGIT_SIZES, as_texts, made_together
from .leaf_slots import LeafSlots
from .masks import Mask, PackedMask, random_masks, random_packed_masks
from .numbers import MASK_BITS, are_short, out_of_range
from .own_keys import own_keys, public_key_of
from .packing import EXTENSION, ScoreSlots
from .stock import Stock
from .tokens import TokenBox
from .workers import workers_of

__all__ = ["Keyring", "keyring_of"]

Item = TypeVar("Item")

_PORTION: Final = 64
"""So many random encryptions are made ahead by each worker at a time: some milliseconds of work."""
_STOCKS: Final = ("own_noise", "their_noise", "their_masks", "packed_masks")
_MOST_BEGUN: Final = 64
"""Decryptions that wait for their request to go on; those of requests that failed are dropped in the end."""
_MOST_MASKS: Final = 1 << 14
"""Masks that wait likewise."""


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
        scores: how scores of several rows are packed; with room for none where they are not.
        leaves: the same of leaves; one for all keyrings of a cluster.
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
        count = (os.cpu_count() or 1) if config.workers is None else config.workers
        self.workers, self._idle_workers = workers_of(count), workers_of(count, idle=True)
        self._stock_limit = config.noise_stock
        self.table_memory = config.table_memory
        self.progress = cluster.progress
        capacity = min(self.own.limit, self.theirs.limit).bit_length() - 1 if EXTENSION in cluster.extensions else 0
        self.scores, self.leaves = ScoreSlots(capacity), _leaves.setdefault(cluster, LeafSlots(capacity, self.scale))
        self._begun: dict[tuple[mpz, ...], Callable[[], list[int]]] = {}
        self._masks: dict[int, mpz] = {}

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

    def take_masks(self, count: int) -> list[Mask]:
        """Fresh masks, for which `taken_off` is quick."""
        masks = self.their_masks.take(count)
        self._masks.update((mask.number, mask.taken_off) for mask in masks)
        _drop_first(self._masks, _MOST_MASKS)
        return masks

    def taken_off(self, mask: int) -> mpz:
        """The residue that stands for a mask's negative under the own key."""
        return self._masks.pop(mask, None) or self.own.power(-mask)

    def begin_decrypting(self, representatives: Sequence[mpz]) -> None:
        """Begin with what `decrypt` will be asked for later, while this party waits for its peer."""
        self._begun[tuple(representatives)] = self.secret.begin_decrypting(representatives)
        _drop_first(self._begun, _MOST_BEGUN)

    def _digit_detail(self, representative: mpz, bits: int) -> str:
        for digit_bits in DIGIT_SIZES:
            (number,) = self.secret.decrypt([self.own.from_digits(representative, digit_bits)])
            if digit_bits != self.own.digit_bits and number.bit_length() <= bits:
                return f"the peer writes {digit_bits}-bit digits: set `digit_bits: {digit_bits}` at this party"
        return ""

    @cached_property
    def own_noise(self) -> Stock[bytes]:
        """Random encryptions of zero under the own key, as texts."""
        return self._stock(as_texts, (self.own.scheme, *self.secret.noise_recipe))

    @cached_property
    def their_noise(self) -> Stock[mpz]:
        """Random encryptions of zero under the peer's key."""
        return self._stock(*self.theirs.noise_recipe)

    def state(self) -> dict[str, float]:
        """Of each stock in use: the items that it holds, those it can hold, and those made while a request waited."""
        stocks = {name: stock for name in _STOCKS if (stock := vars(self).get(name)) is not None}
        return {
            f"phe_{name}_{what}": number
            for name, stock in stocks.items()
            for what, number in (("held", len(stock)), ("limit", stock.size), ("missed", stock.missed))
        }

    @cached_property
    def their_masks(self) -> Stock[Mask]:
        """Random masks, encrypted under the peer's key."""
        return self._stock(random_masks, (self.theirs.to_bytes(), self.own.to_bytes(), self.own.digit_bits, MASK_BITS))

    @cached_property
    def packed_masks(self) -> Stock[PackedMask]:
        """Random masks for packed numbers, encrypted under the peer's key."""
        recipe = (self.theirs.to_bytes(), self.theirs.digit_bits, self.scores.mask_bits)
        return self._stock(random_packed_masks, recipe)

    def _stock(self, make: Callable[..., list[Item]], recipe: tuple[object, ...]) -> Stock[Item]:
        workers, idle = self.workers, self._idle_workers
        if not workers.count:
            return Stock(lambda count: make(*recipe, count), self._stock_limit)
        workers.prepare(make, (*recipe, 1))  # or the first request that finds too little would wait for that
        return Stock(
            lambda count: made_together(make, recipe, count, workers),
            self._stock_limit,
            _PORTION * workers.count,
            lambda count: made_together(make, recipe, count, idle),
        )


def _drop_first(waiting: dict[Any, Any], most: int) -> None:
    with suppress(KeyError, RuntimeError):  # where others do the same
        while len(waiting) > most:
            del waiting[next(iter(waiting))]


_leaves: WeakKeyDictionary[Cluster, LeafSlots] = WeakKeyDictionary()
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
