"""PHE_2P_DOT_PRODUCT: what one party's features add to the score, under the other party's key."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

import pyarrow as pa
from gmpy2 import mpz, powmod

from sfs_core import Batch, ComputeContext, ErrorCode, GraphError, Schema, attr, numeric_type

from .base import PheOperator
from .keyring import Keyring
from .keys import PublicKey
from .matrices import (
    read_cipher_matrix,
    read_one_ciphertext,
    write_cipher_matrix,
    write_one_ciphertext,
    write_plain_matrix,
)
from .numbers import FEATURE_SCALE, MASK_BITS, OFFSET_BITS, encode
from .packing import masks_place, write_packed
from .powers import FixedBase, inverses, product_of_powers
from .wire import WireError, read_ciphertext_text, read_matrix

__all__ = ["PheDotProduct", "WeightedSums"]

_TABLE_BYTES: Final = 4
"""Length of the scaled features that tables cover; larger ones work, slower."""
_PLAUSIBLE_WEIGHT_BITS: Final = 128


class PheDotProduct(PheOperator, name="PHE_2P_DOT_PRODUCT", version="0.0.1", inputs=["features"], output="partial_y"):
    """Encrypted weights times this party's features, plus intercept and offset, minus a random mask.

    Weights and intercept are ciphertexts under the other party's key, so this party cannot read them; the mask keeps
    the other party from reading the result. Every result carries fresh randomness.
    """

    feature_names: list[str] = attr("Names of the features, the offset last.", default=())
    feature_types: list[str] = attr("DataType name of each feature; must be numeric.", default=())
    feature_weights_ciphertext: bytes = attr("Vector of the features' encrypted weights.", default=b"")
    intercept_ciphertext: bytes = attr("The encrypted intercept, added to each row.", default=b"")
    offset_col_name: str = attr("Name of the feature that is added without a weight; the last one.", default="")
    result_col_name: str = attr("Name of the result's column.")
    rand_number_col_name: str = attr("Name of the mask's column.")

    def setup(self) -> None:
        """Check the features against the weights' number."""
        names, types = self.feature_names, self.feature_types
        self.require(len(set(names)) == len(names), "feature_names holds a name twice")
        self.require(len(names) == len(types), f"{len(names)} feature_names, but {len(types)} feature_types")
        if self.offset_col_name:
            self.require(names[-1:] == [self.offset_col_name], "offset_col_name is not the last of feature_names")
        self._num_weights = len(names) - bool(self.offset_col_name)
        self._check_weights()
        self._input = Schema(zip(names, map(numeric_type, types), strict=True))
        self._output = Schema(
            [(self.result_col_name, pa.binary()), (self.rand_number_col_name, pa.binary()), ("party", pa.utf8())]
        )

    def _check_weights(self) -> None:
        if not self._num_weights:
            return
        self.require(
            bool(self.feature_weights_ciphertext),
            "feature_weights_ciphertext is missing",
            code=ErrorCode.UNEXPECTED_ERROR,
        )
        try:
            matrix = read_matrix(self.feature_weights_ciphertext)
        except WireError as error:
            raise self._unreadable("feature_weights_ciphertext", error) from None
        self.require(
            (matrix.rows, matrix.columns) == (self._num_weights, 1),
            f"feature_weights_ciphertext is {matrix.rows} x {matrix.columns}, there are {self._num_weights} features",
        )

    def _unreadable(self, attribute: str, error: WireError) -> GraphError:
        return GraphError(f"{attribute}: {error.message}", code=ErrorCode.UNEXPECTED_ERROR, node=self.node.name)

    def input_schemas(self) -> list[Schema]:
        """The features."""
        return [self._input]

    def output_schema(self) -> Schema:
        """Result, mask, and whose they are."""
        return self._output

    def make_tables(self, keyring: Keyring) -> None:
        """Read the weights and make a table of each one's powers.

        Raises:
            GraphError: they are not encrypted under the other party's key (code 2, 7).
        """
        key, modulus = keyring.theirs, keyring.theirs.modulus
        self.row_bytes = 2 * key.item_bytes  # results and masks
        weights: Sequence[mpz] = ()
        self._constant = mpz(1)
        try:
            if self._num_weights:
                weights = read_cipher_matrix(self.feature_weights_ciphertext, key).items
                self._check_key(weights[0], keyring)
                inverses(weights, modulus)  # negative features need them
        except WireError as error:
            raise self._unreadable("feature_weights_ciphertext", error) from None
        except ZeroDivisionError:
            raise self._unreadable("feature_weights_ciphertext", WireError("a ciphertext has no inverse")) from None
        try:
            if self.intercept_ciphertext:
                intercept = read_one_ciphertext(self.intercept_ciphertext, key)
                self._check_key(intercept, keyring)
                self._constant = powmod(key.leave(intercept), FEATURE_SCALE, modulus)
        except WireError as error:
            raise self._unreadable("intercept_ciphertext", error) from None
        bases = [key.leave(weight) for weight in weights]
        if not keyring.scores.used:
            keyring.their_masks.reserve(1)
            self._noise, self._own_noise = keyring.their_noise, keyring.own_noise
        else:
            keyring.packed_masks.reserve(1)
            bases = [powmod(base, shift, modulus) for shift in keyring.scores.shifts for base in bases]
            self._constants = [
                powmod(self._constant, sum(keyring.scores.shifts[:count]), modulus)
                for count in range(keyring.scores.count + 1)
            ]
        self._sums = WeightedSums(bases, key, keyring.table_memory, keyring.progress)
        keyring.table_memory -= self._sums.memory

    def _check_key(self, representative: mpz, keyring: Keyring) -> None:
        """What this party can decrypt to a plausible number was encrypted under the wrong key."""
        if representative < keyring.own.modulus:
            (value,) = keyring.secret.decrypt([representative])
            if value.bit_length() <= _PLAUSIBLE_WEIGHT_BITS:
                raise WireError("it is encrypted under this party's own key, so this party could read it")

    def compute(self, context: ComputeContext, features: Batch) -> Batch:
        """One table row: a vector of one encrypted, masked result per row, the masks, and this party's name.

        At the requester every row has a mask of its own, which stays there as a plain matrix. The other party's
        single mask goes to the requester encrypted: the form has room for one.

        Raises:
            FeatureError: a feature is null, not finite, or too large (code 3).
            SfsError: an integer beyond 2^53 (code 2).
            GraphError: there are no rows (code 3).
        """
        self.require_rows(features)
        keyring, num_rows = self.keyring, features.num_rows
        if keyring.scores.used:
            return self._packed(context, features)
        key, own = keyring.theirs, keyring.own
        if context.requester == keyring.party:
            masks = keyring.take_masks(num_rows)
            encrypted_masks = [mask.encrypted for mask in masks]
            rand = write_plain_matrix(num_rows, 1, 2, [-mask.number for mask in masks])
        else:
            mask = secrets.randbits(MASK_BITS)
            power, (zero,) = key.power(mask), self._own_noise.take(1)
            encrypted_masks = [power * other % key.modulus for other in self._noise.take(num_rows)]
            noise = read_ciphertext_text(zero, own.scheme)
            rand = write_one_ciphertext(noise * own.power(-mask) % own.modulus, own)
        results = self._results(key, features, encrypted_masks)
        dimensions = 1 if self._num_weights and not self.offset_col_name else 2
        result = write_cipher_matrix(num_rows, 1, dimensions, results, key)
        return Batch(self._output, 1, rows=[(result, rand, keyring.party)])

    def _results(self, key: PublicKey, features: Batch, masks: Sequence[mpz]) -> list[mpz]:
        """The encrypted masks with everything added to them."""
        modulus = key.modulus
        results = [mask * self._constant % modulus for mask in masks]
        numbers, offsets = self._encoded(features, OFFSET_BITS)
        if numbers:
            results = [result * s % modulus for result, s in zip(results, self._sums.of(numbers), strict=True)]
        if offsets:
            results = [r * key.power(offset) % modulus for r, offset in zip(results, offsets, strict=True)]
        return results

    def _encoded(self, features: Batch, offset_bits: int) -> tuple[list[list[int]], list[int]]:
        """Of each row the numbers that weights are multiplied by, and the offset; empty where there are none."""
        if not self.feature_names:  # the table may hold any columns then
            return [], []
        values, num_weights = features.matrix(), self._num_weights
        numbers: list[list[int]] = []
        offsets: list[list[int]] = []
        if num_weights:
            numbers = encode(values[:, :num_weights], FEATURE_SCALE, self.feature_names[:num_weights])
        if self.offset_col_name:
            scale = FEATURE_SCALE * self.keyring.scale
            offsets = encode(values[:, num_weights:], scale, [self.offset_col_name], bits=offset_bits)
        return numbers, [offset for (offset,) in offsets]

    def _packed(self, context: ComputeContext, features: Batch) -> Batch:
        """The same with several rows in each number, and a mask per number at both parties.

        The exponent of a weight holds its features of several rows, so that packing costs no multiplication.
        """
        keyring, num_rows = self.keyring, features.num_rows
        key, slots = keyring.theirs, keyring.scores
        numbers, offsets = self._encoded(features, slots.value_bits)
        masks = keyring.packed_masks.take(slots.numbers(num_rows))
        counts = [len(group) for group in slots.groups(range(num_rows))]
        results = [
            mask.encrypted * self._constants[count] % key.modulus for mask, count in zip(masks, counts, strict=True)
        ]
        if numbers:
            flat = [list(chain.from_iterable(group)) for group in slots.groups(numbers)]
            results = [result * s % key.modulus for result, s in zip(results, self._sums.of(flat), strict=True)]
        if offsets:
            added = [key.power(slots.pack(group)) for group in slots.groups(offsets)]
            results = [result * power % key.modulus for result, power in zip(results, added, strict=True)]
        result = write_packed(num_rows, slots.bits, write_cipher_matrix(len(results), 1, 2, results, key))
        own_masks = write_plain_matrix(len(masks), 1, 2, [-mask.number for mask in masks])
        rand = write_packed(num_rows, slots.bits, own_masks)
        if context.requester != keyring.party:
            rand = keyring.tokens.seal(rand, masks_place(keyring.party, keyring.peer))
        return Batch(self._output, 1, rows=[(result, rand, keyring.party)])


class WeightedSums:
    """Products of the encrypted weights to the features: encryptions of weighted sums.

    Args:
        weights: residues.
        key: what encrypts them.
        memory: bytes that tables may take; where wide tables do not fit, narrow ones or none are used.
        progress: told after each table how many of how many there are.

    Attributes:
        memory: bytes that the tables take.
    """

    def __init__(
        self,
        weights: Sequence[mpz],
        key: PublicKey,
        memory: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._weights, self._modulus = weights, key.modulus
        sizes = {width: len(weights) * FixedBase.memory(key.modulus, _TABLE_BYTES, width) for width in (8, 4)}
        width = next((width for width, size in sizes.items() if size <= memory), None)
        self.memory = sizes[width] if width else 0
        self._tables = list(self._made_tables(width, progress)) if width else None

    def _made_tables(self, width: int, progress: Callable[[int, int], None] | None) -> Iterator[FixedBase]:
        for count, weight in enumerate(self._weights, 1):
            yield FixedBase(weight, self._modulus, _TABLE_BYTES, width)
            if progress is not None:
                progress(count, len(self._weights))

    def of(self, rows: Sequence[Sequence[int]]) -> list[mpz]:
        """One residue per row of integers; to the weights that a row has no number for, it has zeros."""
        if self._tables is None:
            return [product_of_powers(self._weights, row, self._modulus) for row in rows]
        # Negative features go to a second product, inverted for all rows at once.
        tables, positive, negative = self._tables, [], []
        for row in rows:
            above = below = mpz(1)
            for table, x in zip(tables, row, strict=False):
                if x > 0:
                    above = table.times_power(above, x)
                elif x:
                    below = table.times_power(below, -x)
            positive.append(above)
            negative.append(below)
        inverted = inverses(negative, self._modulus)
        return [a * b % self._modulus for a, b in zip(positive, inverted, strict=True)]
