"""All TREE_SELECT nodes over one table, as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from sfs_core import Batch, ComputeContext, Schema

from .forest import forests
from .selection import Block
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
        outputs: the nodes, in the order of the tables that a call returns.
    """

    def __init__(self, features: Schema, trees: Mapping[str, tuple[Tree | None, Schema, Schema]]) -> None:
        self._wide = features.wide
        known = {
            name: tree.over([features.index[feature] for feature in own.names])
            for name, (tree, own, _) in trees.items()
            if tree
        }
        by_size = sorted(known, key=lambda name: known[name].num_leaves)
        self.outputs = (*by_size, *(name for name in trees if name not in known))
        self._schemas = [trees[name][2] for name in self.outputs]
        self._forests = forests([known[name] for name in by_size])
        self._unknown = len(trees) - len(known)

    def __call__(self, context: ComputeContext, features: Batch) -> list[Batch] | None:
        """The nodes' tables; None where a node must say what it refuses.

        Raises:
            SfsError: a feature is null, or an integer beyond 2^53.
        """
        num_rows = features.num_rows
        blocks = self._few(features.rows()) if num_rows <= _FEW_ROWS else self._many(features)
        if blocks is None:
            return None
        blocks += [np.empty((num_rows, 0), np.uint8)] * self._unknown
        return [Batch(schema, num_rows, [block]) for schema, block in zip(self._schemas, blocks, strict=True)]

    def _few(self, rows: Sequence[Sequence[Any]]) -> list[Block] | None:
        if any(abs(row[i]) > _EXACT_INTEGER for i in self._wide for row in rows):
            return None
        return [block for forest in self._forests for block in forest.few(rows)]

    def _many(self, features: Batch) -> list[Block]:
        matrix = features.matrix()
        return [block for forest in self._forests for block in forest.many(matrix)]
