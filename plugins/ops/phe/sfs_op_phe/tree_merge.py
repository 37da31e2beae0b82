"""PHE_2P_TREE_MERGE: the weight of the one leaf that both parties leave, under the requester's key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import pyarrow as pa
from gmpy2 import mpz, powmod

from sfs_core import Batch, ComputeContext, Schema, attr

from .base import PheOperator, read_from
from .keyring import Keyring
from .keys import PublicKey
from .matrices import CipherItems, write_cipher_matrix
from .packed_leaves import read_columns
from .packing import read_packed, write_packed
from .powers import product_of_powers
from .selections import open_selections
from .tree_select import read_shares
from .workers import Workers

__all__ = ["PheTreeMerge", "Row", "Terms", "sums_of"]

_LEAST_BASES: Final = 16
"""Products of fewer powers are not split."""


@dataclass(slots=True, repr=False)
class Terms:
    """A part of what makes up one row's score, not multiplied out yet.

    Attributes:
        bases: representatives to be raised to exponents.
        exponents: what follows from this party's shares; not negative.
        factor: product of the other representatives.
        num_factors: how many these are.
    """

    bases: list[mpz] = field(default_factory=list)
    exponents: list[int] = field(default_factory=list)
    factor: mpz = field(default_factory=lambda: mpz(1))
    num_factors: int = 0

    def join(self, other: Terms, modulus: mpz) -> None:
        """Add another tree's."""
        self.bases += other.bases
        self.exponents += other.exponents
        self.factor = self.factor * other.factor % modulus
        self.num_factors += other.num_factors


@dataclass(slots=True, repr=False)
class Row:
    """What makes up one row's score.

    Attributes:
        parts: each is moved by the same distance from the next one, the last is where it belongs.
        added: to be encrypted and added.
    """

    parts: list[Terms]
    added: int

    def join(self, other: Row, modulus: mpz) -> None:
        """Add another tree's."""
        for part, others in zip(self.parts, other.parts, strict=True):
            part.join(others, modulus)
        self.added += other.added


def sums_of(rows: Sequence[Row], noises: Sequence[mpz], key: PublicKey, workers: Workers, step: int = 1) -> list[mpz]:
    """The rows' encrypted scores, as representatives, calculated by all workers together.

    Args:
        rows: what they are made of.
        noises: a random encryption of zero for each.
        key: what encrypts them.
        workers: calculate.
        step: what moves a part to the next one.

    Raises:
        ZeroDivisionError: an exponent is negative, and its base has no inverse.
    """
    calls: list[tuple[Sequence[mpz], Sequence[int], mpz]] = []
    portions = []
    every = [terms for row in rows for terms in row.parts]
    for terms in every:
        # All factors are representatives; what is too much of the form is one more base.
        excess = sum(terms.exponents) + terms.num_factors
        bases, exponents = [*terms.bases, key.unform], [*terms.exponents, excess]
        count = max(1, min(-(-workers.count // len(every)), len(bases) // _LEAST_BASES))
        portions.append(count)
        calls += [(bases[part::count], exponents[part::count], key.modulus) for part in range(count)]
    products, remaining = iter(workers.map(product_of_powers, calls)), iter(portions)
    results = []
    for row, noise in zip(rows, noises, strict=True):
        result = mpz(1)
        for terms in row.parts:
            moved = powmod(result, step, key.modulus) if result != 1 else result
            result = moved * terms.factor % key.modulus
            for product in islice(products, next(remaining)):
                result = result * product % key.modulus
        result = result * noise % key.modulus
        results.append(result * key.power(row.added) % key.modulus if row.added else result)
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
        self._remainders = [share % keyring.leaves.modulus for share in self._shares]
        self._by_remainder = sorted(range(len(self._shares)), key=self._remainders.__getitem__)

    def compute(self, context: ComputeContext, selects: Sequence[Batch]) -> Batch:
        """One table row: a matrix with one ciphertext per row.

        Raises:
            GraphError: this party was itself asked for scores, a table is missing, or a matrix has another shape
                than the tree (code 7).
            WireError: a cell cannot be read, or this party's selection was exchanged (code 9).
        """
        return Batch(self._output, 1, rows=[(self.sums(self.rows(context, selects)),)])

    def rows(self, context: ComputeContext, selects: Sequence[Batch]) -> list[Row]:
        """What each row's score is made of; raises like `compute`."""
        self.require_requester(context, own=False)
        keyring, num_leaves = self.keyring, len(self._shares)
        own, theirs = self.cells_by_party(selects)
        with read_from(self.select_col_name, keyring.party):
            selections = open_selections(own[0], num_leaves, self.node.parents[0], keyring)
        # Of the leaves left here the requester leaves exactly one: with the least share added to the sum and taken off
        # all others, a leaf less needs a power, and no exponent is negative.
        order, shares = self._by_share, self._shares
        if keyring.leaves.apply():
            order, shares = self._by_remainder, self._remainders
        leaves = [[leaf for leaf in order if selection >> leaf & 1] for selection in selections]
        if keyring.leaves.apply():
            return self._packed_rows(theirs, leaves, shares)
        weights = self._needed(theirs[1], self.weight_shard_col_name, leaves, 0)
        chosen = self._needed(theirs[0], self.select_col_name, leaves, 1) if theirs[0] else None
        return [self._row(row, left, len(selections), chosen, weights) for row, left in enumerate(leaves)]

    def _needed(self, cell: bytes, column: str, leaves: Sequence[Sequence[int]], skipped: int) -> dict[int, mpz]:
        """The requester's ciphertexts, by place, of leaves that this party leaves, but for the first few of each row.

        Raises:
            GraphError: the matrix is not one with a row per row and a column per leaf (code 7).
            WireError: it cannot be read.
        """
        num_rows = len(leaves)
        places = [row + leaf * num_rows for row, left in enumerate(leaves) for leaf in left[skipped:]]
        return self._read(cell, column, num_rows, len(self._shares), places)

    def _read(self, cell: bytes, column: str, rows: int, columns: int, places: Iterable[int]) -> dict[int, mpz]:
        peer = self.keyring.peer
        with read_from(column, peer):
            matrix = CipherItems(cell, self.keyring.theirs)
        self.require_shape(matrix, rows, columns, f"{peer}'s {column}")
        with read_from(column, peer):
            return matrix.read(places)

    def sums(self, rows: Sequence[Row]) -> bytes:
        """A matrix with the encrypted score of each row, with fresh noise."""
        keyring, slots = self.keyring, self.keyring.leaves
        noises, packed = self._noise.take(len(rows)), slots.apply()
        step = 1
        if packed:
            shape = slots.shape(len(rows))
            step = 1 << shape.step_bits
            for number, row in enumerate(rows):
                row.added += shape.mask(number)
        items = sums_of(rows, noises, keyring.theirs, keyring.workers, step)
        matrix = write_cipher_matrix(len(items), 1, 2, items, keyring.theirs)
        return write_packed(len(items), slots.bits, matrix) if packed else matrix

    def _row(
        self,
        row: int,
        leaves: Sequence[int],
        num_rows: int,
        chosen: Mapping[int, mpz] | None,
        weights: Mapping[int, mpz],
    ) -> Row:
        modulus = self.keyring.theirs.modulus
        shares = [self._shares[leaf] for leaf in leaves]
        factor = mpz(1)
        for leaf in leaves:
            factor = factor * weights[row + leaf * num_rows] % modulus
        if chosen is None:  # the requester knows nothing of the tree: all leaves are left to it
            return Row([Terms([], [], factor, len(leaves))], sum(shares))
        first, *others = shares or (0,)
        bases = [chosen[row + leaf * num_rows] for leaf in leaves[1:]]
        return Row([Terms(bases, [share - first for share in others], factor, len(leaves))], first)

    def _packed_rows(self, cells: Sequence[bytes], leaves: Sequence[Sequence[int]], shares: Sequence[int]) -> list[Row]:
        """The same of packed leaves; see `leaf_slots`."""
        keyring, slots, num_rows = self.keyring, self.keyring.leaves, len(leaves)
        shape, num_leaves = slots.shape(num_rows), len(self._shares)
        with read_from(self.weight_shard_col_name, keyring.peer):
            rows, (matrix,) = read_packed(cells[1], slots.bits, 1)
        self.require(rows == num_rows, f"{keyring.peer} packed {rows} rows, there are {num_rows}")
        places = {shape.place(leaf, row) for row, left in enumerate(leaves) for leaf in left}
        weights = self._read(matrix, self.weight_shard_col_name, shape.packs, shape.columns(num_leaves), places)
        columns: list[int] = []
        chosen: dict[int, mpz] = {}
        if cells[0]:
            with read_from(self.select_col_name, keyring.peer):
                _, (matrix, numbers) = read_packed(cells[0], slots.bits, 2)
                columns = read_columns(numbers, num_leaves)
            places = {shape.place(columns[leaf], row) for row, left in enumerate(leaves) for leaf in left[1:]}
            count = shape.columns(max(columns) + 1)
            chosen = self._read(matrix, self.select_col_name, shape.packs, count, places)
        found = []
        for row, left in enumerate(leaves):
            parts = [Terms() for _ in range(shape.leaves)]
            for leaf in left:
                part = parts[leaf % shape.leaves]
                part.factor = part.factor * weights[shape.place(leaf, row)] % keyring.theirs.modulus
                part.num_factors += 1
            first = shares[left[0]] if left else 0
            added = first if columns else sum(shares[leaf] for leaf in left)
            for leaf in left[1:] if columns else ():
                part = parts[columns[leaf] % shape.leaves]
                part.bases.append(chosen[shape.place(columns[leaf], row)])
                part.exponents.append(shares[leaf] - first)
            found.append(Row(parts, added << slots.bits * shape.wanted(row)))
        return found
