"""PHE_2P_REDUCE: from both parties' results, what one of them is to decrypt."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sfs_core import Batch, ComputeContext, Schema, attr

from .base import PheOperator, read_from
from .matrices import read_cipher_matrix, read_one_ciphertext, read_plain_matrix, write_cipher_matrix
from .packing import read_packed, write_packed

__all__ = ["PheReduce"]


class PheReduce(
    PheOperator,
    name="PHE_2P_REDUCE",
    version="0.0.1",
    inputs=["compute results"],
    output="selected results",
    mergeable=True,
):
    """At the requester: one party's masked results with the other party's mask added."""

    partial_y_col_name: str = attr("Column of the results.")
    rand_number_col_name: str = attr("Column of the masks.")
    select_crypted_for_peer: bool = attr("Whether the peer is to decrypt the outcome, or this party.")

    def setup(self) -> None:
        """Note the columns."""
        result = (self.partial_y_col_name, pa.binary())
        self._input = Schema([result, (self.rand_number_col_name, pa.binary()), ("party", pa.utf8())])
        self._output = Schema([result])

    def input_schemas(self) -> list[Schema]:
        """Result, mask, and whose they are."""
        return [self._input]

    def output_schema(self) -> Schema:
        """The outcome."""
        return self._output

    def compute(self, context: ComputeContext, results: Sequence[Batch]) -> Batch:
        """One table row: a matrix with one ciphertext per row.

        Raises:
            GraphError: this party was not asked for scores, or a table is missing (code 7).
            WireError: a cell cannot be read (code 9).
        """
        self.require_requester(context, own=True)
        own, theirs = self.cells_by_party(results)
        if self.keyring.scores.used:
            outcome = self._packed_for_peer(own, theirs) if self.select_crypted_for_peer else self._packed(own, theirs)
        else:
            outcome = self._for_peer(own, theirs) if self.select_crypted_for_peer else self._for_self(own, theirs)
        return Batch(self._output, 1, rows=[(outcome,)])

    def _for_peer(self, own: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
        """This party's results minus its masks plus the peer's mask, under the peer's key."""
        keyring = self.keyring
        key = keyring.theirs
        with read_from(self.partial_y_col_name, keyring.party):
            results = read_cipher_matrix(own[0], key)
        with read_from(self.rand_number_col_name, keyring.peer):
            mask = key.leave(read_one_ciphertext(theirs[1], key))
        sums = [result * mask % key.modulus for result in results.items]
        return write_cipher_matrix(results.rows, 1, 2, sums, key)

    def _for_self(self, own: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
        """The peer's results minus its mask plus this party's masks, under this party's key."""
        keyring = self.keyring
        key = keyring.own
        with read_from(self.rand_number_col_name, keyring.party):
            masks = read_plain_matrix(own[1])
        with read_from(self.partial_y_col_name, keyring.peer):
            results = read_cipher_matrix(theirs[0], key)
        self.require_shape(results, masks.rows, 1, f"{keyring.peer}'s result")
        pairs = zip(results.items, masks.items, strict=True)
        sums = [result * keyring.taken_off(-mask) % key.modulus for result, mask in pairs]
        keyring.begin_decrypting(sums)  # which PHE_2P_MERGE_Y asks for once the peer has answered
        return write_cipher_matrix(results.rows, 1, 2, sums, key)

    def _packed_for_peer(self, own: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
        """This party's results plus its masks, and the peer's masks, which only the peer can read and take off."""
        bits = self.keyring.scores.bits
        with read_from(self.partial_y_col_name, self.keyring.party):
            results = read_packed(own[0], bits, 1)
        return write_packed(results.rows, bits, results.parts[0], theirs[1])

    def _packed(self, own: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
        """The peer's results plus its masks, and this party's masks, which stay here."""
        keyring, slots = self.keyring, self.keyring.scores
        with read_from(self.rand_number_col_name, keyring.party):
            masks = read_packed(own[1], slots.bits, 1)
        with read_from(self.partial_y_col_name, keyring.peer):
            results = read_packed(theirs[0], slots.bits, 1)
            matrix = read_cipher_matrix(results.parts[0], keyring.own)
        self.require(results.rows == masks.rows, f"{keyring.peer} packed {results.rows} rows, there are {masks.rows}")
        self.require_shape(matrix, slots.numbers(masks.rows), 1, f"{keyring.peer}'s result")
        keyring.begin_decrypting(matrix.items)
        return write_packed(masks.rows, slots.bits, results.parts[0], masks.parts[0])
