"""The fast way for messages with the tables of many nodes, such as a small binary table for each tree of an ensemble.

In such a message, everything but the values of the tables depends on names, schemas and shapes only. It is written
and read node by node once per combination; from then on the values are copied from a block to their places among the
remembered bytes. Reading copies them out, writes what came out again and compares: only a message that is exactly what
would be written here is read so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from sfs_core.batch import Batch
from sfs_core.block import BlockLayout, PartyBlocks, TableBlock
from sfs_core.codec.arrow_ipc import encode_batch
from sfs_core.proto import apis_pb2

__all__ = ["BLOCKS", "BlockTemplates"]

_LARGEST: Final = 1 << 20
"""Larger messages gain nothing from templates."""
_MOST_BYTES: Final = 32 << 20
"""Of all templates: names and shapes come from peers, too."""
_END_OF_STREAM: Final = 8

_Key = tuple[int, tuple[BlockLayout, ...]]


class BlockTemplates:
    """Remembered `nodes` of messages (`ExecutionTask` and `ExecuteResult` write them alike)."""

    def __init__(self) -> None:
        self._by_shape: dict[_Key, _Template | None] = {}
        self._by_size: dict[int, list[_Template]] = {}
        self._bytes = 0

    def write(self, tables: PartyBlocks) -> bytes | None:
        """The message with these nodes, in the order of the first block, and nothing else; None for a large one."""
        template = self._template(tables)
        return None if template is None else template.write(tables.blocks)

    def read(self, data: bytes) -> PartyBlocks | None:
        """The tables in a message with nothing but nodes; None where it must be read node by node."""
        for template in self._by_size.get(len(data), ()):
            blocks = template.read(data)
            if blocks is not None:
                return PartyBlocks(blocks)
        return None

    def learn(self, data: bytes, nodes: Mapping[str, Sequence[Batch]]) -> None:
        """Remember a message that was read node by node."""
        tables = _as_blocks(nodes)
        template = None if tables is None else self._template(tables)
        if tables is None or template is None or template.write(tables.blocks) != data:
            return
        known = self._by_size.setdefault(len(data), [])
        if template not in known:
            known.append(template)

    def _template(self, tables: PartyBlocks) -> _Template | None:
        key = tables.num_rows, tuple([block.layout for block in tables.blocks])
        try:
            return self._by_shape[key]
        except KeyError:
            return self._remember(key, _made(*key))

    def _remember(self, key: _Key, template: _Template | None) -> _Template | None:
        self._bytes += 1000 if template is None else template.size
        if self._bytes > _MOST_BYTES:
            self._by_shape.clear()
            self._by_size.clear()
            self._bytes = 0
        self._by_shape[key] = template
        return template


BLOCKS: Final = BlockTemplates()
"""Those of this process."""


class _Template:
    """A message without its values.

    Args:
        layouts: of the parties' blocks.
        data: the message with zeros for values.
        places: per block, where in it each byte stands, of the block's shape.
    """

    def __init__(self, layouts: Sequence[BlockLayout], data: bytes, places: Sequence[Any]) -> None:
        self._layouts = layouts
        self._data = data
        self._places = places
        self.size = len(data) + sum(place.nbytes for place in places)

    def write(self, blocks: Sequence[TableBlock]) -> bytes:
        """The message with these values."""
        message = bytearray(self._data)
        bytes_ = np.frombuffer(message, np.uint8)
        for place, block in zip(self._places, blocks, strict=True):
            bytes_[place] = block.array
        return bytes(message)

    def read(self, data: bytes) -> list[TableBlock] | None:
        """The tables in a message of this length; None if it differs in more than the values."""
        bytes_ = np.frombuffer(data, np.uint8)
        pairs = zip(self._layouts, self._places, strict=True)
        blocks = [TableBlock(layout, bytes_.take(place)) for layout, place in pairs]
        return blocks if self.write(blocks) == data else None


def _made(num_rows: int, layouts: Sequence[BlockLayout]) -> _Template | None:
    """The template for so many rows; None where it would be large."""
    zeros = [TableBlock(layout, np.zeros((num_rows, layout.width), np.uint8)) for layout in layouts]
    streams = {name: list(map(encode_batch, tables)) for name, tables in PartyBlocks(zeros).items()}
    message = apis_pb2.ExecuteResult()
    for name, of_node in streams.items():
        message.nodes.add(name=name).ios.add().datas.extend(of_node)
    data = message.SerializeToString()
    if len(data) > _LARGEST:
        return None
    places: list[Any] = [np.empty((num_rows, layout.width), np.intp) for layout in layouts]
    end = 0
    for name, of_node in streams.items():
        for layout, place, stream in zip(layouts, places, of_node, strict=True):
            end = data.index(stream, end) + len(stream)
            columns = layout.places[name]
            width = columns.stop - columns.start
            size = num_rows * width
            start = end - _END_OF_STREAM - (-size % 8) - size
            place[:, columns] = np.arange(start, start + size).reshape(num_rows, width)
    return _Template(layouts, data, places)


def _as_blocks(nodes: Mapping[str, Sequence[Batch]]) -> PartyBlocks | None:
    counts = {len(tables) for tables in nodes.values()}
    if len(counts) != 1:
        return None
    parties = [TableBlock.of({name: tables[i] for name, tables in nodes.items()}) for i in range(counts.pop())]
    return PartyBlocks.of(parties)
