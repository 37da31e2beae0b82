"""Blocks: the same tables as one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_core import Batch, BlockLayout, Schema, TableBlock
from sfs_core.block import PartyBlocks

BYTES = Schema([("select", pa.binary())])


def tables(widths: Sequence[int], rows: int) -> dict[str, Batch]:
    columns = [(np.arange(rows * width, dtype=np.uint8) + i).reshape(rows, width) for i, width in enumerate(widths)]
    return {f"node {i}": Batch(BYTES, rows, [column]) for i, column in enumerate(columns)}


def plain(found: Mapping[str, Batch]) -> dict[str, list[bytes]]:
    return {name: table.arrow(0).to_pylist() for name, table in found.items()}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 4), st.lists(st.integers(0, 3), max_size=5))
def test_a_block_holds_tables(widths, rows, order):
    single = tables(widths, rows)
    block = TableBlock.of(single)
    assert block is not None
    assert plain(block) == plain(single)
    assert list(block) == list(block.keys()) == list(single)
    assert block.num_rows == rows == next(iter(block.values())).num_rows
    order = [row for row in order if row < rows]
    assert plain(block.take(order)) == {name: plain({name: t.take(order)})[name] for name, t in single.items()}
    assert TableBlock.of(block).layout is block.layout  # type: ignore[union-attr]


def test_what_is_no_block():
    one = tables([2, 3], 2)
    assert TableBlock.of({}) is None
    assert TableBlock.of(one | tables([2], 3)) is None, "rows differ"
    assert TableBlock.of(one | {"f": Batch(Schema([("x", pa.float64())]), 2, [np.zeros(2)])}) is None
    assert TableBlock.of(one | {"a": Batch(BYTES, 2, [pa.array([b"a", b"bc"])])}) is None
    assert TableBlock.of(one | {"r": Batch(BYTES, 2, rows=[(b"a",), (b"b",)])}) is None
    with pytest.raises(ValueError, match="one table per node"):
        BlockLayout(["a", "a"], [BYTES, BYTES], [1, 1])
    with pytest.raises(ValueError, match="one binary column"):
        BlockLayout(["a"], [Schema([("x", pa.float64())])], [8])


def test_blocks_of_parties():
    first, second = TableBlock.of(tables([2, 3], 2)), TableBlock.of(tables([3, 0], 2))
    blocks = PartyBlocks.of([first, second])
    assert blocks is not None
    assert first is not None
    assert second is not None
    assert list(blocks) == ["node 0", "node 1"]
    assert len(blocks) == 2
    for name, of_node in blocks.items():
        assert [plain({name: table}) for table in of_node] == [plain({name: block[name]}) for block in (first, second)]
    assert PartyBlocks.of([]) is None
    assert PartyBlocks.of([first, None]) is None
    assert PartyBlocks.of([first, tables([2, 3], 2)]) is None
    assert PartyBlocks.of([first, TableBlock.of(tables([2, 3], 1))]) is None, "rows differ"
    assert PartyBlocks.of([first, TableBlock.of(tables([2, 3, 4], 2))]) is None, "nodes differ"
