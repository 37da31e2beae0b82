"""PHE_2P_TREE_MERGE: the weight of the one leaf that both parties leave, under the requester's key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import pyarrow as pa
from gmpy2 import mpz

from sfs_core import Batch, ComputeContext, Schema, attr

from .base import PheOperator, read_from
from .keyring import Keyring
from .keys import PublicKey
from .matrices import CipherItems, write_cipher_matrix
from .powers import product_of_powers
from .selections import open_selections
from .tree_select import read_shares
from .workers import Workers

__all__ = ["PheTreeMerge", "Terms", "sums_of"]

_LEAST_BASES: Final = 16
"""Products of fewer powers are not split."""


@dataclass(slots=True, repr=False)
class Terms:
    """What makes up one row's score, not multiplied out yet.

    Attributes:
        bases: representatives to be raised to exponents.
        exponents: what follows from this party's shares; not negative.
        factor: product of the other representatives.
        num_factors: how many these are.
        added: to be encrypted and added.
    """

    bases: list[mpz]
    exponents: list[int]
    factor: mpz
    num_factors: int
    added: int

    def join(self, other: Terms, modulus: mpz) -> None:
        """Add another tree's terms of the same row."""
        self.bases += other.bases
        self.exponents += other.exponents
        self.factor = self.factor * other.factor % modulus
        self.num_factors += other.num_factors
        self.added += other.added


def sums_of(rows: Sequence[Terms], noises: Sequence[mpz], key: PublicKey, workers: Workers) -> list[mpz]:
    """The rows' encrypted scores, as representatives, calculated by all workers together.

    Raises:
        ZeroDivisionError: an exponent is negative, and its base has no inverse.
    """
    calls: list[tuple[Sequence[mpz], Sequence[int], mpz]] = []
    parts_of_row = []
    for terms in rows:
        # All factors are representatives; what is too much of the form is one more base.
        excess = sum(terms.exponents) + terms.num_factors
        bases, exponents = [*terms.bases, key.unform], [*terms.exponents, excess]
        parts = max(1, min(-(-workers.count // len(rows)), len(bases) // _LEAST_BASES))
        parts_of_row.append(parts)
        calls += [(bases[part::parts], exponents[part::parts], key.modulus) for part in range(parts)]
    products = iter(workers.map(product_of_powers, calls))
    results = []
    for terms, noise, parts in zip(rows, noises, parts_of_row, strict=True):
        result = noise * terms.factor % key.modulus
        for product in islice(products, parts):
            result = result * product % key.modulus
        results.append(result * key.power(terms.added) % key.modulus if terms.added else result)
    return results


class PheTreeMerge(
    PheOperator,
    name="PHE_2P_TREE_MERGE",
    version="0.0.1",
    inputs=["selects"],
    output="tree_weight",
    mergeable=True,
):
    """At the party that was not asked for scores: the sum of both shares of the leaf that both parties leave."""

    select_col_name: str = attr("Column of the selections.")
    weight_shard_col_name: str = attr("Column of the selected leaves' shares.")
    output_col_name: str = attr("Name of the weight's column.")
    weight_shard: bytes = attr("This party's additive share of each leaf's scaled weight: a column of plaintexts.")

    def setup(self) -> None:
        """Read the shares and note the columns."""
        self._shares = list(read_shares(self.weight_shard).items)
        self._by_share = sorted(range(len(self._shares)), key=self._shares.__getitem__)
        columns = [(self.select_col_name, pa.binary()), (self.weight_shard_col_name, pa.binary()), ("party", pa.utf8())]
        self._input = Schema(columns)
        self._output = Schema([(self.output_col_name, pa.binary())])

    def input_schemas(self) -> list[Schema]:
        """Selections, shares, and whose they are."""
        return [self._input]

    def output_schema(self) -> Schema:
        """The encrypted weight."""
        return self._output

    def make_tables(self, keyring: Keyring) -> None:
        """Have noise made for the results."""
        self._noise = keyring.their_noise

    def compute(self, context: ComputeContext, selects: Sequence[Batch]) -> Batch:
        """One table row: a matrix with one ciphertext per row.

        Raises:
            GraphError: this party was itself asked for scores, a table is missing, or a matrix has another shape
                than the tree (code 7).
            WireError: a cell cannot be read, or this party's selection was exchanged (code 9).
        """
        return Batch(self._output, 1, rows=[(self.sums(self.terms(context, selects)),)])

    def terms(self, context: ComputeContext, selects: Sequence[Batch]) -> list[Terms]:
        """What each row's score is made of; raises like `compute`."""
        self.require_requester(context, own=False)
        keyring, num_leaves = self.keyring, len(self._shares)
        own, theirs = self.cells_by_party(selects)
        with read_from(self.select_col_name, keyring.party):
            selections = open_selections(own[0], num_leaves, self.node.parents[0], keyring)
        leaves = [[leaf for leaf in self._by_share if selection >> leaf & 1] for selection in selections]
        weights = self._needed(theirs[1], self.weight_shard_col_name, leaves, 0)
        # Of the leaves left here the requester leaves exactly one: with the least share added to the sum and taken off
        # all others, a leaf less needs a power, and no exponent is negative.
        chosen = self._needed(theirs[0], self.select_col_name, leaves, 1) if theirs[0] else None
        return [self._row(row, left, len(selections), chosen, weights) for row, left in enumerate(leaves)]

    def _needed(self, cell: bytes, column: str, leaves: Sequence[Sequence[int]], skipped: int) -> dict[int, mpz]:
        """The requester's ciphertexts, by place, of leaves that this party leaves, but for the first few of each row.

        Raises:
            GraphError: the matrix is not one with a row per row and a column per leaf (code 7).
            WireError: it cannot be read.
        """
        peer, num_rows = self.keyring.peer, len(leaves)
        with read_from(column, peer):
            matrix = CipherItems(cell, self.keyring.theirs)
        self.require_shape(matrix, num_rows, len(self._shares), f"{peer}'s {column}")
        with read_from(column, peer):
            return matrix.read(row + leaf * num_rows for row, left in enumerate(leaves) for leaf in left[skipped:])

    def sums(self, rows: Sequence[Terms]) -> bytes:
        """A matrix with the encrypted score of each row, with fresh noise."""
        keyring = self.keyring
        items = sums_of(rows, self._noise.take(len(rows)), keyring.theirs, keyring.workers)
        return write_cipher_matrix(len(items), 1, 2, items, keyring.theirs)

    def _row(
        self,
        row: int,
        leaves: Sequence[int],
        num_rows: int,
        chosen: Mapping[int, mpz] | None,
        weights: Mapping[int, mpz],
    ) -> Terms:
        modulus = self.keyring.theirs.modulus
        shares = [self._shares[leaf] for leaf in leaves]
        factor = mpz(1)
        for leaf in leaves:
            factor = factor * weights[row + leaf * num_rows] % modulus
        if chosen is None:  # the requester knows nothing of the tree: all leaves are left to it
            return Terms([], [], factor, len(leaves), sum(shares))
        first, *others = shares or (0,)
        bases = [chosen[row + leaf * num_rows] for leaf in leaves[1:]]
        return Terms(bases, [share - first for share in others], factor, len(leaves), first)
