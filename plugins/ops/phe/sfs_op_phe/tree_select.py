"""PHE_2P_TREE_SELECT: the leaves of one tree that a party's features leave possible, for nobody else to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from gmpy2 import mpz

from sfs_core import Batch, ComputeContext, ExecutionView, Fusion, GraphError, Int32, Schema, attr, numeric_type

from .base import PheOperator
from .keyring import Keyring
from .matrices import PlainMatrix, add_to_text, read_plain_matrix
from .packed_leaves import PackedLeaves
from .selections import seal_selections
from .trees import NO_NODE, Node, inseparable, leaves_left, leaves_of, read_splits
from .wire import WireError, join_matrix

__all__ = ["PheTreeSelect", "read_shares"]


class PheTreeSelect(PheOperator, name="PHE_2P_TREE_SELECT", version="0.0.1", inputs=["features"], output="selects"):
    """Leaves of one tree that this party's features leave possible.

    The party that was asked for scores encrypts a 0 or 1 per leaf, and its share of the weight of each leaf that is
    left. The other party seals its selection, which only itself will need. A party without nodes leaves all leaves.

    Leaves between which only the other party's splits decide have one and the same encrypted 0 or 1: that these are
    equal is known from the tree, and is so for all rows.
    """

    input_feature_names: list[str] = attr("Names of this party's features.")
    input_feature_types: list[str] = attr("DataType name of each feature; must be numeric.")
    root_node_id: Int32 = attr("Id of the root.", default=0)
    node_ids: list[Int32] = attr("Id of each tree node.")
    lchild_ids: list[Int32] = attr("Left child of each node; -1: none.")
    rchild_ids: list[Int32] = attr("Right child of each node; -1: none.")
    split_feature_idxs: list[Int32] = attr("Index of each node's feature; negative: the other party's, or a leaf.")
    split_values: list[float] = attr("Split value of each node: rows with less go left.")
    leaf_node_ids: list[Int32] = attr("Ids of the leaves, in the order of weight_shard.")
    select_col_name: str = attr("Name of the selections' column.")
    weight_shard_col_name: str = attr("Name of the column of the selected leaves' shares.")
    weight_shard: bytes = attr("This party's additive share of each leaf's scaled weight: a column of plaintexts.")

    def setup(self) -> None:
        """Check features, tree and shares."""
        self._check_lists()
        self._shares = read_shares(self.weight_shard)
        nodes = dict(
            zip(
                self.node_ids,
                map(Node, self.lchild_ids, self.rchild_ids, self.split_feature_idxs, self.split_values),
                strict=True,
            )
        )
        if nodes:
            self.require(
                len(self._shares.items) == len(self.leaf_node_ids),
                f"weight_shard has {len(self._shares.items)} shares, leaf_node_ids {len(self.leaf_node_ids)} leaves",
            )
        self._splits = read_splits(self.root_node_id, nodes, self.leaf_node_ids) if nodes else None
        self._input = Schema(zip(self.input_feature_names, map(numeric_type, self.input_feature_types), strict=True))
        self._output = Schema(
            [(self.select_col_name, pa.binary()), (self.weight_shard_col_name, pa.binary()), ("party", pa.utf8())]
        )

    def _check_lists(self) -> None:
        names, types = self.input_feature_names, self.input_feature_types
        self.require(len(names) == len(types), f"{len(names)} input_feature_names, {len(types)} input_feature_types")
        self._require_unique("input_feature_names", names)
        self._require_unique("node_ids", self.node_ids)
        self._require_unique("lchild_ids", [child for child in self.lchild_ids if child != NO_NODE])
        self._require_unique("rchild_ids", [child for child in self.rchild_ids if child != NO_NODE])
        parallel = ("node_ids", "lchild_ids", "rchild_ids", "split_feature_idxs", "split_values")
        lengths = [len(getattr(self, name)) for name in parallel]
        self.require(len(set(lengths)) == 1, f"{', '.join(parallel)} differ in length: {lengths}")
        highest = max(self.split_feature_idxs, default=-1)
        self.require(highest < len(names), f"split_feature_idxs holds {highest}, there are {len(names)} features")

    def _require_unique(self, name: str, items: list[int] | list[str]) -> None:
        self.require(len(set(items)) == len(items), f"{name} holds an item twice")

    def input_schemas(self) -> list[Schema]:
        """The features."""
        return [self._input]

    def output_schema(self) -> Schema:
        """Selections, shares, and whose they are."""
        return self._output

    def make_tables(self, keyring: Keyring) -> None:
        """Work out what each leaf's share is under the own key, but for its noise."""
        num_leaves = len(self._shares.items)
        self._first_alike = [] if self._splits is None else inseparable(self._splits, num_leaves)
        self._unlike = list(dict.fromkeys(self._first_alike))
        key, slots = keyring.own, keyring.leaves
        slots.add_tree(num_leaves)
        self.row_bytes = (num_leaves + len(self._first_alike)) * key.item_bytes
        if slots.possible:
            self._packed = PackedLeaves(keyring, self._shares.items, self._unlike, self._first_alike)
        keyring.own_noise.reserve(self._packed.noises(1) if slots.possible else num_leaves + len(self._unlike))
        self._one = key.power(1)
        self._share_powers = [key.power(share) for share in self._shares.items]

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        """All trees over the same features take their noise in one go: together it is worth all cores where none is
        left in stock."""
        selects = [each for each in execution.operators.values() if isinstance(each, cls) and not each.node.parents]
        for features in dict.fromkeys(each.features for each in selects):
            same = [each for each in selects if each.features == features]
            if len(same) > 1:
                names = tuple(each.node.name for each in same)
                yield Fusion(names, (None,), (same[0].input_schemas()[0],), names, _FusedSelects(same))

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        """Names and types of the features."""
        return tuple(zip(self.input_feature_names, self.input_feature_types, strict=True))

    @property
    def split_features(self) -> set[int]:
        """Indices of the features that splits ask for."""
        return {split.feature for split in self._splits or ()}

    def compute(self, context: ComputeContext, features: Batch) -> Batch:
        """One table row with all rows' selections and shares.

        Raises:
            FeatureError: a feature is null (code 3).
            SfsError: an integer beyond 2^53 (code 2).
            GraphError: there are no rows (code 3).
        """
        (table,) = _FusedSelects([self])(context, features)
        return table

    def noise_of(self, context: ComputeContext, num_rows: int) -> int:
        """How many random encryptions of zero a table takes."""
        if context.requester != self.keyring.party:
            return 0
        if self.keyring.leaves.apply():
            return self._packed.noises(num_rows)
        return num_rows * (len(self._shares.items) + len(self._unlike))

    def table(
        self,
        context: ComputeContext,
        columns: Mapping[int, npt.NDArray[np.float64]],
        num_rows: int,
        noises: Iterator[bytes],
    ) -> Batch:
        """What `compute` returns, from columns by feature and random encryptions of zero, as texts."""
        keyring, num_leaves = self.keyring, len(self._shares.items)
        selections = leaves_left(self._splits or (), num_leaves, columns, num_rows)
        if context.requester != keyring.party:
            token = seal_selections(selections, num_leaves, self.node.name, keyring)
            return Batch(self._output, 1, rows=[(token, b"", keyring.party)])
        if keyring.leaves.apply():
            return Batch(self._output, 1, rows=[(*self._packed.cells(selections, noises), keyring.party)])
        shares = self._encrypted(dict(enumerate(self._share_powers)), selections, noises)
        # As many columns as differ; in the matrix, some of them stand more than once.
        bits = self._encrypted(dict.fromkeys(self._unlike, self._one), selections, noises)
        selects = _matrix([bits[leaf] for leaf in self._first_alike], num_rows) if bits else b""
        return Batch(self._output, 1, rows=[(selects, _matrix(list(shares.values()), num_rows), keyring.party)])

    def _encrypted(
        self, powers: Mapping[int, mpz], selections: Sequence[int], noises: Iterator[bytes]
    ) -> dict[int, list[bytes]]:
        """Of each leaf that has a power, and each row, what that stands for where the leaf is left, else zero.

        Args:
            powers: by leaf.
            selections: of each row the set of leaves that are left.
            noises: random encryptions of zero, as texts; what is returned is made of them.
        """
        key, columns = self.keyring.own, {leaf: list(islice(noises, len(selections))) for leaf in powers}
        for row, selection in enumerate(selections):
            for leaf in leaves_of(selection):
                if leaf in columns:
                    columns[leaf][row] = add_to_text(columns[leaf][row], powers[leaf], key)
        return columns


def _matrix(columns: Sequence[Sequence[bytes]], num_rows: int) -> bytes:
    return join_matrix(num_rows, len(columns), 2, chain.from_iterable(columns))


class _FusedSelects:
    """The tables of several trees over the same features."""

    def __init__(self, selects: Sequence[PheTreeSelect]) -> None:
        self._selects = selects
        self._features = sorted(set().union(*(each.split_features for each in selects)))

    def __call__(self, context: ComputeContext, features: Batch) -> list[Batch]:
        self._selects[0].require_rows(features)
        num_rows = features.num_rows
        columns = {index: features.float64(index) for index in self._features}
        count = sum(each.noise_of(context, num_rows) for each in self._selects)
        noises = iter(self._selects[0].keyring.own_noise.take(count) if count else ())
        return [each.table(context, columns, num_rows, noises) for each in self._selects]


def read_shares(weight_shard: bytes) -> PlainMatrix:
    """A party's shares of the leaves' weights.

    Raises:
        GraphError: they cannot be read, or are no column (code 7).
    """
    try:
        shares = read_plain_matrix(weight_shard)
    except WireError as error:
        raise GraphError(f"weight_shard: {error.message}") from None
    if shares.columns != 1:
        raise GraphError(f"weight_shard has {shares.columns} columns, one is needed")
    return shares
