"""All TREE_SELECT nodes over one table, as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from sfs_core import Batch, BlockLayout, ComputeContext, Schema, TableBlock

from .forest import forests
from .selection import SelectionFormat
from .structure import Tree

__all__ = ["FusedSelect", "common_schema"]

# Up to this many rows, integers of plain Python are faster than NumPy.
_FEW_ROWS: Final = 8
_EXACT_INTEGER: Final = 1 << 53
"""Integers beyond are refused where they are compared as float64."""


def common_schema(schemas: Sequence[Schema]) -> Schema | None:
    """All columns of the schemas, each once; None where two disagree about a column's type."""
    columns: dict[str, Any] = {}
    for schema in schemas:
        for name, type_ in zip(schema.names, schema.types, strict=True):
            if columns.setdefault(name, type_) != type_:
                return None
    return Schema(columns.items())


class FusedSelect:
    """Selections of all the trees at once.

    Args:
        features: the columns that all the trees need.
        trees: by node, its tree (None: it knows nothing of it), its features and its output.

    Attributes:
        layout: of the selections.
    """

    def __init__(self, features: Schema, trees: Mapping[str, tuple[Tree | None, Schema, Schema]]) -> None:
        self._wide = features.wide
        known = [
            tree.over([features.index[feature] for feature in own.names]) for tree, own, _ in trees.values() if tree
        ]
        self._forests = forests(known)
        widths = [SelectionFormat(tree.num_leaves).width if tree else 0 for tree, *_ in trees.values()]
        self.layout = BlockLayout(tuple(trees), tuple(output for *_, output in trees.values()), widths)

    def __call__(self, context: ComputeContext, features: Batch) -> TableBlock | None:
        """The nodes' tables; None where a node must say what it refuses.

        Raises:
            SfsError: a feature is null, or an integer beyond 2^53.
        """
        if features.num_rows > _FEW_ROWS:
            matrix = features.matrix()
            blocks = [forest.many(matrix) for forest in self._forests]
        else:
            rows = features.rows()
            if any(abs(row[i]) > _EXACT_INTEGER for i in self._wide for row in rows):
                return None
            blocks = [forest.few(rows) for forest in self._forests]
        return TableBlock(self.layout, blocks[0] if len(blocks) == 1 else np.concatenate(blocks, 1))
