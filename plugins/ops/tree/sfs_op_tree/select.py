"""TREE_SELECT: the leaves of one tree that a party's features leave possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from sfs_core import Batch, ComputeContext, ExecutionView, Fusion, Int32, Operator, Schema, attr, numeric_type

from .forest import Forest
from .fused_select import FusedSelect, common_schema
from .structure import NO_NODE, Branch, build_tree

__all__ = ["TreeSelect"]

# Up to this many rows, plain Python on tuples is faster than NumPy.
_FEW_ROWS: Final = 8


class TreeSelect(Operator, name="TREE_SELECT", version="0.0.1", inputs=["features"], output="select"):
    """Leaves of one tree that this party's features leave possible, as selection bytes.

    Without nodes (a party that knows nothing of the tree) each row gives a zero-length value.
    """

    row_wise = True
    discloses = "for each row, which leaves of every tree this party's features leave possible, in the clear"

    input_feature_names: list[str] = attr("Names of this party's features.")
    input_feature_types: list[str] = attr("DataType name of each feature; must be numeric.")
    output_col_name: str = attr("Name of the selections' column.")
    root_node_id: Int32 = attr("Id of the root.", default=0)
    node_ids: list[Int32] = attr("Id of each tree node.")
    lchild_ids: list[Int32] = attr("Left child of each node; -1: none.")
    rchild_ids: list[Int32] = attr("Right child of each node; -1: none.")
    split_feature_idxs: list[Int32] = attr("Index of each node's feature; negative: another party's, or a leaf.")
    split_values: list[float] = attr("Split value of each node: rows with less go left.")
    leaf_node_ids: list[Int32] = attr("Ids of the leaves, in the order of TREE_MERGE's leaf_weights.")

    def setup(self) -> None:
        """Check features and tree."""
        self._check_lists()
        self._input = Schema(zip(self.input_feature_names, map(numeric_type, self.input_feature_types), strict=True))
        self._output = Schema([(self.output_col_name, pa.binary())])
        columns = (self.lchild_ids, self.rchild_ids, self.split_feature_idxs, self.split_values)
        branches = dict(zip(self.node_ids, map(Branch, *columns), strict=True))
        self._tree = build_tree(self.root_node_id, branches, self.leaf_node_ids) if branches else None

    @cached_property
    def _forest(self) -> Forest | None:
        """The look-up tables, made when the node first runs by itself: a fused one never does."""
        return Forest([self._tree]) if self._tree else None

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        """One fusion for all trees over the same table."""
        siblings: dict[tuple[str, ...], list[TreeSelect]] = defaultdict(list)
        for operator in execution.operators.values():
            if isinstance(operator, cls):
                siblings[operator.node.parents].append(operator)
        for parents, selects in siblings.items():
            features = common_schema([select._input for select in selects])
            if len(selects) > 1 and features is not None:
                names = tuple(select.node.name for select in selects)
                trees = {select.node.name: (select._tree, select._input, select._output) for select in selects}
                compute = FusedSelect(features, trees)
                yield Fusion(names, parents or (None,), (features,), names, compute, layout=compute.layout)

    def _check_lists(self) -> None:
        names, types = self.input_feature_names, self.input_feature_types
        self._require_unique("input_feature_names", names)
        self.require(
            len(names) == len(types), f"{len(names)} input_feature_names, but {len(types)} input_feature_types"
        )
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
        """One binary column of selections."""
        return self._output

    def compute(self, context: ComputeContext, features: Batch) -> Batch:
        """One selection per row, as a uint8 array of shape (rows, bytes).

        Raises:
            FeatureError: a feature is null (code 3).
            SfsError: an integer beyond 2^53 (code 2).
        """
        num_rows, forest = features.num_rows, self._forest
        if forest is None:
            selections = np.empty((num_rows, 0), np.uint8)
        elif not self.input_feature_names:  # the table may hold any columns then
            selections = forest.everything(num_rows)
        elif num_rows <= _FEW_ROWS and not self._input.wide:
            selections = forest.few(features.rows())
        else:
            selections = forest.many(features.matrix())
        return Batch(self._output, num_rows, [selections])
