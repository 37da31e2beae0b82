"""PHE_2P_DECRYPT_PEER_Y: the peer of the requester decrypts what the requester masked."""

from __future__ import annotations

import pyarrow as pa

from sfs_core import Batch, ComputeContext, Schema, attr

from .base import PheOperator, read_from
from .matrices import cells_of, read_cipher_matrix, read_plain_matrix, write_plain_matrix
from .numbers import MASKED_BITS
from .packing import masks_place, read_packed, write_packed

__all__ = ["PheDecryptPeerY"]


class PheDecryptPeerY(
    PheOperator, name="PHE_2P_DECRYPT_PEER_Y", version="0.0.1", inputs=["crypted_data"], output="decrypted_data"
):
    """Masked results of the requester, decrypted: sums that mean nothing to the party that sees them.

    Only numbers of the length that masked results have are given out: longer ones would tell of the secret key.
    """

    partial_y_col_name: str = attr("Column of the encrypted results.")
    decrypted_col_name: str = attr("Name of the decrypted results' column.")

    def setup(self) -> None:
        """Note the columns."""
        self._input = Schema([(self.partial_y_col_name, pa.binary())])
        self._output = Schema([(self.decrypted_col_name, pa.binary())])

    def input_schemas(self) -> list[Schema]:
        """The encrypted results."""
        return [self._input]

    def output_schema(self) -> Schema:
        """The decrypted results."""
        return self._output

    def compute(self, context: ComputeContext, results: Batch) -> Batch:
        """One table row: a plain matrix of the same shape.

        Raises:
            GraphError: this party was itself asked for scores (code 7).
            WireError: the cell cannot be read (code 9).
            SfsError: a decrypted number is too long (code 3).
        """
        self.require_requester(context, own=False)
        keyring, (cell,) = self.keyring, cells_of(results)
        if keyring.scores.used:
            return Batch(self._output, 1, rows=[(self._packed(cell),)])
        with read_from(self.partial_y_col_name, keyring.peer):
            matrix = read_cipher_matrix(cell, keyring.own)
        sums = keyring.decrypt(matrix.items, MASKED_BITS, self.partial_y_col_name)
        plain = write_plain_matrix(matrix.rows, matrix.columns, matrix.dimensions, sums)
        return Batch(self._output, 1, rows=[(plain,)])

    def _packed(self, cell: bytes) -> bytes:
        """The requester's packed results with its masks, from which this party's own masks are taken."""
        keyring, slots = self.keyring, self.keyring.scores
        with read_from(self.partial_y_col_name, keyring.peer):
            rows, (results, token) = read_packed(cell, slots.bits, 2)
            matrix = read_cipher_matrix(results, keyring.own)
        with read_from(self.partial_y_col_name, keyring.party):
            sealed = keyring.tokens.open(token, masks_place(keyring.party, keyring.peer))
            sealed_rows, (masks,) = read_packed(sealed, slots.bits, 1)
        self.require(sealed_rows == rows, f"{keyring.peer} asks for {rows} rows, this party masked {sealed_rows}")
        self.require_shape(matrix, slots.numbers(rows), 1, f"what {keyring.peer} masked")
        sums = keyring.decrypt(matrix.items, slots.masked_bits, self.partial_y_col_name)
        plain = [a + b for a, b in zip(sums, read_plain_matrix(masks).items, strict=True)]
        return write_packed(rows, slots.bits, write_plain_matrix(len(plain), 1, 2, plain))
