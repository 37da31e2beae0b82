"""PHE_2P_MERGE_Y: the two masked sums, in which the masks cancel, become scores."""

from __future__ import annotations

import pyarrow as pa

from sfs_core import Batch, ComputeContext, Int32, Schema, attr, link_function

from .base import PheOperator, read_from
from .matrices import cells_of, read_cipher_matrix, read_plain_matrix
from .numbers import FEATURE_SCALE, MASKED_BITS, SCORE_BITS, are_short, decode, out_of_range
from .packing import read_packed

__all__ = ["PheMergeY"]


class PheMergeY(
    PheOperator,
    name="PHE_2P_MERGE_Y",
    version="0.0.1",
    inputs=["decrypted_data", "crypted_data"],
    output="score",
    returnable=True,
):
    """Sum of what the peer decrypted and what this party decrypts, through the link function, times yhat_scale."""

    decrypted_y_col_name: str = attr("Column of the sums that the peer decrypted.")
    crypted_y_col_name: str = attr("Column of the sums that this party decrypts.")
    score_col_name: str = attr("Name of the score's column.")
    link_function: str = attr("Name of the link function (`LF_…`).")
    yhat_scale: float = attr("Factor of the score: training may have scaled the label down.", default=1.0)
    exp_iters: Int32 = attr("n of LF_EXP_TAYLOR, (1 + x / 2^n)^(2^n); the others ignore it.", default=0)

    def setup(self) -> None:
        """Find the link function."""
        self._link = link_function(self.link_function, self.exp_iters)
        self._inputs = [Schema([(name, pa.binary())]) for name in (self.decrypted_y_col_name, self.crypted_y_col_name)]
        self._output = Schema([(self.score_col_name, pa.float64())])

    def input_schemas(self) -> list[Schema]:
        """The sums decrypted by the peer, and those that this party decrypts."""
        return self._inputs

    def output_schema(self) -> Schema:
        """One float64 column."""
        return self._output

    def compute(self, context: ComputeContext, decrypted: Batch, encrypted: Batch) -> Batch:
        """One score per row.

        Raises:
            GraphError: this party was not asked for scores, or the matrices differ in shape (code 7).
            WireError: a cell cannot be read (code 9).
            SfsError: a sum is too long to be one, which is so when the masks do not cancel (code 3).
        """
        self.require_requester(context, own=True)
        keyring, (theirs,), (own,) = self.keyring, cells_of(decrypted), cells_of(encrypted)
        sums = self._unpacked(theirs, own) if keyring.scores.used else self._added(theirs, own)
        linear = decode(sums, FEATURE_SCALE * keyring.scale)
        return Batch(self._output, len(sums), [self._link.many(linear) * self.yhat_scale])

    def _added(self, decrypted: bytes, encrypted: bytes) -> list[int]:
        """The sum of each row, whose masks cancel."""
        keyring = self.keyring
        with read_from(self.decrypted_y_col_name, keyring.peer):
            theirs = read_plain_matrix(decrypted)
        with read_from(self.crypted_y_col_name, keyring.peer):
            matrix = read_cipher_matrix(encrypted, keyring.own)
        self.require_shape(matrix, matrix.rows, 1, f"what {keyring.peer} masked")
        self.require_shape(theirs, matrix.rows, 1, f"what {keyring.peer} decrypted")
        own = keyring.decrypt(matrix.items, MASKED_BITS, self.crypted_y_col_name)
        sums = [a + b for a, b in zip(theirs.items, own, strict=True)]
        if not are_short(sums, SCORE_BITS):
            raise out_of_range(self.score_col_name)
        return sums

    def _unpacked(self, decrypted: bytes, encrypted: bytes) -> list[int]:
        """The same of packed rows; this party's masks come with what it decrypts."""
        keyring, slots = self.keyring, self.keyring.scores
        with read_from(self.crypted_y_col_name, keyring.peer):
            rows, (results, own_masks) = read_packed(encrypted, slots.bits, 2)
            matrix, masks = read_cipher_matrix(results, keyring.own), read_plain_matrix(own_masks)
        with read_from(self.decrypted_y_col_name, keyring.peer):
            their_rows, (plain,) = read_packed(decrypted, slots.bits, 1)
            theirs = read_plain_matrix(plain)
        self.require(their_rows == rows, f"{keyring.peer} decrypted {their_rows} rows, there are {rows}")
        self.require_shape(theirs, matrix.rows, 1, f"what {keyring.peer} decrypted")
        own = keyring.decrypt(matrix.items, slots.masked_bits, self.crypted_y_col_name)
        numbers = [a + b + mask for a, b, mask in zip(theirs.items, own, masks.items, strict=True)]
        return slots.unpack(numbers, rows, self.score_col_name)
