"""Tables of many nodes as one array: a small binary table for each tree of an ensemble, say.

Hundreds of such tables are made, sent and merged together. As a block they cost what one table costs; it is split by
node only where somebody asks for a node's table.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Final, final
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sfs_core.batch import Batch, Schema

__all__ = ["BlockLayout", "PartyBlocks", "TableBlock"]

Bytes = npt.NDArray[np.uint8]

_BINARY: Final = pa.binary()


@final
class BlockLayout:
    """Which nodes' tables stand side by side in a block.

    Layouts are interned: equal ones are the same object, so `is` compares them.

    Attributes:
        names: of the nodes, from left to right.
        schemas: of their tables, each of one binary column.
        widths: bytes of each table's values.
        places: by name, the columns of the block.
        width: bytes of a row.
    """

    __slots__ = ("__weakref__", "_schema_of", "names", "places", "schemas", "width", "widths")

    names: tuple[str, ...]
    schemas: tuple[Schema, ...]
    widths: tuple[int, ...]
    places: dict[str, slice]
    width: int
    _schema_of: dict[str, Schema]

    _known: ClassVar[WeakValueDictionary[Any, BlockLayout]] = WeakValueDictionary()

    def __new__(cls, names: Sequence[str], schemas: Sequence[Schema], widths: Sequence[int]) -> BlockLayout:
        """The layout of tables from left to right.

        Raises:
            ValueError: a name repeats, the lengths differ, or a schema is not that of one binary column.
        """
        key = tuple(names), tuple(schemas), tuple(widths)
        known = cls._known.get(key)
        if known is not None:
            return known
        if len(set(names)) != len(names) or any(schema.types != (_BINARY,) for schema in schemas):
            raise ValueError("a block holds one table per node, each of one binary column")
        made = super().__new__(cls)
        made.names, made.schemas, made.widths = key
        ends = list(accumulate(widths, initial=0))
        made.places = {name: slice(*place) for name, place in zip(names, pairwise(ends), strict=True)}
        made.width = ends[-1]
        made._schema_of = dict(zip(names, schemas, strict=True))
        return cls._known.setdefault(key, made)

    def schema_of(self, name: str) -> Schema:
        """The schema of a node's table."""
        return self._schema_of[name]


@final
class TableBlock(Mapping[str, Batch]):
    """The tables of several nodes, by name; made one by one as they are asked for.

    Args:
        layout: whose table stands where.
        array: the values of all tables, uint8 of shape (rows, bytes of a row); nobody writes into it.
    """

    __slots__ = ("array", "layout")

    def __init__(self, layout: BlockLayout, array: Bytes) -> None:
        self.layout = layout
        self.array = array

    @classmethod
    def of(cls, tables: Mapping[str, Batch]) -> TableBlock | None:
        """The block of these tables, in their order; None unless each is one column of binary values of one width."""
        batches = list(tables.values())
        if not batches or not all(_is_plain(batch) and batch.num_rows == batches[0].num_rows for batch in batches):
            return None
        columns = [batch.column(0) for batch in batches]
        layout = BlockLayout(list(tables), [b.schema for b in batches], [column.shape[1] for column in columns])
        return cls(layout, np.concatenate(columns, 1))

    @property
    def num_rows(self) -> int:
        """Rows of each table."""
        return len(self.array)

    def __getitem__(self, name: str) -> Batch:
        column = self.array[:, self.layout.places[name]]
        return Batch(self.layout.schema_of(name), len(column), [column])

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)

    def keys(self) -> KeysView[str]:
        """The nodes' names."""
        return self.layout.places.keys()

    def take(self, order: Sequence[int]) -> TableBlock:
        """The rows at the given indices, in that order; indices may repeat."""
        return TableBlock(self.layout, self.array.take(np.asarray(order, np.int64), 0))


@final
class PartyBlocks(Mapping[str, Sequence[Batch]]):
    """Several parties' tables of the same nodes, by name a list with each party's; split as they are asked for.

    Args:
        blocks: one per party, of the same nodes and the same number of rows.
    """

    __slots__ = ("blocks",)

    def __init__(self, blocks: Sequence[TableBlock]) -> None:
        self.blocks = blocks

    @classmethod
    def of(cls, parties: Sequence[Mapping[str, Batch] | None]) -> PartyBlocks | None:
        """The blocks, if that is what each party's tables are, and if they go together."""
        blocks: list[TableBlock] = [tables for tables in parties if type(tables) is TableBlock]
        if not blocks or len(blocks) < len(parties):
            return None
        first = blocks[0]
        for block in blocks[1:]:
            if block.num_rows != first.num_rows:
                return None
            if block.layout is not first.layout and block.keys() != first.keys():
                return None
        return cls(blocks)

    @property
    def num_rows(self) -> int:
        """Rows of each table."""
        return self.blocks[0].num_rows

    def __getitem__(self, name: str) -> list[Batch]:
        return [block[name] for block in self.blocks]

    def __iter__(self) -> Iterator[str]:
        return iter(self.blocks[0])

    def __len__(self) -> int:
        return len(self.blocks[0])

    def keys(self) -> KeysView[str]:
        """The nodes' names."""
        return self.blocks[0].keys()


def _is_plain(batch: Batch) -> bool:
    if batch.form != "columns" or batch.schema.types != (_BINARY,):
        return False
    column = batch.column(0)
    return isinstance(column, np.ndarray) and column.ndim == 2
